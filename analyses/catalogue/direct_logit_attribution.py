"""Direct logit attribution: how much each part of a model pushes the answer by itself, past everything after it.

The last residual stream is the sum of the embeddings and of what every layer has written. With the final norm's scale
held at the run's own value, the difference of two logits is linear in that stream, so it is the sum of one number per
addend: of each token embedding, head, bias, MLP or neuron. What a part does by being read by later layers is not in it.

With `self_repair` every head is also ablated for real. Were nothing to react, the metric would fall by the head's
direct effect; `repair` is how much less it falls: what later layers make up for, the final norm's scale included.

Sources: Elhage et al. 2021, A Mathematical Framework for Transformer Circuits; Wang et al. 2022, arXiv 2211.00593;
McGrath et al. 2023, arXiv 2307.15771, and Rushing, Nanda 2024, arXiv 2402.15390 (self-repair).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from analyses.addends import WORDS, Addends, addends, at_answers, sites_of
from analyses.analysis import Analysis, Findings
from analyses.averages import averaged
from analyses.bench import Bench
from analyses.edited import Edits, under_edits_in_words
from analyses.experiment import Experiment
from analyses.grid import Coord, Grid
from analyses.maps import map_of
from analyses.metrics import METRICS
from analyses.phrases import listed, metric_in_words, prompts_in_words
from analyses.readout import Readout, readout
from analyses.sweep import sweep
from hooks.errors import InputError
from hooks.interventions.mean import Mean
from hooks.interventions.zero import Zero
from hooks.schedule import World
from hooks.sites import Part, Site
from hooks.spec import Spec
from hooks.tokens import TokenBatch

TOLERANCE = 1e-3
"""How far the sum of all addends may be from the logit difference, relative where that is above 1."""


class Params(Spec):
    """by: how finely what is written is split. self_repair: also ablate every head for real, with zero or its mean.

    reference: the input whose mean over prompts is taken, at each position apart. edits: interventions under which the
    model is run; what they add to the stream is in `rest of layer`.
    """

    by: Literal["component", "head", "neuron"] = "component"
    self_repair: bool = False
    ablation: Literal["zero", "mean"] = "zero"
    reference: str = "clean"
    layers: tuple[int, ...] | None = Field(default=None)
    per_prompt: bool = False
    edits: Edits = ()

    @model_validator(mode="after")
    def _one_run(self) -> Params:
        if self.edits and self.self_repair:
            raise ValueError("self-repair is measured on the model itself: leave out edits")
        return self


@dataclass(frozen=True, eq=False)
class _Direct:
    """One run's addends along its readout, and the logit difference that they sum to [batch]."""

    batch: TokenBatch
    made: Addends
    out: Readout
    value: np.ndarray


def compute(params: Params, bench: Bench) -> Findings:
    batch, model = bench.batch("clean"), bench.model
    model.require_writable(params.edits)
    if not batch.answers:
        raise InputError("direct attribution needs answers: one token per prompt.", 'Add "answers" to inputs.clean.')
    bench.step(0, 1, "running the model")
    seen, logits = at_answers(bench, "clean", sites_of(model, neurons=params.by == "neuron"), params.edits)
    last = Site("resid_post", model.info.n_layers - 1)
    out = readout(model, batch, seen[last], seen[Site("ln_final")], logits)
    found = _Direct(batch, addends(model, seen, out.direction), out, out.value.cpu().numpy())
    grids = _effects(params, bench, found)
    grids += _sums(params, bench, found)
    if params.self_repair:
        grids += _repair(params, bench, found)
    return Findings(grids)


