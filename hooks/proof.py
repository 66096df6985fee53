"""Proof: each site is checked by algebra and against the unhooked model when a model opens.

A site that fails its check does not exist for this model, and the reason is shown. Errors are largest absolute
deviations in the dtype and on the device in use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hooks.activations import Activations
from hooks.checks import CHECKS, Evidence
from hooks.info import ModelInfo
from hooks.interventions.base import EditContext, Intervention
from hooks.interventions.patch import Patch
from hooks.plan import all_sites
from hooks.run import forward, plain_forward
from hooks.schedule import in_worlds, on_prompts
from hooks.sites import SITES, Part, Site
from hooks.tokens import TokenBatch
from hooks.wiring import Wiring

READ_ONLY = {
    "scores": "read-only: edit pattern, or q_rot and k_rot",
    "head_out": "read-only: it is z times W_O; edit z",
    "logits": "read-only: the model's output",
}
# Relative rounding of sums in the dtype in use; what is the same tensor must be equal exactly.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2, torch.float64: 1e-12}


@dataclass(frozen=True)
class SiteProof:
    """Verdict on one kind of site over all layers. error: largest absolute deviation, None where none was taken."""

    name: str
    readable: bool
    writable: bool
    error: float | None
    check: str
    reason: str = ""


@dataclass(frozen=True)
class Proof:
    """What holds for an opened model. parity: largest |logits − unhooked logits|; 0 means equal bit for bit."""

    parity: float
    identity: float
    rows: tuple[SiteProof, ...]

    @property
    def exact(self) -> bool:
        return self.parity == 0.0

    def row(self, name: str) -> SiteProof:
        return next(row for row in self.rows if row.name == name)

    def names(self, *, writable: bool = False) -> frozenset[str]:
        """Names of the sites that can be read (or also written)."""
        return frozenset(row.name for row in self.rows if row.readable and (row.writable or not writable))


class _Turned(Intervention):
    """Reverses the last axis: a change that no norm, softmax or bias undoes."""

    kind: str = "turned"

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        return x.flip(-1)


@torch.inference_mode()
def prove(
    model: PreTrainedModel, wiring: Wiring, info: ModelInfo, batch: TokenBatch, device: torch.device | str
) -> Proof:
    """Run `batch` unhooked and hooked, and check every site."""
    reference = plain_forward(model, batch, device=device, output_hidden_states=True, output_attentions=True)
    reads = frozenset(site for site in all_sites(info).sites if _present(site, wiring))
    run = forward(model, wiring, batch, reads=reads, device=device)
    parity = _largest(run.logits, reference.logits)
    evidence = Evidence(model, wiring, info, batch, run, reference)
    readable = [_check(name, reads, evidence, model.dtype) for name in SITES]
    writable = [row.name for row in readable if row.readable and row.name not in READ_ONLY]
    identity = _identity(model, wiring, batch, run.activations, writable, device)
    inert = _inert(model, wiring, info, batch, writable, device) if identity == 0.0 else dict.fromkeys(writable, "")
    rows = tuple(_with_writing(row, row.name in writable and identity == 0.0, inert.get(row.name)) for row in readable)
    return Proof(parity, identity, rows)


def _present(site: Site, wiring: Wiring) -> bool:
    return site in wiring.ports or site.name in ("q_rot", "k_rot", "scores", "pattern", "head_out", "logits")


def _largest(a: Tensor, b: Tensor) -> float:
    return float((a.float() - b.float()).abs().max())


def _check(name: str, reads: frozenset[Site], evidence: Evidence, dtype: torch.dtype) -> SiteProof:
    check = CHECKS[name]
    layers = [site for site in reads if site.name == name]
    if not layers or any(site not in evidence.run.activations for site in layers):
        return SiteProof(
            name, False, False, None, check.words, check.absent(evidence.info) if check.absent else "not found"
        )
    worst, allowed = 0.0, 0.0
    for site in sorted(layers):
        pairs: Callable[..., list[tuple[Tensor, Tensor]]] = check.pairs
        for ours, theirs in pairs(evidence, site.layer):
            error = _largest(ours, theirs)
            limit = 0.0 if check.exact else TOLERANCE[dtype] * max(1.0, float(theirs.float().abs().max()))
            if error > limit or not torch.isfinite(ours).all():
                return SiteProof(
                    name, False, False, error, check.words, f"{site}: off by {error:.2g}, allowed {limit:.2g}"
                )
            worst, allowed = max(worst, error), max(allowed, limit)
    return SiteProof(name, True, False, worst, check.words)


def _identity(
    model: PreTrainedModel,
    wiring: Wiring,
    batch: TokenBatch,
    own: Activations,
    writable: list[str],
    device: torch.device | str,
) -> float:
    """Largest change of the logits when every writable site of every layer is patched with its own value."""
    edits = [Patch(at=Part(site), source="own") for site in own if site.name in writable]
    patched = forward(
        model, wiring, batch, schedule=on_prompts(batch, edits), sources={"own": own}, device=device
    ).logits
    return _largest(patched, forward(model, wiring, batch, device=device).logits)


def _inert(
    model: PreTrainedModel,
    wiring: Wiring,
    info: ModelInfo,
    batch: TokenBatch,
    writable: list[str],
    device: torch.device | str,
) -> dict[str, str]:
    """Sites where an edit changes nothing at some layer, with that layer; one world per site, in few forwards."""
    short = batch.select([len(batch) - 1])
    last = torch.tensor([n - 1 for n in short.lengths])
    inert: dict[str, str] = {}
    for name in writable:
        sites = [Site(name, layer) for layer in range(info.n_layers)] if SITES[name].scope == "layer" else [Site(name)]
        worlds = [(_Turned(at=Part(site)),) for site in sites]
        schedule = in_worlds(short, worlds, info.n_layers)
        logits = forward(model, wiring, short, schedule=schedule, logits_at=last, device=device).logits.float()
        unmoved = [str(site) for site, row in zip(sites, logits[1:], strict=True) if _largest(row, logits[0]) < 1e-6]
        if unmoved:
            inert[name] = unmoved[0]
    return inert


def _with_writing(row: SiteProof, identical: bool, inert: str | None) -> SiteProof:
    if not row.readable or row.name in READ_ONLY:
        return SiteProof(row.name, row.readable, False, row.error, row.check, row.reason or READ_ONLY.get(row.name, ""))
    if inert:
        return SiteProof(row.name, True, False, row.error, row.check, f"an edit at {inert} changes nothing downstream")
    reason = "" if identical else "patching with its own value changes the logits"
    return SiteProof(row.name, True, identical, row.error, row.check, reason)
