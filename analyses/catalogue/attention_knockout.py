"""Attention knockout: cut the edges from some positions to others in a window of layers, and see what the answer loses.

An edge from query q to key k is cut in a head by giving it no weight: the score is set to minus infinity before the
softmax, so the rest of the row keeps its proportions and sums to 1 again. Edges are cut in a window of layers around
each layer of the map, in all heads or in chosen ones. The effect is the metric with the edges cut minus the metric of
the clean run: with a metric that is high when the model does well, negative means that information flowed there.

Source: Geva et al. 2023, arXiv 2304.14767.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Literal

from pydantic import Field, model_validator

from analyses.analysis import Analysis, Findings
from analyses.averages import averaged
from analyses.bench import Bench
from analyses.experiment import Experiment
from analyses.grid import Coord, Grid
from analyses.maps import (
    CellMap,
    Parts,
    changes,
    layers_of,
    map_of,
    mapped,
    position_axis,
    positions_of,
    usual_window,
    window_of,
)
from analyses.measured import Measured
from analyses.metric_choice import MetricChoice, metric_of
from analyses.metrics import Metric
from analyses.pairs import CLEAN
from analyses.phrases import layers_in_words, listed, metric_in_words, position_in_words, prompts_in_words
from analyses.sweep import sweep
from hooks.interventions.mask_edge import MaskEdge
from hooks.schedule import World, stack_of
from hooks.sites import MAIN, Part, Site
from hooks.spec import Spec

Axis = Literal["layer", "k_pos"]


class Params(Spec):
    """queries, keys: positions between which edges are cut, indices or names; all together, unless `over` has k_pos.

    heads: in which heads, all where it is left out. window: in how many layers around each; 10 where it is left out,
    but at most a third of the layers. over: ["layer"], or ["layer", "k_pos"] for a map with one key position at a time
    (all, unless keys are given). site: also "cross_pattern", whose keys are the encoder's positions. stack: of another
    stack, such as "encoder". layers: restrict the map.
    """

    queries: tuple[int | str, ...] = Field(default=("last",), min_length=1)
    keys: tuple[int | str, ...] | None = None
    heads: tuple[int, ...] | None = None
    window: int | None = Field(default=None, ge=1)
    over: tuple[Axis, ...] = ()
    site: Literal["pattern", "cross_pattern"] = "pattern"
    stack: str = Field(default=MAIN, exclude_if=lambda stack: stack == MAIN)
    layers: tuple[int, ...] | None = None
    metric: MetricChoice = "prob"
    per_prompt: bool = False

    @model_validator(mode="before")
    @classmethod
    def _axes(cls, given: Any) -> Any:
        given = dict(given)
        over = given.get("over") or (["layer"] if given.get("keys") else ["layer", "k_pos"])
        given["over"] = [over] if isinstance(over, str) else over
        return given

    @model_validator(mode="after")
    def _cut(self) -> Params:
        if self.over not in (("layer",), ("layer", "k_pos")):
            raise ValueError('over is ["layer"] or ["layer", "k_pos"]')
        if not self.keys and (self.over == ("layer",) or self.keys is not None):
            raise ValueError('nothing is cut: give keys, such as ["subject"], or a map over ["layer", "k_pos"]')
        return self

    def width(self, n_layers: int) -> int:
        """Layers in which edges are cut together."""
        return self.window or usual_window(n_layers)


def compute(params: Params, bench: Bench) -> Findings:
    metric, cells = metric_of(params.metric, bench.model), _cells(params, bench)
    worlds: list[World] = [tuple(MaskEdge(at=part) for part in parts) for parts in cells.parts]
    say = f"cutting edges in {len(worlds)} places"
    width = params.width(bench.model.info.stack(params.stack).n_layers)

    def shown(measured: Measured) -> None:
        bench.step(int(measured.done.sum()), len(worlds), say, _effect(params, cells, measured, metric, width)[0])

    bench.step(0, len(worlds), say)
    measured = sweep(bench, CLEAN, worlds, [metric], on_chunk=shown)
    clean = averaged("metric_clean", measured.clean[0], (), {}, metric.unit, about=f"{metric.title} of the clean run",
                     per_prompt=params.per_prompt)  # fmt: skip
    return Findings((*_effect(params, cells, measured, metric, width, whole=True), *clean))


def _cells(params: Params, bench: Bench) -> CellMap:
    """The edges that each cell of the map cuts. Raises SiteMissing, InputError."""
    batch, count = bench.batch(CLEAN), bench.model.info.stack(params.stack).n_layers
    whole = Site(params.site, 0, params.stack)
    queries = positions_of(batch.side(params.stack), params.queries)
    keys = positions_of(batch.side(stack_of(whole, "k_pos")), params.keys)
    having = [layer for layer in range(count) if Site(params.site, layer, params.stack) in bench.model.writable]

    def cut(layer: int, chosen: tuple[int | str, ...]) -> Parts:
        # A window may reach over layers that have no attention; with none anywhere the model says why.
        near = [other for other in window_of(layer, params.width(count), count) if other in having or not having]
        return tuple(
            Part(Site(params.site, other, params.stack), head=head, q_pos=query, k_pos=key)
            for other, head, query, key in product(near, params.heads or (None,), queries, chosen)
        )

    layers = layers_of(count, params.layers)
    cells: dict[tuple[Coord, ...], Parts]
    if params.over == ("layer",):
        return map_of(bench.model, {(layer,): cut(layer, keys) for layer in layers}, ("layer",))
    cells = {(layer, key): cut(layer, (key,)) for layer, key in product(layers, keys)}
    return map_of(bench.model, cells, ("layer", position_axis("k_pos", keys)))


def _effect(
    params: Params, cells: CellMap, measured: Measured, metric: Metric, width: int, *, whole: bool = False
) -> tuple[Grid, ...]:
    return mapped(
        "effect", cells, changes(measured), measured.done, metric.unit, per_prompt=params.per_prompt, whole=whole,
        about=f"{metric.title} with the edges cut in {width} layers around each, minus clean",
    )  # fmt: skip


def sentence(params: Params, experiment: Experiment) -> str:
    heads = (
        "all heads"
        if params.heads is None
        else f"head{'' if len(params.heads) == 1 else 's'} {listed(list(map(str, params.heads)))}"
    )
    keys = "each position" if params.keys is None else listed([position_in_words(key) for key in params.keys])
    alone = ", one at a time," if params.keys is not None and "k_pos" in params.over else ""
    layers = "each layer" if params.layers is None else layers_in_words(params.layers)
    width = "a window of" if params.window is None else str(params.window)
    return (
        f"Cut the {'cross-' if params.site != 'pattern' else ''}attention of {heads} from "
        f"{listed([position_in_words(query) for query in params.queries])} to {keys}{alone} in {width} layers around "
        f"{layers} on {prompts_in_words(experiment, CLEAN)}; measure {metric_in_words(params.metric, experiment)}."
    )


ANALYSIS = Analysis(
    name="attention_knockout",
    title="Attention knockout",
    Params=Params,
    inputs=(CLEAN,),
    summary="through which layers the answer needs to see a position: attention edges cut in a window of layers",
    source="Geva et al. 2023, arXiv 2304.14767",
    compute=compute,
    sentence=sentence,
    example={"queries": ["last"], "over": ["layer", "k_pos"], "metric": "prob"},
)