def _effects(params: Params, bench: Bench, found: _Direct) -> tuple[Grid, ...]:
    """`effect` by what is asked for, and `others`: the addends that are not in it."""
    made, what = found.made, _what(found)
    split: Mapping[int, Tensor] = {"head": made.heads, "neuron": made.neurons}.get(params.by, {})
    shared: dict[str, Any] = {"baseline": 0.0, "per_prompt": params.per_prompt}
    if not split:
        about = what
        if params.by != "component":
            about += f"; {_unsplit(params.by, bench)}: whole writes are given instead"
            bench.notes.append(_unsplit(params.by, bench))
        parts = _components(made, found.out)
        coords: dict[str, tuple[Coord, ...]] = {"component": tuple(parts)}
        return averaged("effect", _stacked(parts), ("component",), coords, "logit", about=about, **shared)
    axis = "head" if params.by == "head" else "unit"
    width = next(iter(split.values())).shape[1]
    layers = tuple(range(bench.model.info.n_layers)) if params.layers is None else params.layers
    values = np.zeros((len(found.batch), len(layers), width))
    known = np.zeros(values.shape, dtype=bool)
    for place, layer in enumerate(layers):
        if layer in split:
            values[:, place], known[:, place] = split[layer].cpu().numpy(), True
    without = [str(layer) for layer in layers if layer not in split]
    about = what + (f"; what is written in layers {listed(without)} is no sum of {axis}s" if without else "")
    places = {"layer": layers, axis: tuple(range(width))}
    grids = averaged("effect", values, ("layer", axis), places, "logit", about=about,
                     valid=None if known.all() else known, **shared)  # fmt: skip
    rest = _components(made, found.out, leave_out=params.by, layers=layers)
    coords = {"component": tuple(rest)}
    about = f"{what}: the addends that are not in effect"
    return (*grids, *averaged("others", _stacked(rest), ("component",), coords, "logit", about=about, **shared))


def _what(found: _Direct) -> str:
    against = "logit(answer) − logit(foil)" if found.batch.foils else "logit(answer)"
    cap = "" if found.out.cap is None else f", before the soft cap of {found.out.cap:g} that the model puts on logits"
    return f"what an addend of the last residual stream contributes to {against}{cap}, the final norm's scale held"


def _unsplit(by: str, bench: Bench) -> str:
    if bench.model.info.norm == "sandwich":
        return f"{bench.model.name} norms what its layers write before it is added, so it is no sum of {by}s"
    return f"what the layers of {bench.model.name} write is no sum of {by}s"


def _components(made: Addends, out: Readout, *, leave_out: str = "", layers: tuple[int, ...] = ()) -> dict[str, Tensor]:
    """Every addend by name, the heads of a layer together; without the heads or the neurons of some layers."""
    parts = dict(made.start)
    for site, value in made.writes.items():
        layer = site.layer or 0
        bias = made.head_bias if site.name == "attn_out" else made.neuron_bias if site.name == "mlp_out" else {}
        name = f"{WORDS[site.name]} {layer}"
        finer = site.name == {"head": "attn_out", "neuron": "mlp_out"}.get(leave_out) and layer in layers
        if layer in bias and (site.name == "attn_out" or finer):
            if not finer:
                parts[f"heads {layer}"] = value - bias[layer]
            if bias[layer].any():
                parts[f"bias of {name}"] = bias[layer]
        else:
            parts[name] = value
    parts |= {f"rest of layer {layer}": value for layer, value in made.rest.items()}
    return parts | out.constants


def _stacked(parts: Mapping[str, Tensor]) -> np.ndarray:
    return torch.stack(list(parts.values()), dim=1).cpu().numpy()


def _sums(params: Params, bench: Bench, found: _Direct) -> tuple[Grid, ...]:
    """`metric_clean`, `total` and `sum_error`: whether all addends sum to the difference that the model gives."""
    total = _stacked(_components(found.made, found.out)).sum(axis=1)
    error = np.abs(total - found.value)
    holds = bool((error <= TOLERANCE * np.maximum(1.0, np.abs(found.value))).all())
    verdict = f"{'equal' if holds else 'NOT equal'} within {TOLERANCE:g}"
    if not holds:
        bench.notes.append(f"the addends do not sum to the logit difference: off by {error.max():.2g}")
    capped = "" if found.out.cap is None else ", before the soft cap"
    none: dict[str, tuple[Coord, ...]] = {}
    return (
        *averaged("metric_clean", found.value, (), none, "logit", per_prompt=params.per_prompt,
                  about=f"the difference that the model gives{capped}"),
        *averaged("total", total, (), none, "logit", per_prompt=params.per_prompt,
                  about=f"sum of all addends; {verdict} to metric_clean"),
        Grid("sum_error", np.array(error.max()), (), none, "logit", 0.0,
             f"largest distance of total and metric_clean over the prompts; {verdict}"),
    )  # fmt: skip


