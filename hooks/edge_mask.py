"""Edge masks: the forward pass in which every reader hears only the writers that a mask keeps for it.

The residual stream is a sum, so each reader has a stream of its own: that of the ablated writers, and in it, in place
of their ablated values, what the kept writers write in this very run,

    stream(reader) = ablated stream + Σ over kept writers (what the writer writes now − its ablated value),

normed anew and projected for that head alone. All readers of a layer are one contraction kept × written. A reader whose
edges are all kept gets what the model computes, bit for bit; one without any gets its ablated value.

Sources: Conmy et al. 2023, arXiv 2304.14997; Hanna et al. 2024, arXiv 2403.17806.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from hooks.edge_layout import Ablated, Layout, Memory, Readers, Writers
from hooks.edge_runs import Watcher
from hooks.errors import SpecError
from hooks.reads import Reads
from hooks.sites import Site

NONE, SOME, ALL = 0, 1, 2
SPARSE = 0.1
"""Share of kept edges below which adding them one by one is faster than a product of matrices."""


class EdgeMask:
    """One run under masks `kept` [world writer reader]; rows are the worlds' prompts, world after world.

    prompts: rows of each world. memory: kept up to date in a run of one world, where it is given. stale: the readers
    that read anew, None for all; all else is as `memory` holds it.
    """

    def __init__(
        self,
        reads: Reads,
        layout: Layout,
        ablated: Ablated,
        kept: Bool[Tensor, "world writer reader"],
        prompts: int,
        *,
        memory: Memory | None = None,
        stale: Bool[Tensor, " reader"] | None = None,
    ) -> None:
        if memory is not None and len(kept) > 1:
            raise SpecError(f"{len(kept)} worlds cannot be remembered at once.", "Run one.")
        self.reads, self.layout, self.ablated, self.prompts = reads, layout, ablated, prompts
        self.kept, self.memory = kept, memory
        self.stale = torch.ones(len(layout.heard), dtype=torch.bool) if stale is None else stale
        # Without a run before this one, the embedding too is written anew.
        self._written = None if stale is None else layout.writing(stale)
        heard = torch.tensor(layout.heard, device=kept.device)
        counts = kept.sum(1)
        self.states = torch.where(counts == 0, NONE, torch.where(counts == heard, ALL, SOME))
        partial = (self.states == SOME) & self.stale
        used = (kept & partial[:, None]).any(2)
        self.used: list[list[int]] = [torch.nonzero(row).flatten().tolist() for row in used]
        self._buffers: list[Tensor | None] = [None] * len(kept)
        self._disagreeing = [layout.disagreeing(one[None]) for one in kept]
        self._held: tuple[tuple[Site, str], list[dict[int, Tensor]]] | None = None
        self._families: dict[tuple[Site, str], list[Readers]] = {}
        for reader in layout.readers:
            if reader.site.name != "resid_post":
                self._families.setdefault(self._family(reader.site), []).append(reader)

    def watchers(self) -> dict[Site, Watcher]:
        """What sees the writers, and hands readers their values."""
        found: dict[Site, Watcher] = {}
        for writer in self.layout.writers:
            if self._written is not None and writer.site not in self._written:
                assert self.memory is not None
                with torch.inference_mode():
                    self._store(writer, self.memory.changes[writer.site][None])
            elif self.memory is not None or self._wanted(writer):
                found[writer.site] = self._writing(writer)
        for reader in self.layout.readers:
            if bool((self.states[:, reader.numbers] != ALL).any()):
                found[reader.site] = self._reading(reader)
        return found

    def _wanted(self, writer: Writers) -> bool:
        numbers = range(writer.first, writer.first + writer.count)
        return any(number in numbers for used in self.used for number in used)

    # -- what is written

    def _writing(self, writer: Writers) -> Watcher:
        def told(x: Tensor) -> None:
            change = x.float().unflatten(0, (len(self.kept), self.prompts)) - self.ablated.written[writer.site].float()
            if self.memory is not None:
                self.memory.changes[writer.site] = change[0]
            self._store(writer, change)

        return told

    def _store(self, writer: Writers, change: Tensor) -> None:
        """Keep what the used ones of some writers change, `change` [world row pos …], at the width of the stream."""
        for world, used in enumerate(self.used):
            mine = [place for place, number in enumerate(used) if 0 <= number - writer.first < writer.count]
            if not mine:
                continue
            if writer.site.name == "z":
                heads = [used[place] - writer.first for place in mine]
                written = self.reads.written_each(writer.site, change[world], heads)
            else:
                written = change[world][None]
            if self._buffers[world] is None:
                self._buffers[world] = written.new_empty((len(used), *written.shape[1:]))
            self._buffers[world][mine[0] : mine[-1] + 1] = written  # type: ignore[index]

    # -- what is read

    def _family(self, site: Site) -> tuple[Site, str]:
        reader = self.reads.reader(site)
        return reader.stream, reader.norm

    def _reading(self, reader: Readers) -> Watcher:
        def told(x: Tensor) -> Tensor:
            worlds = x.unflatten(0, (-1, len(self.kept), self.prompts))
            for world in range(len(self.kept)):
                if reader.site.name == "resid_post":
                    self._hand_output(reader, world, worlds[:, world])
                elif reader.site.name == "mlp_in":
                    self._hand_whole(reader, world, worlds[:, world])
                else:
                    self._hand_heads(reader, world, worlds[:, world])
            if self.memory is not None:
                self.memory.read[reader.site] = x.clone()
            return x

        return told

    def _hand_output(self, reader: Readers, world: int, x: Tensor) -> None:
        """The stream that the last norm reads, [1 row pos d_model]."""
        state = int(self.states[world, reader.first])
        if state == NONE:
            x[0] = self.ablated.streams[reader.site].to(x.dtype)
        elif state == SOME and not self.stale[reader.first]:
            x[0] = self._remembered(reader)
        elif state == SOME:
            x[0] = self._sums(world, reader.site, [reader.first])[0].to(x.dtype)

    def _hand_whole(self, reader: Readers, world: int, x: Tensor) -> None:
        """What an MLP reads, [1 row pos d_model]."""
        state = int(self.states[world, reader.first])
        if state == NONE:
            x[0] = self.ablated.read[reader.site].to(x.dtype)
        elif state == SOME and not self.stale[reader.first]:
            x[0] = self._remembered(reader)
        elif state == SOME:
            x[0] = self.reads.projected(reader.site, self._streams(reader.site, world)[reader.first])

    def _hand_heads(self, reader: Readers, world: int, x: Tensor) -> None:
        """Each head's query, key or value, [member row pos head d_head]: see `EdgeRuns.run` for members."""
        blank = self.ablated.read[reader.site].to(x.dtype)
        found: dict[tuple[int, int], Tensor] = {}
        for member in range(len(x)):
            columns = self._columns(reader, 0 if self._agree(reader, world) else member, x.shape[-2])
            states = [int(self.states[world, column]) for column in columns]
            cut = [head for head, state in enumerate(states) if state == NONE]
            if cut:
                x[member][..., cut, :] = blank[..., cut, :]
            partial = [head for head, state in enumerate(states) if state == SOME]
            heads = [head for head in partial if self.stale[columns[head]]]
            if same := [head for head in partial if head not in heads]:
                x[member][..., same, :] = self._remembered(reader).unflatten(0, (len(x), -1))[member][..., same, :]
            if missing := [head for head in heads if (columns[head], head) not in found]:
                streams = self._streams(reader.site, world)
                normed = torch.stack([streams[columns[head]] for head in missing])
                values = self.reads.heads_projected(reader.site, normed, missing)
                found |= {(columns[head], head): value for head, value in zip(missing, values, strict=True)}
            for head in heads:
                x[member][..., head, :] = found[columns[head], head]

    def _remembered(self, reader: Readers) -> Tensor:
        """What a site's readers were handed in the run before."""
        assert self.memory is not None
        return self.memory.read[reader.site]

    def _columns(self, reader: Readers, member: int, heads: int) -> list[int]:
        """The reader of each head that a site has, in the rows of one member of the groups."""
        if reader.count == 1:
            return [reader.first] * heads
        each = reader.count // heads
        return [reader.first + head * each + (member if each > 1 else 0) for head in range(heads)]

    def _agree(self, reader: Readers, world: int) -> bool:
        """Whether keys or values are asked for per query head, and those that share a head agree in a world."""
        return self.layout.shares(reader) and reader.site.layer not in self._disagreeing[world]

    def _streams(self, site: Site, world: int) -> dict[int, Tensor]:
        """The normed streams [row pos d_model] of all partly cut readers that norm this stream as `site` does."""
        family = self._family(site)
        if self._held is None or self._held[0] != family:
            self._held = (family, [{} for _ in self.kept])
        held = self._held[1][world]
        if not held:
            columns = self._asked(family, world)
            sums = self._sums(world, site, columns)
            normed = self.reads.normed(site, sums.flatten(0, 1)).unflatten(0, sums.shape[:2])
            held.update(zip(columns, normed, strict=True))
        return held

    def _asked(self, family: tuple[Site, str], world: int) -> list[int]:
        """The partly cut readers of a family that are looked at: of a group that agrees, its first."""
        found: list[int] = []
        for reader in self._families[family]:
            step = self.layout.group if self._agree(reader, world) else 1
            numbers = range(reader.first, reader.first + reader.count, step)
            found += [number for number in numbers if int(self.states[world, number]) == SOME and self.stale[number]]
        return found

    def _sums(self, world: int, site: Site, columns: Sequence[int]) -> Tensor:
        """The streams [reader row pos d_model] of some readers, in the number type of the model."""
        where = site if site.name == "resid_post" else self.reads.reader(site).stream
        base = self.ablated.streams[where]
        most = max(self.layout.heard[column] for column in columns)
        used = [number for number in self.used[world] if number < most]
        chosen = self.kept[world][used][:, list(columns)].T.float()
        buffer = self._buffers[world]
        assert buffer is not None
        added = _mixed(chosen.to(buffer.device), buffer[: len(used)].flatten(1)).unflatten(1, buffer.shape[1:])
        return added.add_(base.float()).to(base.dtype)


def _mixed(chosen: Tensor, written: Tensor) -> Tensor:
    """The sums of the rows of `written` that each row of `chosen` holds; with few of them, these alone are read."""
    few = int(chosen.count_nonzero()) < SPARSE * chosen.numel()
    return torch.sparse.mm(chosen.to_sparse(), written) if few else torch.matmul(chosen, written)
