"""Attribution patching: what activation patching would find, estimated for all parts at once from one gradient.

A patch of a part changes its activation from the run's to the source's; to first order the metric changes by

    estimate_effect = Σ_i (source_i − run_i) · ∂M/∂run_i ≈ M_patched − M_run

over the part's coordinates, and `estimate` is that over M_clean − M_corrupt. Denoising runs the corrupt prompts,
noising the clean ones. All parts of a site cost two forward passes and one backward pass. It is an estimate: exact
where the metric is linear in the part, and often poor at attention that is saturated and where effects cancel. So some
cells, drawn at random, are patched for real beside it: `exact` and `agreement`.

AtP* computes the softmax again with the patched queries or keys and takes only what follows it to first order, and
averages the absolute estimates of L backward passes, each without the slope through what one layer writes to the
residual stream, times L / (L − 1) (GradDrop), so that direct and indirect effects do not cancel unseen.

Sources: Nanda 2023 (attribution patching); Kramár et al. 2024, arXiv 2403.00745 (AtP*).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from analyses.analysis import Analysis, Findings
from analyses.attribution import Contrast, contrasts, layer_groups
from analyses.averages import averaged, recoveries
from analyses.bench import Bench
from analyses.experiment import Experiment
from analyses.first_order import ATTENDING, estimates, needed
from analyses.grid import Grid
from analyses.maps import CellMap
from analyses.metric_choice import FLAT, metric_of
from analyses.metrics import Metric
from analyses.pairs import CLEAN, CORRUPT, check_pairs, measure_of, run_and_source
from analyses.parts import sharing_in_words
from analyses.patch_map import POSITIONS, PatchMap, cells_of
from analyses.phrases import metric_in_words, prompts_in_words, site_in_words
from analyses.statistics import pearson, spearman
from analyses.sweep import sweep
from hooks.errors import SpecError
from hooks.interventions.patch import Patch
from hooks.schedule import World, stack_of
from hooks.sites import MAIN, Site

MOST_UNITS = 200_000


class Params(PatchMap):
    """See `analyses.patch_map.PatchMap`. method: plain attribution patching, or AtP*.

    check: how many cells, drawn from the experiment's seed, are patched for real as well; 0 for none.
    """

    method: Literal["atp", "atp_star"] = "atp"
    check: int = Field(default=20, ge=0, le=100_000)

    @model_validator(mode="after")
    def _units(self) -> Params:
        if self.softmax and "unit" in self.over:
            raise ValueError(f"atp_star patches whole {self.site} vectors: leave unit out of over, or use atp")
        return self

    @property
    def softmax(self) -> bool:
        """Whether the softmax is computed again."""
        return self.method == "atp_star" and self.site in ATTENDING


@dataclass(frozen=True, eq=False)
class _Estimated:
    """Effects [prompt ...map], whether a cell has one, and the metric of both runs [prompt]."""

    effect: np.ndarray
    known: np.ndarray | None
    clean: np.ndarray
    corrupt: np.ndarray


def compute(params: Params, bench: Bench) -> Findings:
    check_pairs(bench)
    metric = metric_of(params.metric, bench.model)
    metric.check(bench.batch(CLEAN), bench.model.info)
    if params.direction == "noising" and metric.name in FLAT:
        raise SpecError(
            f"{metric.title} has no slope in the clean run, where it is at its extreme.",
            'Use "direction": "denoising", or another metric.',
        )
    cells = cells_of(params, bench, most_units=MOST_UNITS)
    bench.step(0, 1, "estimating all parts from one gradient")
    found = _estimated(params, bench, cells, metric)
    sizes = bench.model.info.stack(params.stack)
    more = cells.left_out + (sharing_in_words(range(sizes.n_kv_heads), sizes) if "kv_head" in params.over else "")
    grids = _estimate_grids(params, metric, cells, found, more)
    if params.check:
        grids += _checked(params, bench, metric, cells, found)
    grids += averaged("metric_clean", found.clean, (), {}, metric.unit, about=f"{metric.title} of the clean run",
                      per_prompt=params.per_prompt)  # fmt: skip
    grids += averaged("metric_corrupt", found.corrupt, (), {}, metric.unit, per_prompt=params.per_prompt,
                      about=f"{metric.title} of the corrupt run, with the clean answers")  # fmt: skip
    return Findings(grids)


def _estimated(params: Params, bench: Bench, cells: CellMap, metric: Metric) -> _Estimated:
    axis = cells.dims.index("layer")
    layers = sorted({int(cell[axis]) for cell in cells.cells})
    wanted = [Site(params.site, layer, params.stack) for layer in layers]
    at, reads, drop = wanted, list[Site](), tuple[tuple[Site, ...], ...]()
    if params.softmax:
        at = [Site("pattern", layer, params.stack) for layer in layers]
        reads = list(chain.from_iterable(map(needed, wanted)))
    if params.method == "atp_star":
        drop = layer_groups(bench, (params.stack, MAIN))
        if len(drop) < 2:
            raise SpecError("AtP* needs two layers or more that write to the residual stream.", 'Use "method": "atp".')
    parts = [
        (_mapped(params, one, cells, wanted), one.metric)
        for one in contrasts(bench, params.direction, metric, at, reads=reads, drop=drop)
    ]
    clean, corrupt = (np.concatenate([values[name] for _, values in parts]) for name in (CLEAN, CORRUPT))
    known = cells.known(np.ones(len(cells.cells), dtype=bool))
    return _Estimated(np.concatenate([effect for effect, _ in parts]), known, clean, corrupt)


def _mapped(params: Params, contrast: Contrast, cells: CellMap, sites: Sequence[Site]) -> np.ndarray:
    """[prompt ...map]: the estimates of some pairs, 0 where a layer lacks the site."""
    values = np.zeros((len(contrast.batch), *cells.shape))
    place = cells.dims.index("layer")
    for site in sites:
        index: list[Any] = [slice(None)] * values.ndim
        index[1 + place] = cells.coords["layer"].index(site.layer or 0)
        if params.method == "atp":
            values[tuple(index)] = _of_layer(params, contrast, contrast.slopes.grads, cells, site)
            continue
        dropped = contrast.slopes.dropped
        total = sum(np.abs(_of_layer(params, contrast, grads, cells, site)) for grads in dropped)
        # The mean of L passes, times L / (L − 1): in one of them the part's own layer is dropped.
        values[tuple(index)] = total / (len(dropped) - 1)
    return values


def _of_layer(params: Params, contrast: Contrast, grads: Any, cells: CellMap, site: Site) -> np.ndarray:
    """The estimates of one layer [prompt, ...the map's other axes], at the labels that are asked for."""
    found, axes = estimates(contrast, grads, site, params.over, softmax=params.softmax)
    for place, axis in enumerate(axes, start=1):
        labels = cells.coords[axis] if axis in cells.coords else cells.coords["position"]
        if axis in POSITIONS:
            batch = contrast.batch.side(stack_of(site, axis))
            rows = [batch.positions[label] if isinstance(label, str) else (label,) * len(batch) for label in labels]
            chosen = np.array(rows, dtype=int).T
            chosen = chosen.reshape(len(batch), *(-1 if at == place else 1 for at in range(1, found.ndim)))
            found = np.take_along_axis(found, chosen, axis=place)
        else:
            found = np.take(found, np.array(labels, dtype=int), axis=place)
    others = [axis for axis in params.over if axis != "layer"]
    return found.transpose(0, *(1 + axes.index(axis) for axis in others))


def _estimate_grids(params: Params, metric: Metric, cells: CellMap, found: _Estimated, more: str) -> tuple[Grid, ...]:
    run, source = run_and_source(params.direction)
    kind = "AtP*, absolute" if params.method == "atp_star" else "first order"
    what = f"an estimate ({kind}) of patching the {source} part into the {run} prompts"
    scaled = recoveries(
        "estimate", _recovering(params, found, found.effect), found.clean, found.corrupt, cells.dims, cells.coords,
        about=f"{what}: change of {metric.title} over clean − corrupt{_one_more(params)}{more}",
        per_prompt=params.per_prompt, valid=found.known,
    )  # fmt: skip
    valid = None if found.known is None else np.broadcast_to(found.known, found.effect.shape)
    effect = averaged(
        "estimate_effect", found.effect, cells.dims, cells.coords, metric.unit, baseline=0.0,
        about=f"{what}: {metric.title} after minus before{more}", per_prompt=params.per_prompt, valid=valid,
        null=params.method == "atp",
    )  # fmt: skip
    return (*scaled, *effect)


def _one_more(params: Params) -> str:
    return "" if params.direction == "denoising" else "; 1 + this is what activation patching calls recovered"


def _recovering(params: Params, found: _Estimated, effect: np.ndarray) -> np.ndarray:
    """What `recoveries` makes effect / (clean − corrupt) of; of absolute effects, over |clean − corrupt|."""
    gap = float((found.clean - found.corrupt).mean())
    sign = -1.0 if params.method == "atp_star" and gap < 0 else 1.0
    return found.corrupt.reshape(-1, *[1] * (effect.ndim - 1)) + sign * effect


def _checked(params: Params, bench: Bench, metric: Metric, cells: CellMap, found: _Estimated) -> tuple[Grid, ...]:
    """`exact`: a sample of the cells patched for real; `agreement` of the estimates with them."""
    n_cells, (run, source) = len(cells.parts), run_and_source(params.direction)
    sample = sorted(torch.randperm(n_cells, generator=bench.rng)[: params.check].tolist())
    worlds: list[World] = [tuple(Patch(at=part, source=source) for part in cells.parts[cell]) for cell in sample]
    say = f"patching {len(sample)} of {n_cells} parts for real"
    bench.step(0, len(worlds), say)
    measured = sweep(
        bench, run, worlds, [metric], target=measure_of(params.metric, bench).target,
        on_chunk=lambda so_far: bench.step(int(so_far.done.sum()), len(worlds), say),
    )  # fmt: skip
    effects = measured.cells[0] - measured.clean[0]
    if params.method == "atp_star":
        effects = np.abs(effects)
    full, done = np.zeros((n_cells, effects.shape[1])), np.zeros(n_cells, dtype=bool)
    full[sample], done[sample] = effects, True
    known = cells.known(done)
    kind = "absolute change" if params.method == "atp_star" else "change"
    exact = recoveries(
        "exact", _recovering(params, found, cells.laid_out(full)), found.clean, found.corrupt, cells.dims,
        cells.coords, valid=known, per_prompt=params.per_prompt,
        about=f"measured by patching: {kind} of {metric.title} over clean − corrupt{_one_more(params)}; "
        f"{len(sample)} of {n_cells} cells{', drawn at random' if len(sample) < n_cells else ''}",
    )  # fmt: skip
    estimated = found.effect.mean(axis=0).reshape(-1)[cells.places[sample]]
    return (*exact, _agreement(estimated, effects.mean(axis=1), n_cells))


def _agreement(estimated: np.ndarray, exact: np.ndarray, of: int) -> Grid:
    values = np.array([pearson(estimated, exact), spearman(estimated, exact)])
    known = np.isfinite(values)
    about = f"correlation of the estimates with patching for real, over {len(exact)} of {of} cells"
    about += "" if known.all() else "; undefined where one of them does not vary"
    coords = {"measure": ("pearson", "spearman")}
    valid = None if known.all() else known
    return Grid("agreement", np.where(known, values, 0.0), ("measure",), coords, "correlation", 0.0, about, valid)


def sentence(params: Params, experiment: Experiment) -> str:
    run, source = run_and_source(params.direction)
    method = "AtP*" if params.method == "atp_star" else "attribution patching"
    check = f"; patch {params.check} of them for real" if params.check else ""
    return (
        f"Estimate by {method} what patching the {source} {site_in_words(params.site)} into "
        f"{prompts_in_words(experiment, run)} of the {run} set would do to "
        f"{metric_in_words(params.metric, experiment)}, at {params.where_in_words()} ({params.direction}){check}."
    )


ANALYSIS = Analysis(
    name="attribution_patching",
    title="Attribution patching",
    Params=Params,
    inputs=(CLEAN, CORRUPT),
    summary="a fast estimate of activation patching for all parts at once, checked on a sample",
    source="Nanda 2023, attribution patching; Kramár et al. 2024, arXiv 2403.00745",
    compute=compute,
    sentence=sentence,
    example={"direction": "denoising", "site": "z", "over": ["layer", "head"], "metric": "logit_diff"},
)
