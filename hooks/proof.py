"""Proof: each site is checked by algebra and against the unhooked model when a model opens.

Three short passes: the unhooked model; one in which every module is watched (the parity of what is only read); and one
in which every site is read and written with its own value: the logits must stay as they were, and must be computed from
every site that calls itself writable, as the graph that autograd keeps of that pass shows. A site that fails its check
does not exist for this model, and the reason is shown. Errors are largest absolute deviations in the dtype and on the
device in use.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hooks.absent import reason
from hooks.checks import CHECKS
from hooks.evidence import Evidence, largest, reference_states
from hooks.info import ModelInfo
from hooks.observe import Observation
from hooks.plan import all_sites
from hooks.run import Run, forward, plain_forward
from hooks.schedule import on_prompts, stack_of
from hooks.sites import MAIN, SITES, Part, Site
from hooks.tokens import TokenBatch
from hooks.touch import Touched, inert
from hooks.wiring import Wiring

if TYPE_CHECKING:
    from transformers import PreTrainedModel

READ_ONLY = {
    "scores": "read-only: edit pattern, or q_rot and k_rot",
    "cross_scores": "read-only: edit cross_pattern",
    "head_out": "read-only: it is z times W_O; edit z",
    "cross_head_out": "read-only: it is cross_z times W_O; edit cross_z",
    "router_logits": "read-only: the choice of experts follows from it inside the router; edit router",
    "logits": "read-only: the model's output",
}
SHOWN = ("q_rot", "k_rot", "scores", "pattern", "cross_scores", "cross_pattern")
UNPORTED = ("router", "expert_post", "head_out", "cross_head_out", *SHOWN)
# Relative rounding of sums in the dtype in use; what is the same tensor must be equal exactly.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2, torch.float64: 1e-12}


@dataclass(frozen=True)
class SiteProof:
    """Verdict on one kind of site in one stack. error: largest absolute deviation, None where none was taken.

    layers: those that have the site, None for all of them (or for a site of the whole model).
    """

    name: str
    readable: bool
    writable: bool
    error: float | None
    check: str
    reason: str = ""
    stack: str = MAIN
    layers: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Proof:
    """What holds for an opened model. parity: largest |logits − unhooked logits|; 0 means equal bit for bit."""

    parity: float
    identity: float
    rows: tuple[SiteProof, ...]

    @property
    def exact(self) -> bool:
        return self.parity == 0.0

    def row(self, name: str, stack: str = MAIN) -> SiteProof:
        return next(row for row in self.rows if row.name == name and row.stack == stack)

    def names(self, *, writable: bool = False, stack: str = MAIN) -> frozenset[str]:
        """Names of the sites of a stack that can be read (or also written), in some layer at least."""
        return frozenset(
            row.name for row in self.rows if row.stack == stack and row.readable and (row.writable or not writable)
        )

    def sites(self, info: ModelInfo, *, writable: bool = False) -> frozenset[Site]:
        """The sites that can be read (or also written)."""
        found = set()
        for row in self.rows:
            if row.readable and (row.writable or not writable):
                every = range(info.stack(row.stack).n_layers) if row.layers is None else row.layers
                layers: Sequence[int | None] = [None] if SITES[row.name].scope == "model" else every
                found |= {Site(row.name, layer, row.stack) for layer in layers}
        return frozenset(found)


def prove(
    model: PreTrainedModel,
    wiring: Wiring,
    info: ModelInfo,
    batch: TokenBatch,
    seen: Observation,
    device: torch.device | str,
) -> Proof:
    """Run `batch` unhooked and hooked, and check every site."""
    options = {"output_hidden_states": True, "output_attentions": True}
    reference = plain_forward(model, wiring.feed, batch, device=device, **options)
    expected = wiring.feed.answers(reference, batch)
    parity = largest(wiring.feed.answers(seen.output, batch), expected)
    everything = sorted(all_sites(info).sites)
    reads = frozenset(site for site in everything if _present(site, wiring))
    touched = {site: Touched(at=Part(site)) for site in everything if site in reads and site.name not in READ_ONLY}

    def touch() -> Run:
        schedule = on_prompts(batch, list(touched.values()))
        return forward(model, wiring, batch, reads=reads, schedule=schedule, grads=True, device=device)

    wrong: set[Site] = set()
    run = touch()
    if (identity := largest(run.logits, expected)) != 0.0:
        wrong = _unfaithful(model, wiring, batch, touched, expected, device)
        touched = {site: edit for site, edit in touched.items() if site not in wrong}
        run = touch()
    dead = inert(run.logits, touched)
    run = Run(run.logits.detach(), run.activations, run.attention)
    evidence = Evidence(model, wiring, batch, seen, run, reference, reference_states(reference, wiring, seen))
    kinds: dict[tuple[str, str], list[Site]] = defaultdict(list)
    for site in everything:
        kinds[site.stack, site.name].append(site)
    exact = largest(run.logits, expected) == 0.0
    with torch.inference_mode():
        rows = [
            _row(name, stack, kinds[stack, name], evidence, info, dead, wrong, exact=exact)
            for stack in wiring.stacks
            for name in SITES
            if (stack, name) in kinds
        ]
    return Proof(parity, identity, tuple(rows))


def _present(site: Site, wiring: Wiring) -> bool:
    if site in wiring.ports or site.name == "logits":
        return True
    if site.layer is None or site.name not in UNPORTED:
        return False
    layer = wiring.layer(site)
    if site.name in ("router", "expert_post"):
        return layer.experts is not None and layer.experts.shared
    roles = wiring.attention_of(site)
    if site.name.endswith("head_out"):
        return Site(site.name.replace("head_out", "z"), site.layer, site.stack) in wiring.ports
    return site.name in SHOWN and roles is not None and roles.shared


def _unfaithful(
    model: PreTrainedModel,
    wiring: Wiring,
    batch: TokenBatch,
    touched: dict[Site, Touched],
    expected: Tensor,
    device: torch.device | str,
) -> set[Site]:
    """Sites whose own value, written back, changes the logits; each kind is looked at alone."""

    def differs(edits: list[Touched]) -> bool:
        run = forward(model, wiring, batch, schedule=on_prompts(batch, edits), device=device)
        return largest(run.logits, expected) != 0.0

    wrong: set[Site] = set()
    for kind in {(site.name, site.stack) for site in touched}:
        sites = [site for site in touched if (site.name, site.stack) == kind]
        if differs([touched[site] for site in sites]):
            wrong |= set(sites)
    return wrong


def _row(
    name: str,
    stack: str,
    sites: list[Site],
    evidence: Evidence,
    info: ModelInfo,
    dead: set[Site],
    wrong: set[Site],
    *,
    exact: bool,
) -> SiteProof:
    check, worst, places = CHECKS[name], 0.0, _places(sites[0], evidence)
    held: list[Site] = []
    failed: list[str] = []
    for site in sites:
        error, problem = _verdict(site, evidence, info, places)
        if problem:
            failed.append(problem)
        else:
            held.append(site)
            worst = max(worst, error)
    reasons = list(dict.fromkeys(failed))
    if not held:
        return SiteProof(name, False, False, None, check.words, reasons[0], stack)
    layers = None if len(held) == len(sites) else tuple(site.layer for site in held if site.layer is not None)
    words = "" if layers is None else f"in layers {_listed(layers)} only; elsewhere: {reasons[0]}"
    stuck = READ_ONLY.get(name, "")
    if not stuck and (idle := next((site for site in held if site in dead), None)) is not None:
        stuck = f"read-only: nothing is computed from {idle}, so an edit changes nothing"
    if not stuck and (bad := next((site for site in held if site in wrong), None)) is not None:
        stuck = f"read-only: writing {bad} with its own value changes the logits"
    if not stuck and not exact:
        stuck = "read-only: edits are refused while writing a site's own value changes the logits"
    return SiteProof(name, True, not stuck, worst, check.words, " · ".join(filter(None, (words, stuck))), stack, layers)


def _verdict(site: Site, evidence: Evidence, info: ModelInfo, places: dict[str, int]) -> tuple[float, str]:
    """Largest error of a site's check, and what is wrong with it ("" where nothing is)."""
    if site not in evidence.run.activations:
        return 0.0, reason(site, evidence.wiring, info)
    if misplaced := _misplaced(site, evidence, places):
        return 0.0, misplaced
    check, worst = CHECKS[site.name], 0.0
    needed = {"mlp_pre": ("mlp_pre", "mlp_post"), "mlp_up": ("mlp_pre", "mlp_post")}.get(site.name, ())
    if not evidence.has(site, *needed):
        return 0.0, reason(site, evidence.wiring, info)
    for ours, theirs in check.pairs(evidence, site):
        if ours.shape != theirs.shape:
            return 0.0, f"{site}: its equation does not fit: {tuple(ours.shape)} against {tuple(theirs.shape)}"
        error, limit = evidence.off(ours, theirs), 0.0 if check.exact else TOLERANCE[evidence.dtype]
        if error > limit and not check.exact:
            limit *= max(1.0, float(theirs.float().abs().max()))
        if not error <= limit:
            return error, f"{site}: off by {error:.2g}, allowed {limit:.2g}"
        worst = max(worst, error)
    return worst, ""


def _places(site: Site, evidence: Evidence) -> dict[str, int]:
    """Sizes of the axes that the batch decides, alike in all layers of a stack."""
    batch = evidence.batch
    counted = [axis for axis in site.axes if axis in ("pos", "q_pos", "k_pos")]
    places = {"batch": len(batch)} | {axis: batch.side(stack_of(site, axis)).ids.shape[1] for axis in counted}
    if site.name == "logits" and not evidence.wiring.feed.everywhere:
        places["pos"] = 1
    return places


def _misplaced(site: Site, evidence: Evidence, places: dict[str, int]) -> str:
    """In words, why a tensor has not the axes of its site, in number and order ("" where it has)."""
    shape = tuple(evidence.run.activations[site].shape)
    fits = len(shape) == len(site.axes) and all(
        size == places.get(axis, size) for axis, size in zip(site.axes, shape, strict=True)
    )
    return "" if fits else f"in this model's code it is {' × '.join(map(str, shape))}, not {' × '.join(site.axes)}"


def _listed(layers: tuple[int, ...]) -> str:
    """Layer numbers with runs joined: 0–2, 5."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in runs)
