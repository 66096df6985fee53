"""Ablation: remove a part of the model and see what the answer loses.

A part (a head, an MLP, a neuron …) is replaced by zero, by its mean over reference prompts, or by its value on a
counterfactual prompt, and a metric is measured on the model's real forward pass. The effect is metric after minus
metric before: with a metric that is high when the model does well, negative means that the part helped.

Heads are replaced at z, before the output projection, so its bias stays: it belongs to no head. `at` removes all named
parts together and also compares distributions and attention; `over` removes parts one at a time and maps the effect.
With `site` a sweep over heads acts on their queries, keys, values or patterns instead; keys and values belong to
key/value heads, which several query heads may share: their maps have one column per key/value head.
A layer is all that it writes to the residual stream, a position these writes at that one position. Layers that lack the
part, such as the state-space layers of a hybrid, are left out of a sweep and named.

Sources: Olsson et al. 2022, arXiv 2209.11895 (zero); Wang et al. 2022, arXiv 2211.00593 (mean); Chan et al. 2022
(resample). Several prompts: the mean over prompts of per-prompt differences, with a bootstrap interval. Beside it
stands the range of the same edit on other parts of the same kind: drawn at random for parts removed together, the whole
map for a sweep.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field, field_serializer, field_validator, model_validator

from analyses.analysis import Analysis, Findings
from analyses.averages import averaged, control
from analyses.bench import Bench
from analyses.comparison import ATTENTION, distributions, pattern_shifts
from analyses.controls import CONTROLS, random_worlds
from analyses.edit_words import edits_in_words
from analyses.experiment import Experiment
from analyses.grid import Coord, Grid
from analyses.maps import CellMap, changes, map_of
from analyses.metric_choice import MetricChoice, metric_of
from analyses.metrics import METRICS, Metric, output_of
from analyses.parts import HeadSite, Over, dims_of, parts_of, sharing_in_words
from analyses.phrases import HEAD_SITES, head_in_words, listed, metric_in_words, prompts_in_words
from analyses.sweep import Measured, sweep
from hooks.errors import SpecError
from hooks.interventions import Intervention, parse_intervention
from hooks.interventions.mean import Mean
from hooks.interventions.patch import Patch
from hooks.interventions.zero import Zero
from hooks.plan import CapturePlan
from hooks.schedule import World
from hooks.sites import MAIN, Part, Site
from hooks.spec import Spec

VERBS = {"zero": "Zero", "mean": "Mean-ablate", "resample": "Resample"}
KL_ABOUT = "KL divergence of the ablated from the clean distribution"


class Params(Spec):
    """kind: what replaces the part. over: sweep parts of one sort, one at a time. at: remove these parts together.

    site: where a sweep over heads replaces them; `k` and `v` have one part per key/value head. stack: sweep another
    stack than the main one, such as "encoder". at: part addresses, or
    interventions where parts are removed in different ways. layers: restrict a sweep.
    reference, mean_over: the input whose mean is taken, at each position apart ("prompts"), that
    within each prompt's template ("template"), or over all ("positions").
    source: the input that resampling copies from. controls: how many random sets of parts of the same kind are removed
    for comparison where parts are named; 0 for none, and then a sweep has no range to compare with either.
    """

    kind: Literal["zero", "mean", "resample"] = "zero"
    over: Over | None = None
    # Not written where it is the usual one: experiments keep the id they had before sites could be chosen.
    site: HeadSite = Field(default="z", exclude_if=lambda site: site == "z")
    stack: str = Field(default=MAIN, exclude_if=lambda stack: stack == MAIN)
    at: tuple[Part | Intervention, ...] | None = None
    metric: MetricChoice = "logit_diff"
    layers: tuple[int, ...] | None = None
    reference: str = "clean"
    mean_over: Literal["prompts", "positions", "template"] = "prompts"
    source: str = "corrupt"
    per_prompt: bool = Field(default=False)
    controls: int = Field(default=CONTROLS, ge=0, le=1000, exclude_if=lambda count: count == CONTROLS)

    @field_validator("at", mode="before")
    @classmethod
    def _parts(cls, value: Any) -> Any:
        if value is None:
            return None
        items = [value] if isinstance(value, str) else list(value)
        return tuple(parse_intervention(item) if isinstance(item, dict) else item for item in items)

    @field_serializer("at")
    def _print(self, at: tuple[Part | Intervention, ...] | None) -> list[Any] | None:
        if at is None:
            return None
        return [item.model_dump(mode="json") if isinstance(item, Intervention) else str(item) for item in at]

    @model_validator(mode="before")
    @classmethod
    def _one_of(cls, given: Any) -> Any:
        given = dict(given)
        if given.get("at") is not None and given.get("over") is not None:
            raise ValueError("give over or at, not both")
        if given.get("at") is None and given.get("over") is None:
            given["over"] = "head"
        if given.get("site", "z") != "z" and given.get("over") != "head":
            raise ValueError("site belongs to a sweep over heads; in at, write it in the part, such as L3.k[head=1]")
        if given.get("stack", MAIN) != MAIN and given.get("over") is None:
            raise ValueError("stack belongs to a sweep; in at, write it in the part, such as encoder.L0.z[head=1]")
        return given

    def edit(self, part: Part | Intervention) -> Intervention:
        """The intervention that removes a part in this experiment's way."""
        if isinstance(part, Intervention):
            return part
        if self.kind == "mean":
            return Mean(at=part, reference=self.reference, over=self.mean_over)
        return Zero(at=part) if self.kind == "zero" else Patch(at=part, source=self.source)


