"""gradients: one forward pass with its graph, and the derivative of a number made of its logits at every wanted site.

A site is differentiated by an edit that adds zeros to it: the derivative by the zeros is the derivative by the site,
through whatever is computed from it, wherever the site lies (in a fused projection, inside the attention function, in a
tensor that is written in place, in one of several calls of a shared block). Weights are constants meanwhile, so none of
their gradients is computed or kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from pydantic import PrivateAttr
from torch import Tensor

from hooks.activations import Activations
from hooks.attention import AttentionFacts
from hooks.errors import BudgetError, SiteMissing, SpecError
from hooks.held_norms import HeldNorms
from hooks.interventions.base import EditContext, Intervention
from hooks.run import forward
from hooks.schedule import on_prompts
from hooks.sites import Part, Site
from hooks.tokens import TokenBatch
from hooks.wiring import Wiring

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Objective = Callable[[Tensor], Tensor]
"""A scalar made of logits [batch pos d_vocab] in float32; usually the sum over prompts of a metric, so that each
prompt's gradient is its own."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """Derivatives of an objective at captured sites.

    value: the objective. values, grads: each site and the derivative by it, in the site's axes. logits
    [batch pos d_vocab], without their graph. attention: how the attention of each (stack, layer) makes its scores.
    dropped: the derivatives with each group of `drop` held constant, in turn.
    """

    value: float
    values: Activations
    grads: Activations
    logits: Tensor
    attention: Mapping[tuple[str, int], AttentionFacts]
    dropped: tuple[Activations, ...] = ()


class Probe(Intervention):
    """Adds zeros, by which the site is differentiated."""

    kind: str = "probe"
    _zeros: Tensor | None = PrivateAttr(default=None)
    _value: Tensor | None = PrivateAttr(default=None)

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        self._zeros = torch.zeros_like(x, requires_grad=True)
        self._value = x + self._zeros
        return self._value

    @property
    def zeros(self) -> Tensor:
        assert self._zeros is not None, f"{self.at} was not reached"
        return self._zeros

    @property
    def value(self) -> Tensor:
        """The site in the graph of what is computed from it."""
        assert self._value is not None, f"{self.at} was not reached"
        return self._value


class Copies:
    """The keys or values that several query heads share, as each of them has its own.

    Of each copy alone the derivative is taken, and led back through the rotation to the k or v that all were made of.
    """

    def __init__(self, sites: Collection[Site]) -> None:
        self._sites = frozenset(sites)
        self._seen: dict[Site, tuple[Tensor, Tensor]] = {}

    def split(self, site: Site, x: Tensor) -> Tensor:
        if site not in self._sites:
            return x
        zeros = torch.zeros_like(x, requires_grad=True)
        self._seen[site] = x, zeros
        return x + zeros

    def zeros(self, site: Site) -> Tensor:
        """What the copies [batch head pos d] are differentiated by. Raises SiteMissing where there are none."""
        if site not in self._seen:
            raise SiteMissing(
                f"the query heads that share {site} cannot be told apart: they have no copies of it of their own.",
                'Count its edges once per key/value head, with "keys": "kv_head".',
            )
        return self._seen[site][1]

    def led_back(self, site: Site, slope: Tensor, value: Tensor) -> Tensor:
        """[batch pos head d_head]: the derivative by the site's `value` that each query head's copy alone makes."""
        copies, group = self._seen[site][0], slope.shape[1] // value.shape[2]
        if torch.equal(copies, value.transpose(1, 2).repeat_interleave(group, dim=1)):
            return slope.transpose(1, 2)  # Values are not rotated: each copy is the value itself.
        found = []
        for member in range(group):
            alone = torch.zeros_like(slope)
            alone[:, member::group] = slope[:, member::group]
            found.append(torch.autograd.grad(copies, value, alone, retain_graph=True)[0])
        return torch.stack(found, dim=3).flatten(2, 3)


class Gate(Intervention):
    """Leaves a site as it is; while shut, no derivative passes it."""

    kind: str = "gate"
    _shut: bool = PrivateAttr(default=False)

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        passed = x.clone()
        if passed.requires_grad:
            passed.register_hook(lambda grad: torch.zeros_like(grad) if self._shut else grad)
        return passed

    @contextmanager
    def shut(self) -> Iterator[None]:
        self._shut = True
        try:
            yield
        finally:
            self._shut = False


def probes(sites: Iterable[Site]) -> tuple[Probe, ...]:
    """One probe per site, in the sites' order."""
    return tuple(Probe(at=Part(site)) for site in sorted(set(sites)))


