"""How a block adds: the residual equation decides what each sublayer writes and where the stream lies between.

A block adds what its sublayers write to the residual stream, one after the other or all at once, with or without a norm
after each sum. One observed pass shows every candidate tensor; the right ones are those for which the sums hold
exactly, in the order in which the model adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hooks.look import inside
from hooks.observe import Call
from hooks.ports import WHOLE, Port, View
from hooks.roles import BlockRoles

NORM_WORDS = ("norm", "ln_", "_ln", "layernorm")


@dataclass(frozen=True)
class Step:
    """One addition to the residual stream: what is written, and the norm of the sum where blocks norm after it."""

    site: str
    norm: str | None = None


@dataclass(frozen=True)
class Sum:
    """How a block adds. ports: of what is written, and of resid_mid. steps: in order; parallel: all in one sum.

    begins: the stream that the first step adds to.
    """

    ports: dict[str, Port]
    steps: tuple[Step, ...]
    parallel: bool = False
    begins: str = "resid_pre"


Candidate = tuple[Port, Tensor]


def solve(roles: BlockRoles, rows: int, factors: Sequence[float]) -> Sum | None:
    """The sum that holds in this block, or None where no known one does."""
    before, after = roles.call.given, roles.call.gave
    if before is None or after is None or before.shape != after.shape:
        return None
    writers = _writers(roles)
    if not writers:
        return None
    finder = _Finder(roles, rows, factors, before.shape)
    written = {site: list(finder.writes(site)) for site in writers}
    return (
        finder.in_turn(before, after, writers, written)
        or finder.at_once(before, after, writers, written)
        or finder.last_only(after, written.get("mlp_out", []))
    )


def _writers(roles: BlockRoles) -> list[str]:
    mlp = ["mlp_out"] if roles.mlp or roles.experts else []
    if roles.attention is None:
        return [*(["mixer_out"] if roles.mixer else []), *mlp]
    return ["attn_out", *(["cross_attn_out"] if roles.cross else []), *mlp]


class _Finder:
    """Candidates of one block, most telling first: projections, norms, then everything else of the stream's width."""

    def __init__(self, roles: BlockRoles, rows: int, factors: Sequence[float], shape: torch.Size) -> None:
        self._roles, self._rows, self._factors = roles, rows, factors
        self._wide = list(self._wide_ones(shape, ((c, c.gave) for c in roles.inside)))
        read = self._wide_ones(shape, ((c, c.given) for c in roles.inside))
        self._read = sorted(read, key=lambda pair: (not self._norm(pair[0]), pair[0].order))

    def _wide_ones(
        self, shape: torch.Size, pairs: Iterable[tuple[Call, Tensor | None]]
    ) -> Iterator[tuple[Call, Tensor]]:
        """Those of the tensors that have the stream's width, with their batch axis."""
        for call, x in pairs:
            if x is not None and x.shape[-1] == shape[-1] and x.numel() == shape.numel() and x.is_floating_point():
                yield call, WHOLE.open(x, self._rows)

    def _norm(self, call: Call) -> bool:
        name = call.path.rpartition(".")[2].lower()
        return any(word in name for word in NORM_WORDS) or is_norm(call.module)

    def writes(self, site: str) -> Iterator[Candidate]:
        roles = self._roles
        homes = {
            "attn_out": (roles.attention and roles.attention.path, roles.attention and roles.attention.o),
            "cross_attn_out": (roles.cross and roles.cross.path, roles.cross and roles.cross.o),
            "mlp_out": (
                roles.mlp.path if roles.mlp else roles.experts and roles.experts.path,
                roles.mlp and roles.mlp.down,
            ),
            "mixer_out": (roles.mixer, None),
        }
        others: list[str] = [str(path) for name, pair in homes.items() if name != site for path in pair if path]
        home, projection = homes[site]
        ranked = sorted(
            ((c, x) for c, x in self._wide
             if c.path in (home, projection) or not any(inside(c.path, other) for other in others)),
            key=lambda pair: (
                pair[0].path != projection, pair[0].path != home, not self._norm(pair[0]), pair[0].order
            ),
        )  # fmt: skip
        for call, gave in ranked:
            for factor in self._factors:
                view = View(scale=factor)
                yield Port(call.path, "out", view, call=call.number), view.open(gave, self._rows)

    def _streams(self, total: Tensor) -> Iterator[tuple[Port, Tensor, Step | None]]:
        """Where the stream `total` is read: as it is (before a norm or a sublayer), or normed in a post-norm block."""
        gave = {(call.path, call.number): x for call, x in self._wide}
        for call, given in self._read:
            if not torch.equal(given, total):
                continue
            yield Port(call.path, "in", in_place=True, call=call.number), total, None
            normed = gave.get((call.path, call.number))
            if self._norm(call) and normed is not None:
                yield Port(call.path, "out", call=call.number), normed, Step("", call.path)

    def in_turn(
        self, stream: Tensor, after: Tensor, writers: list[str], written: dict[str, list[Candidate]]
    ) -> Sum | None:
        """Sublayers that add one after the other, `writers` in order; `stream` is what the first of them adds to."""
        site, rest = writers[0], writers[1:]
        for port, value in written[site]:
            if value.shape != stream.shape:
                continue
            total = stream + value
            if not rest:
                if torch.equal(total, after):
                    return Sum({site: port}, (Step(site),))
                for _, seen, norm in self._streams(total):
                    if norm is not None and torch.equal(seen, after):
                        return Sum({site: port}, (replace(norm, site=site),))
                continue
            for place, seen, norm in self._streams(total):
                later = self.in_turn(seen, after, rest, written)
                if later is not None:
                    step = Step(site) if norm is None else replace(norm, site=site)
                    mid = {"resid_mid": place} if len(rest) == 1 and rest[0] == "mlp_out" else {}
                    return Sum({site: port, **mid, **later.ports}, (step, *later.steps))
        return None

    def at_once(
        self, before: Tensor, after: Tensor, writers: list[str], written: dict[str, list[Candidate]]
    ) -> Sum | None:
        """Two sublayers that both read the same stream, in any order of addition."""
        if len(writers) != 2:
            return None
        one, other = writers
        for (a_port, a), (m_port, m) in ((x, y) for x in written[one] for y in written[other]):
            if a.shape == m.shape == before.shape and any(torch.equal(t, after) for t in in_any_order(before, a, m)):
                return Sum({one: a_port, other: m_port}, (Step(one), Step(other)), parallel=True)
        return None

    def last_only(self, after: Tensor, written: list[Candidate]) -> Sum | None:
        """The MLP's addition alone, where what comes before it is no plain sum."""
        for call, stream in self._read:
            if not self._norm(call):
                continue
            for port, value in written:
                if value.shape == after.shape == stream.shape and torch.equal(stream + value, after):
                    mid = Port(call.path, "in", in_place=True, call=call.number)
                    return Sum({"resid_mid": mid, "mlp_out": port}, (Step("mlp_out"),), begins="resid_mid")
        return None


def in_any_order(before: Tensor, one: Tensor, other: Tensor) -> tuple[Tensor, ...]:
    """The sums of three tensors that rounding can tell apart."""
    return ((one + other) + before, (before + one) + other, (before + other) + one)


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation, by the name of its class."""
    return "Norm" in type(module).__name__
