"""Causal tracing: blur some tokens with noise, then restore single states and see what brings the answer back.

Three sorts of run: the clean one; a corrupted one, in which Gaussian noise is added to the embeddings of some tokens,
such as those of a subject; and, for every layer and position, the corrupted run with the clean state put back there.

    total effect    = M_clean − M_corrupted
    indirect effect = M_restored − M_corrupted

Each is a mean over several draws of the noise and over prompts; the same draws serve every cell. A state of the
residual stream is restored at one layer, an output of attention or MLP in a window of layers around it: one alone adds
little.

Source: Meng et al. 2022 (ROME), arXiv 2202.05262.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Final, Literal

import numpy as np
from pydantic import Field

from analyses.analysis import Analysis, Findings
from analyses.averages import averaged
from analyses.bench import Bench
from analyses.experiment import Experiment
from analyses.grid import Coord, Grid
from analyses.maps import (
    CellMap,
    Parts,
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
from analyses.pairs import CLEAN, CORRUPT, check_pairs
from analyses.phrases import listed, metric_in_words, position_in_words, prompts_in_words, site_in_words
from analyses.sweep import sweep
from hooks.errors import InputError
from hooks.interventions.noise import ROME_SCALE, Noise
from hooks.interventions.patch import Patch
from hooks.schedule import World
from hooks.sites import Part, Site
from hooks.spec import Spec

SUBJECT = "subject"
STREAM: Final = "resid_post"


class Params(Spec):
    """at: which tokens get noise: indices or named positions.

    Where it is left out, those at which `corrupt` differs from `clean`, or without `corrupt` the position "subject".
    scale: standard deviation of the noise, in standard deviations of the token embeddings. draws: how many times the
    noise is drawn. site: what is restored. window: in how many layers together; where it is left out, 1 for the
    residual stream, else 10 but at most a third of the layers. layers, positions: restrict the map.
    """

    at: tuple[int | str, ...] | None = None
    scale: float = Field(default=ROME_SCALE, gt=0)
    draws: int = Field(default=10, ge=1, le=1000)
    site: Literal["resid_post", "attn_out", "mlp_out"] = STREAM
    window: int | None = Field(default=None, ge=1)
    layers: tuple[int, ...] | None = None
    positions: tuple[int | str, ...] | None = None
    metric: MetricChoice = "prob"
    per_prompt: bool = False

    def width(self, n_layers: int) -> int:
        """Layers that are restored together."""
        return self.window or (1 if self.site == STREAM else usual_window(n_layers))


def compute(params: Params, bench: Bench) -> Findings:
    metric, cells = metric_of(params.metric, bench.model), _cells(params, bench)
    noised, first = noised_positions(params, bench), bench.experiment.seed * params.draws
    noise = [
        tuple(Noise(at=Part(Site("embed"), pos=name), scale=params.scale, seed=first + draw) for name in noised)
        for draw in range(params.draws)
    ]
    restored = [tuple(Patch(at=part, source=CLEAN) for part in parts) for parts in cells.parts]
    # Cell by cell, so that a map that is still filling has whole cells.
    worlds: list[World] = [*noise, *((*drawn, *put_back) for put_back, drawn in product(restored, noise))]
    say = f"restoring {len(restored)} states under {params.draws} draws of noise"

    def shown(measured: Measured) -> None:
        bench.step(int(measured.done.sum()), len(worlds), say, _effect(params, cells, measured, metric, bench)[0])

    bench.step(0, len(worlds), say)
    measured = sweep(bench, CLEAN, worlds, [metric], positions=noised, on_chunk=shown)
    effect = _effect(params, cells, measured, metric, bench, whole=True)
    return Findings((*effect, *_runs(params, measured, metric)))


def noised_positions(params: Params, bench: Bench) -> dict[str, tuple[int, ...]]:
    """The positions that get noise, one index per prompt under a name each. Raises InputError."""
    batch = bench.batch(CLEAN)
    if params.at is None and CORRUPT in bench.experiment.inputs:
        rows = _differing(bench)
    elif params.at is None and SUBJECT not in batch.positions:
        raise InputError(
            "nothing says which tokens get noise.",
            'Give "at", such as [2, 3], a position called "subject", or corrupt prompts that differ there.',
        )
    else:
        chosen = positions_of(batch, params.at or (SUBJECT,))
        places = [batch.positions[name] if isinstance(name, str) else (name,) * len(batch) for name in chosen]
        rows = list(zip(*places, strict=True))
    if any(len(set(row)) < len(row) for row in rows) or not rows[0]:
        raise InputError("a token gets noise once.", "Name different positions, at least one.")
    return {f"noise_{number}": places for number, places in enumerate(zip(*rows, strict=True))}


def _differing(bench: Bench) -> list[tuple[int, ...]]:
    """Of each pair, the positions whose tokens differ."""
    check_pairs(bench)
    pairs = zip(bench.batch(CLEAN).id_lists(), bench.batch(CORRUPT).id_lists(), strict=True)
    rows = [tuple(np.flatnonzero(np.not_equal(ours, theirs)).tolist()) for ours, theirs in pairs]
    counts = sorted({len(row) for row in rows})
    if len(counts) > 1 or counts == [0]:
        found = "no token" if counts == [0] else f"{counts[0]} to {counts[-1]} tokens"
        raise InputError(
            f"clean and corrupt differ in {found} per prompt.",
            'Let every pair differ in equally many, or name the tokens: "at": ["subject"].',
        )
    return rows


def _cells(params: Params, bench: Bench) -> CellMap:
    """The states that each cell of the map restores. Raises SiteMissing, InputError."""
    count = bench.model.info.n_layers
    positions = positions_of(bench.batch(CLEAN), params.positions)
    cells: dict[tuple[Coord, ...], Parts] = {
        (layer, pos): tuple(
            Part(Site(params.site, near), pos=pos) for near in window_of(layer, params.width(count), count)
        )
        for layer, pos in product(layers_of(count, params.layers), positions)
    }
    return map_of(bench.model, cells, ("layer", position_axis("pos", positions)))


def _effect(
    params: Params, cells: CellMap, measured: Measured, metric: Metric, bench: Bench, *, whole: bool = False
) -> tuple[Grid, ...]:
    """The map of indirect effects. whole: once it no longer fills."""
    runs = measured.cells[0].reshape(-1, params.draws, measured.clean.shape[1]).mean(axis=1)
    done = np.asarray(measured.done.reshape(-1, params.draws).all(axis=1))
    width = params.width(bench.model.info.n_layers)
    together = f" in {width} layers around each" if width > 1 else ""
    return mapped(
        "indirect_effect", cells, runs[1:] - runs[0], np.logical_and(done[1:], done[0]), metric.unit,
        about=f"{metric.title} with the clean {site_in_words(params.site)} restored{together}, minus corrupted"
        f"{_under(params)}",
        per_prompt=params.per_prompt, whole=whole,
    )  # fmt: skip


def _under(params: Params) -> str:
    return f"; mean over {params.draws} draws of noise of {params.scale:g} × the standard deviation of the embeddings"


def _runs(params: Params, measured: Measured, metric: Metric) -> list[Grid]:
    """`total_effect`, and the two unrestored runs that it is made of."""
    clean, corrupted = measured.clean[0], measured.cells[0, : params.draws].mean(axis=0)
    found: Mapping[str, tuple[np.ndarray, float | None, str]] = {
        "total_effect": (clean - corrupted, 0.0, f"{metric.title} of the clean run minus corrupted{_under(params)}"),
        "metric_clean": (clean, None, f"{metric.title} of the clean run"),
        "metric_corrupt": (corrupted, None, f"{metric.title} of the corrupted run{_under(params)}"),
    }
    grids: list[Grid] = []
    for name, (values, baseline, about) in found.items():
        grids += averaged(
            name, values, (), {}, metric.unit, baseline=baseline, about=about, per_prompt=params.per_prompt
        )
    return grids


def sentence(params: Params, experiment: Experiment) -> str:
    if params.at is not None:
        where = listed([position_in_words(place) for place in params.at])
    else:
        where = "the tokens that differ from the corrupt prompt" if CORRUPT in experiment.inputs else "the subject"
    width = "" if params.site == STREAM else f" in {params.window or 'a window of'} layers at a time"
    return (
        f"Add noise of {params.scale:g} × the standard deviation of the embeddings to {where} in "
        f"{prompts_in_words(experiment, CLEAN)}, {params.draws} times; restore the clean "
        f"{site_in_words(params.site)} of each layer and position{width}; measure how much of "
        f"{metric_in_words(params.metric, experiment)} comes back."
    )


ANALYSIS = Analysis(
    name="causal_tracing",
    title="Causal tracing",
    Params=Params,
    inputs=(CLEAN,),
    summary="where a fact is recalled: which states, put back into a run on noisy tokens, bring the answer back",
    source="Meng et al. 2022, arXiv 2202.05262",
    compute=compute,
    sentence=sentence,
    example={"at": [1], "site": "resid_post", "draws": 10, "metric": "prob"},
)
