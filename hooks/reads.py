"""Reads: what a head or an MLP would compute from a given residual stream.

Where a sublayer reads the stream through a norm and a projection, both modules are known, and are called by themselves
on another stream: `q` of a layer from any stream, not only from the one it had. Which norm it is, and that norm and
projection alone give the value, is tried once per site on the probe; a site for which it does not hold is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hooks.dense import is_plain
from hooks.errors import SiteMissing
from hooks.held_norms import HeldNorms
from hooks.ports import View
from hooks.projections import head_slices_of, is_projection, weight_of
from hooks.sites import MAIN, Site
from hooks.wiring import Wiring

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hooks.activations import Activations

ATTENTION = ("attn_in", "q", "k", "v")
MLP = ("mlp_in", "mlp_pre", "mlp_up")
OUTPUT = "ln_final"
READERS = (*ATTENTION, *MLP, OUTPUT)
"""Sites that are computed from the residual stream alone, one token at a time."""
WRITERS = ("embed", "pos_embed", "z", "attn_out", "mixer_out", "mlp_out")
"""Sites that are added to the residual stream, heads by what they write."""
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Reader:
    """How a site comes from a stream: the stream's site, the norm's path ("" for none), the projection's path and view.

    projection: "" where the site is the normed stream itself.
    """

    stream: Site
    norm: str
    projection: str
    view: View


class Reads:
    """The readers and writers of one model's main stack."""

    def __init__(
        self,
        model: PreTrainedModel,
        wiring: Wiring,
        sites: frozenset[Site],
        capture: Callable[[frozenset[Site]], Activations],
    ) -> None:
        """capture: the given sites of a run on the probe; asked once, when readers are first wanted."""
        self._model, self._wiring, self._sites, self._capture = model, wiring, sites, capture
        self._sliced: dict[Site, bool] = {}
        self.held: HeldNorms | None = None

    def holding(self, norms: HeldNorms) -> Reads:
        """The same with these norms at the scales that they are held at."""
        _ = self.readers  # Tried with the norms as they are.
        found = copy.copy(self)
        found.held = norms
        return found

    @cached_property
    def readers(self) -> Mapping[Site, Reader]:
        """Every site that is the stream, normed and projected; tried once on the probe."""
        wanted = {site for site in self._sites if site.stack == MAIN and site.name in READERS}
        streams = {site for site in self._sites if site.stack == MAIN and site.name in ("resid_pre", "resid_mid")}
        streams |= {self._final} & self._sites
        seen, found = self._capture(frozenset(wanted | streams)), {}
        with torch.inference_mode():
            for site in wanted:
                reader = self._found(site, seen)
                if reader is not None:
                    found[site] = reader
        return found

    def reader(self, site: Site) -> Reader:
        """How a site is read. Raises SiteMissing where it is not the stream, normed and projected."""
        if site not in self.readers:
            raise SiteMissing(
                f"what {site} would be on another residual stream is not known: no norm and projection of the stream "
                "give it in this model.",
                f"Readers here: {', '.join(sorted({known.name for known in self.readers})) or 'none'}.",
            )
        return self.readers[site]

    def value(self, site: Site, stream: Tensor) -> Tensor:
        """The site computed from `stream` [row pos d_model], with the site's axes. Raises SiteMissing."""
        return self._apply(self.reader(site), stream)

    def normed(self, site: Site, stream: Tensor) -> Tensor:
        """What the site's projection is given when the stream is `stream` [row pos d_model]. Raises SiteMissing."""
        return self._normed(self.reader(site), stream)

    def projected(self, site: Site, normed: Tensor) -> Tensor:
        """The site of what `normed` gives, with the site's axes. Raises SiteMissing."""
        return self._projected(self.reader(site), normed)

    def heads_projected(self, site: Site, normed: Tensor, heads: Sequence[int]) -> Tensor:
        """One head from each of several normed streams [stream row pos d_model]: [stream row pos d_head].

        Only the slice of the projection that belongs to a head is used, where the projection is a matrix and, tried
        once per site, its slices give what it gives. Raises SiteMissing.
        """
        if site not in self._sliced:
            whole = self.projected(site, normed[0])[..., heads[0], :]
            sliced = self._slices(site, normed[:1], heads[:1])
            near = TOLERANCE * max(1.0, float(whole.abs().max()))
            self._sliced[site] = sliced is not None and float((sliced[0] - whole).abs().max()) <= near
        found = self._slices(site, normed, heads) if self._sliced[site] else None
        if found is not None:
            return found
        each = [self.projected(site, one)[..., head, :] for one, head in zip(normed, heads, strict=True)]
        return torch.stack(each)

    def _slices(self, site: Site, normed: Tensor, heads: Sequence[int]) -> Tensor | None:
        reader = self.reader(site)
        module = self._model.get_submodule(reader.projection)
        if not is_plain(module) or not is_projection(module):
            return None
        weight = weight_of(module).detach()
        inward = weight.T if hasattr(module, "in_features") else weight
        w = reader.view.open(inward[None], 1)[0]
        found = torch.matmul(normed.flatten(1, 2), w[:, list(heads)].movedim(1, 0)).unflatten(1, normed.shape[1:3])
        bias = getattr(module, "bias", None)
        if bias is None:
            return found
        return found + reader.view.open(bias.detach()[None, None], 1)[0, 0, list(heads)][:, None, None]

    def to_normed(self, site: Site, slope: Tensor) -> Tensor:
        """[row pos head d_model]: a derivative by the site, led back to what its projection is given, head by head.

        slope: [row pos d_model] of a site that is the normed stream itself, which counts as one head; else
        [row pos head d_head], also once per query head where several share one. Raises SiteMissing.
        """
        reader = self.reader(site)
        if not reader.projection:
            return slope[:, :, None]
        module = self._model.get_submodule(reader.projection)
        weight = weight_of(module).detach()
        w = reader.view.open((weight.T if hasattr(module, "in_features") else weight)[None], 1)[0].to(slope.dtype)
        by_group = slope.unflatten(2, (w.shape[1], -1))
        return torch.einsum("bphgd,mhd->bphgm", by_group, w).flatten(2, 3)

    def to_stream(self, site: Site, stream: Tensor, slopes: Tensor, positions: slice = slice(None)) -> Tensor:
        """[item row pos d_model]: derivatives by the normed stream, led back through the norm at `stream`.

        stream: [row pos d_model], what the site reads; positions: which of the run's these are. Raises SiteMissing.
        """
        norm = self.reader(site).norm
        if not norm:
            return slopes
        if self.held is not None and norm in self.held.by_path:
            return self.held.by_path[norm].at(slice(None), positions).led_back(slopes)
        with torch.enable_grad():
            point = stream.detach().clone().requires_grad_()
            normed = self.normed(site, point)
            slopes = slopes.to(normed.dtype)
            if len(slopes) == 1:
                return torch.autograd.grad(normed, point, slopes[0])[0][None]
            return torch.autograd.grad(normed, point, slopes, is_grads_batched=True)[0]

    @property
    def _final(self) -> Site:
        """The stream that leaves the last block."""
        return Site("resid_post", len(self._wiring.main.layers) - 1)

    def written(self, site: Site, value: Tensor, heads: Sequence[int] | None = None) -> Tensor:
        """What a site's value adds to the stream, without bias: [row pos d_model]. heads: of `z`, these alone.

        Raises SiteMissing for a site that adds nothing, or that is normed before it is added.
        """
        self.check_writer(site)
        if site.name != "z":
            return value
        w_o, scale = self._out(site)
        if heads is not None:
            value, w_o = value[..., list(heads), :], w_o[list(heads)]
        writes = torch.einsum("bqhd,hdm->bqm", value, w_o)
        return writes if scale == 1.0 else writes * scale

    def written_each(self, site: Site, value: Tensor, heads: Sequence[int]) -> Tensor:
        """What each of some heads adds to the stream, [head row pos d_model], of `z` [row pos head d_head].

        Raises SiteMissing where heads are normed together before they are added.
        """
        self.check_writer(site)
        w_o, scale = self._out(site)
        chosen = value[..., list(heads), :].movedim(2, 0)
        writes = torch.matmul(chosen.flatten(1, 2), w_o[list(heads)].to(value.dtype)).unflatten(1, chosen.shape[1:3])
        return writes if scale == 1.0 else writes * scale

    def unwritten(self, layer: int) -> Tensor | None:
        """What a layer's attention adds that no head writes, [d_model]: the bias of its output projection, if any."""
        attention = self._wiring.main.layers[layer].attention
        if attention is None or attention.o is None or not self.heads_add(layer):
            return None
        bias = getattr(self._model.get_submodule(attention.o), "bias", None)
        return None if bias is None else bias.detach() * self._wiring.ports[Site("attn_out", layer)].view.scale

    def _out(self, site: Site) -> tuple[Tensor, float]:
        """The output projection of a layer's heads [head d_head d_model], and the model's factor on what they write."""
        assert site.layer is not None
        attention = self._wiring.layer(site).attention
        assert attention is not None
        assert attention.o is not None
        w_o = head_slices_of(self._model.get_submodule(attention.o), attention.n_heads)
        return w_o, self._wiring.ports[Site("attn_out", site.layer)].view.scale

    def check_writer(self, site: Site) -> None:
        """Raises SiteMissing for a site that adds nothing to the main stream, or heads that are normed before it."""
        if site.name not in WRITERS or site.stack != MAIN:
            raise SiteMissing(f"{site} is not added to the residual stream.", f"Writers: {', '.join(WRITERS)}.")
        if site.name == "z" and not self.heads_add(site.layer or 0):
            raise SiteMissing(
                f"what the heads of layer {site.layer} write is normed together before it is added.",
                "Take attn_out as the writer.",
            )

    def heads_add(self, layer: int) -> bool:
        """Whether what a layer's heads write, and the bias, sum to what its attention adds to the stream."""
        attention = self._wiring.main.layers[layer].attention
        port = self._wiring.ports.get(Site("attn_out", layer))
        return attention is not None and port is not None and port.module == attention.o

    def _found(self, site: Site, seen: Activations) -> Reader | None:
        """The reader of a site whose norm and projection give what was seen."""
        if site.name == OUTPUT:
            stream = self._final
        else:
            between = Site("resid_mid", site.layer)
            stream = between if site.name in MLP and between in seen else Site("resid_pre", site.layer)
        port = self._wiring.ports.get(site)
        if port is None or stream not in seen or port.call:
            return None
        inputs = site.name in ("attn_in", "mlp_in", OUTPUT)
        norms = (port.module,) if site.name == OUTPUT else self._wiring.layer(site).norms
        for norm in ("", *norms):
            reader = Reader(stream, norm, "" if inputs else port.module, View() if inputs else port.view)
            if self._gives(reader, seen[stream], seen[site]):
                return reader
        return None

    def _gives(self, reader: Reader, stream: Tensor, expected: Tensor) -> bool:
        try:
            value = self._apply(reader, stream)
        except (RuntimeError, TypeError, ValueError):
            # A norm of heads, say, does not take the stream; a module may need more than one input.
            return False
        near = TOLERANCE * max(1.0, float(expected.abs().max()))
        return value.shape == expected.shape and float((value - expected).abs().max()) <= near

    def _apply(self, reader: Reader, stream: Tensor) -> Tensor:
        """Norm and projection by their own code; `forward` is called past the hooks of the run that asks."""
        return self._projected(reader, self._normed(reader, stream))

    def _normed(self, reader: Reader, stream: Tensor) -> Tensor:
        if self.held is not None and reader.norm in self.held.by_path:
            return self.held.by_path[reader.norm](stream)
        return stream if not reader.norm else _called(self._model.get_submodule(reader.norm), stream)

    def _projected(self, reader: Reader, normed: Tensor) -> Tensor:
        value = normed if not reader.projection else _called(self._model.get_submodule(reader.projection), normed)
        return reader.view.open(value, normed.shape[0])


def _called(module: nn.Module, x: Tensor) -> Tensor:
    result = module.forward(x)
    if not isinstance(result, Tensor):
        raise TypeError(f"{type(module).__name__} gives no tensor")
    return result