def _repair(params: Params, bench: Bench, found: _Direct) -> tuple[Grid, ...]:
    """`direct`, `ablation` and `repair` of every head, or of every layer's attention where heads do not add up."""
    by_head = bool(found.made.heads)
    direct = found.made.heads if by_head else {
        site.layer or 0: value[:, None] for site, value in found.made.writes.items() if site.name == "attn_out"
    }  # fmt: skip
    metric = METRICS["logit_diff"]
    metric.check(found.batch, bench.model.info)
    name = "z" if by_head else "attn_out"
    cells: dict[tuple[Coord, ...], tuple[Part, ...]] = {
        (layer, part) if by_head else (layer,): (Part(Site(name, layer), head=part if by_head else None),)
        for layer, values in direct.items()
        for part in range(values.shape[1])
    }
    layout = map_of(bench.model, cells, ("layer", "head") if by_head else ("layer",))
    worlds: list[World] = [tuple(_ablated(params, part) for part in parts) for parts in layout.parts]
    say = f"ablating {len(worlds)} parts one at a time"
    bench.step(0, len(worlds), say)
    measured = sweep(bench, "clean", worlds, [metric],
                     on_chunk=lambda so_far: bench.step(int(so_far.done.sum()), len(worlds), say))  # fmt: skip
    lost = (measured.cells[0] - measured.clean[0]).T
    removed = torch.cat(list(direct.values()), dim=1).cpu().numpy()
    if params.ablation == "mean":
        removed = removed - _direct_of_mean(params, bench, found, list(direct), name)
    shape = (len(lost), *layout.shape)
    unit = "head" if by_head else "layer's attention"
    texts = {
        "direct": f"direct effect of each {unit}" + (" beyond its mean's" if params.ablation == "mean" else ""),
        "ablation": f"{metric.title} after {params.ablation} ablation minus before, measured",
        "repair": "ablation + direct: how much less is lost than the direct effect, made up for by what comes after",
    }
    capped = "" if found.out.cap is None else "; ablation is measured behind the soft cap, direct before it"
    valued = {"direct": removed, "ablation": lost, "repair": lost + removed}
    return tuple(
        grid
        for title, values in valued.items()
        for grid in averaged(title, values.reshape(shape), layout.dims, layout.coords, "logit", baseline=0.0,
                             about=texts[title] + capped, per_prompt=params.per_prompt)
    )  # fmt: skip


def _ablated(params: Params, part: Part) -> Zero | Mean:
    return Zero(at=part) if params.ablation == "zero" else Mean(at=part, reference=params.reference)


def _direct_of_mean(params: Params, bench: Bench, found: _Direct, layers: list[int], name: str) -> np.ndarray:
    """Direct effects [prompt part] of the mean of the reference prompts at each prompt's answer position."""
    model, sites = bench.model, [Site(name, layer) for layer in layers]
    edits = [Mean(at=Part(site), reference=params.reference) for site in sites]
    means = {site: x.double().mean(0) for site, x in bench.sources(edits)[params.reference].items() if site in sites}
    at, v, made = torch.tensor(found.batch.answer_at), found.out.direction, []
    for site in sites:
        value = means[site][at]
        if name == "attn_out":
            made.append((value * v).sum(-1, keepdim=True))
            continue
        scale = model.weights.port(Site("attn_out", site.layer)).view.scale
        made.append(scale * torch.einsum("bhd,hdm,bm->bh", value, model.weights.W_O(site.layer or 0).double(), v))
    return torch.cat(made, dim=1).cpu().numpy()


def sentence(params: Params, experiment: Experiment) -> str:
    by = {"component": "component", "head": "head", "neuron": "neuron"}[params.by]
    clean = experiment.inputs.get("clean")
    metric = metric_in_words("logit_diff", experiment) if clean and clean.foils else "the logit of the answer"
    repair = f", and what is lost when it is {params.ablation}-ablated" if params.self_repair else ""
    on = f"{prompts_in_words(experiment, 'clean')}{under_edits_in_words(params.edits)}"
    return f"Direct contribution of every {by} to {metric}{repair}, on {on}."


ANALYSIS = Analysis(
    name="direct_logit_attribution",
    title="Direct logit attribution",
    Params=Params,
    inputs=("clean",),
    summary="what each head, MLP or neuron writes towards the answer by itself, and what others make up for",
    source="Elhage et al. 2021, A Mathematical Framework for Transformer Circuits; Wang et al. 2022, arXiv 2211.00593",
    compute=compute,
    sentence=sentence,
    example={"by": "head"},
)