def gates(drop: Sequence[Collection[Site]]) -> tuple[tuple[Gate, ...], ...]:
    """One gate per site of each group. Raises SpecError where groups overlap."""
    sites = [site for group in drop for site in group]
    if len(set(sites)) < len(sites):
        raise SpecError("a site is in two groups of `drop`.", "Name each site once.")
    return tuple(tuple(Gate(at=Part(site)) for site in group) for group in drop)


def gradients(
    model: PreTrainedModel,
    wiring: Wiring,
    batch: TokenBatch,
    objective: Objective,
    *,
    at: Sequence[Probe],
    reads: frozenset[Site] = frozenset(),
    drop: Sequence[Sequence[Gate]] = (),
    apart: Collection[Site] = (),
    edits: Sequence[Intervention] = (),
    sources: Mapping[str, Activations] | None = None,
    logits_at: Tensor | None = None,
    norms: HeldNorms | None = None,
    device: torch.device | str = "cpu",
) -> Gradients:
    """The objective's derivatives at the probed sites of one run of `batch` under `edits`.

    A site that is also edited is differentiated after its edit. reads: sites whose values alone are wanted. apart:
    probed k and v sites whose derivatives have an entry per query head, [batch pos head d_head]: what that head alone
    makes of it. norms: held at given scales, which are constants. Raises SpecError for an objective that is no
    differentiable scalar, BudgetError when memory runs out.
    """
    if not at:
        raise SpecError("gradients of no site are asked for.", "Name a site, such as L3.z.")
    shut, copies = [gate for group in drop for gate in group], Copies(apart)
    with constant_weights(model), nullcontext() if norms is None else norms.applied(model):
        run = forward(
            model, wiring, batch, reads=reads | {probe.at.site for probe in at},
            schedule=on_prompts(batch, [*edits, *at, *shut]), sources=_ordinary(sources or {}),
            logits_at=logits_at, grads=True, apart=copies if apart else None, device=device,
        )  # fmt: skip
        with torch.enable_grad():
            value = objective(run.logits.float())
        _check(value)
        try:
            dropped = tuple(_derivatives(value, at, batch, shut=group, keep=True) for group in drop)
            found = _derivatives(value, at, batch, copies, apart)
        except torch.OutOfMemoryError as error:
            raise BudgetError(
                f"the device ran out of memory on the derivatives of {len(batch)} prompts.",
                "Use a shorter prompt, fewer prompts, fewer sites, or --device cpu.",
            ) from error
    return Gradients(float(value.detach()), run.activations, found, run.logits.detach(), run.attention, dropped)


def _check(value: Tensor) -> None:
    if value.ndim or not value.requires_grad:
        what = f"has shape {tuple(value.shape)}" if value.ndim else "does not depend smoothly on the logits"
        raise SpecError(f"this objective has no gradient: it {what}.", "Use a smooth metric, such as logit_diff.")


def _derivatives(
    value: Tensor,
    at: Sequence[Probe],
    batch: TokenBatch,
    copies: Copies | None = None,
    apart: Collection[Site] = (),
    *,
    shut: Sequence[Gate] = (),
    keep: bool = False,
) -> Activations:
    """keep: the graph is needed again. A site that the objective does not depend on has derivative 0."""
    inputs = [
        copies.zeros(probe.at.site) if copies is not None and probe.at.site in apart else probe.zeros for probe in at
    ]
    with ExitStack() as stack:
        for gate in shut:
            stack.enter_context(gate.shut())
        found = torch.autograd.grad(
            value, inputs, retain_graph=keep or bool(apart), allow_unused=True, materialize_grads=True
        )
    slopes = {probe: grad for probe, grad in zip(at, found, strict=True)}
    if copies is not None:
        slopes |= {probe: copies.led_back(probe.at.site, slopes[probe], probe.value)
                   for probe in at if probe.at.site in apart}  # fmt: skip
    return Activations({probe.at.site: grad for probe, grad in slopes.items()}, batch)


def _ordinary(sources: Mapping[str, Activations]) -> dict[str, Activations]:
    """Sources whose tensors a graph may hold: those captured in inference mode may not enter one."""
    return {
        name: Activations({site: x.clone() if x.is_inference() else x for site, x in held.items()}, held.batch)
        for name, held in sources.items()
    }


@contextmanager
def constant_weights(model: PreTrainedModel) -> Iterator[None]:
    """While open no parameter requires a gradient; afterwards, also after an exception, those that did do again."""
    held = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)