def compute(params: Params, bench: Bench) -> Findings:
    metric = metric_of(params.metric, bench.model)
    metric.check(bench.batch("clean"), bench.model.info)
    # How far the choice moves, where the model makes one.
    beside = (METRICS["kl"],) if output_of(bench.model.info) == "choice" else ()
    metrics = list(dict.fromkeys((metric, *beside)))
    return _together(params, bench, metrics) if params.at is not None else _sweep(params, bench, metrics)


def _sweep(params: Params, bench: Bench, metrics: list[Metric]) -> Findings:
    info, over = bench.model.info, params.over or "head"
    batch, sizes = bench.batch("clean").side(params.stack), info.stack(params.stack)
    layers = params.layers or tuple(range(sizes.n_layers))
    if over == "expert" and not sizes.n_experts:
        raise SpecError("this model has no mixture of experts.", 'Sweep over "head" or "mlp".')
    if over == "neuron" and params.layers is None:
        raise SpecError(
            f"a sweep over all {sizes.n_layers * sizes.d_mlp:,} neurons is too long.",
            'Choose layers, such as "layers": [0].',
        )
    if over == "position" and len(set(batch.lengths)) > 1:
        raise SpecError("a sweep over positions needs prompts of equal length.", "Use one prompt, or equal lengths.")
    writable, width = bench.model.writable, min(batch.lengths)
    parts = parts_of(over, info, layers, width, params.site, stack=params.stack, writable=writable)
    if not any(parts.values()):
        whole = Site("mlp_post" if over == "neuron" else params.site, layers[0], params.stack)
        bench.model.require_writable([Zero(at=Part(whole))])
    cells = map_of(bench.model, dict(parts.items()), dims_of(over, params.site))
    shared = sharing_in_words(range(sizes.n_kv_heads), sizes) if "kv_head" in cells.coords else ""
    more = f"{shared}{cells.left_out}"
    worlds: list[World] = [tuple(params.edit(part) for part in chosen) for chosen in cells.parts]
    say = f"ablating {len(worlds)} parts one at a time"

    def shown(measured: Measured) -> None:
        partial = _map(params, metrics, measured, cells, more, interval=False)
        bench.step(int(measured.done.sum()), len(worlds), say, partial[0])

    bench.step(0, len(worlds), say)
    measured = sweep(bench, "clean", worlds, metrics, on_chunk=shown)
    grids = _map(params, metrics, measured, cells, more)
    if params.controls:
        effects = changes(measured).mean(axis=1)
        grids += control("control", effects, metrics[0].unit, f"all {len(worlds)} parts of the map")
    return Findings((*grids, *_kl_map(metrics, measured, cells, more)))


def _map(
    params: Params, metrics: list[Metric], measured: Measured, cells: CellMap, more: str, *, interval: bool = True
) -> tuple[Grid, ...]:
    """The map of effects and the clean value. more: what to say of the cells, as the end of a sentence."""
    metric, clean = metrics[0], measured.clean[0]
    about = f"{metric.title} after removing the part, minus before{more}"
    effects = cells.laid_out(changes(measured))
    return (
        *averaged("effect", effects, cells.dims, cells.coords, metric.unit, baseline=0.0, about=about,
                  per_prompt=params.per_prompt, valid=cells.known_by_prompt(measured.done, len(clean)),
                  interval=interval),
        *averaged("metric_clean", clean, (), {}, metric.unit, about=f"{metric.title} of the clean run",
                  per_prompt=params.per_prompt, interval=interval),
    )  # fmt: skip


def _kl_map(metrics: list[Metric], measured: Measured, cells: CellMap, more: str) -> tuple[Grid, ...]:
    if METRICS["kl"] not in metrics:
        return ()
    values = cells.laid_out(measured.cells[metrics.index(METRICS["kl"])])
    return averaged("kl", values, cells.dims, cells.coords, "nat", baseline=0.0, about=f"{KL_ABOUT}{more}",
                    valid=cells.known_by_prompt(measured.done, measured.clean.shape[1]), null=False)  # fmt: skip


def _together(params: Params, bench: Bench, metrics: list[Metric]) -> Findings:
    world: World = tuple(params.edit(part) for part in params.at or ())
    if not world:
        raise SpecError("nothing to ablate: `at` is empty.", 'Name a part, such as "L3.z[head=5]".')
    metric, say = metrics[0], "comparing distributions and attention"
    bench.step(0, 3, "ablating all parts together")
    for edit in world:
        bench.model.info.check_part(edit.at)
    others = random_worlds(world, bench.model, params.controls, bench.experiment.seed)
    measured = sweep(bench, "clean", [world, *others], metrics)
    bench.step(1, 3, say)
    seen = {site for site in bench.model.sites if site.name in ATTENTION}
    plan = CapturePlan(sites=frozenset({*seen, Site("logits")}))
    clean, changed = bench.capture("clean", plan), bench.capture("clean", plan, world)
    bench.step(2, 3, say)
    at = [edit.at for edit in world if edit.at.site.kind.head_axis == "kv_head"]
    about = f"{metric.title} after removing the parts together, minus before"
    about += sharing_in_words(sorted({part.head for part in at if part.head is not None}), bench.model.info)
    effects = changes(measured)
    grids = [
        *averaged("effect", effects[0], (), {}, metric.unit, baseline=0.0, about=about, per_prompt=params.per_prompt),
        *averaged("metric_clean", measured.clean[0], (), {}, metric.unit,
                  about=f"{metric.title} of the clean run", per_prompt=params.per_prompt),
    ]  # fmt: skip
    if METRICS["kl"] in metrics:
        kl = measured.cells[metrics.index(METRICS["kl"]), 0]
        grids += averaged("kl", kl, (), {}, "nat", baseline=0.0, about=KL_ABOUT, per_prompt=params.per_prompt,
                          null=False)  # fmt: skip
        grids += distributions(bench, clean["logits"], changed["logits"])
    grids += [*pattern_shifts(bench, clean, changed), *_controls(others, effects[1:], metric)]
    bench.step(3, 3, say)
    return Findings(tuple(grids))


def _controls(others: tuple[World, ...], effects: np.ndarray, metric: Metric) -> tuple[Grid, ...]:
    """The effect of every random set of parts, and their range. effects: [set prompt]."""
    if not others:
        return ()
    names = tuple(", ".join(str(edit.at) for edit in world) for world in others)
    coords: dict[str, tuple[Coord, ...]] = {"draw": tuple(range(len(others))), "parts": names}
    about = "effect of the same edit on parts of the same kind drawn at random, none of them those that were chosen"
    each = averaged("control", effects.T, ("draw",), coords, metric.unit, baseline=0.0, about=about, interval=False)
    means = effects.mean(axis=1)
    return (*each, *control("control", means, metric.unit, f"{len(others)} random sets of parts of the same kind"))


def _every_head(site: HeadSite) -> str:
    """What a sweep over heads replaces: "every head", "the keys of every key/value head" …"""
    outputs = {"z": "every head", "cross_z": "every cross-attention head"}
    return outputs[site] if site in outputs else f"the {HEAD_SITES[site]} of every {head_in_words(Site(site, 0))}"


def sentence(params: Params, experiment: Experiment) -> str:
    measure = f"on {prompts_in_words(experiment, 'clean')}; measure {metric_in_words(params.metric, experiment)}"
    if params.at is None:
        layers = "" if params.layers is None else f" of layers {listed(list(map(str, params.layers)))}"
        names = {"mlp": "MLP", "attn": "attention block", "position": "layer at each position"}
        over = params.over or "head"
        each = _every_head(params.site) if over == "head" else f"every {names.get(over, over)}"
        stack = "" if params.stack == MAIN else f" of the {params.stack}"
        return f"{VERBS[params.kind]} {each}{stack}{layers}, one at a time, {measure}."
    done = edits_in_words([params.edit(item) for item in params.at])
    return f"{done[0].upper()}{done[1:]} {measure}."


ANALYSIS = Analysis(
    name="ablation",
    title="Ablation",
    Params=Params,
    inputs=("clean",),
    summary="what the answer loses when a part is replaced by zero, a mean or a counterfactual value",
    source="Olsson et al. 2022, arXiv 2209.11895; Wang et al. 2022, arXiv 2211.00593",
    compute=compute,
    sentence=sentence,
    example={"kind": "zero", "over": "head", "metric": "logit_diff"},
)
