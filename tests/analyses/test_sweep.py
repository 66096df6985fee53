"""The sweep engine: packed equals one by one, it splits itself, goes on after a stop, and says what it will cost."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch

from analyses.bench import Bench
from analyses.experiment import Experiment
from analyses.forecast import forecast
from analyses.memory import row_bytes
from analyses.metrics import METRICS
from analyses.pace import TARGET_SECONDS, Pace, share
from analyses.packing import groups, work
from analyses.sweep import sweep
from hooks.errors import BudgetError, Cancelled
from hooks.interventions.patch import Patch
from hooks.interventions.zero import Zero
from hooks.sites import Part, Site

CLEAN = ["Mary went to the store", "John went to the weather"]
CORRUPT = ["John went to the store", "Mary went to the weather"]
METRIC = [METRICS["logit_diff"]]


@pytest.fixture
def bench_of(model):
    """A bench over the pair of prompt sets; options are those of Bench."""

    def make(cls=Bench, **options):
        answers = {"answers": [" Mary"] * 2, "foils": [" John"] * 2}
        inputs = {"clean": {"prompts": CLEAN, **answers}, "corrupt": {"prompts": CORRUPT, **answers}}
        spec = {"model": "tiny", "inputs": inputs, "analysis": "ablation"}
        return cls(model, Experiment.model_validate(spec), **options)

    return make


def by_position(model, length):
    """Denoising cells: the clean residual stream at each layer and position."""
    return [
        (Patch(at=Part(Site("resid_pre", layer), pos=pos), source="clean"),)
        for layer in range(model.info.n_layers)
        for pos in range(length)
    ]


def one_by_one(bench, cells):
    """Each cell in a forward of its own on whole prompts: [cell prompt]."""
    batch, sources = bench.batch("corrupt"), bench.sources([edit for cell in cells for edit in cell])
    found = []
    for cell in cells:
        logits = bench.model.run(batch, edits=cell, sources=sources).logits
        last = logits[torch.arange(len(batch)), torch.tensor(batch.answer_at)].double()
        rows = range(len(batch))
        found.append([float(last[i, batch.answers[i][0]] - last[i, batch.foils[i][0]]) for i in rows])
    return np.array(found)


def test_a_map_over_positions_equals_runs_one_cell_at_a_time(model, bench_of):
    bench = bench_of()
    cells = by_position(model, min(bench.batch("corrupt").lengths))
    expected = one_by_one(bench, cells)
    before = bench.forwards
    found = sweep(bench, "corrupt", cells, METRIC)
    assert found.cells[0] == pytest.approx(expected, abs=2e-5)
    assert bench.forwards - before < len(cells) / 2


def test_the_order_of_cells_does_not_matter(model, bench_of):
    cells = by_position(model, 4)
    shuffled = np.random.default_rng(0).permutation(len(cells))
    straight = sweep(bench_of(), "corrupt", cells, METRIC).cells[0]
    mixed = sweep(bench_of(), "corrupt", [cells[place] for place in shuffled], METRIC).cells[0]
    assert mixed == pytest.approx(straight[shuffled], abs=2e-5)


def test_cells_run_together_by_first_position_and_then_by_layer(model, bench_of):
    batch = bench_of().batch("corrupt")
    cells = [
        (Zero(at=Part(Site("resid_pre", 2), pos=1)),),
        (Zero(at=Part(Site("z", 1), head=0)),),
        (Zero(at=Part(Site("resid_pre", 0), pos=1)),),
    ]
    apart = groups(cells, batch, model.info, tails=False)
    assert [(group.start, group.cells) for group in apart] == [(0, (2, 1, 0))]
    wide = batch.select([0, 1] * 40)
    assert [(group.start, group.cells) for group in groups(cells, wide, model.info, tails=True)] == [
        (1, (2, 0)),
        (0, (1,)),
    ]


def test_work_counts_the_layers_from_the_first_edit_on(model):
    early, late = (Zero(at=Part(Site("z", 0))),), (Zero(at=Part(Site("z", 2))),)
    assert work([early, late], 10, model.info) == pytest.approx(10 * (1 + 1 + 1 / 3))


class Crowded(Bench):
    """A device on which no more than four rows fit."""

    def worlds(self, inputs, worlds, *args, **options):
        if (1 + len(worlds)) * len(inputs) > 4:
            raise BudgetError("the device ran out of memory.", "Use less.")
        return super().worlds(inputs, worlds, *args, **options)


class Full(Bench):
    """A device on which nothing fits."""

    def worlds(self, inputs, worlds, *args, **options):
        raise BudgetError("the device ran out of memory.", "Use less.")


def test_a_forward_that_does_not_fit_is_split_and_tried_again(model, bench_of):
    cells = by_position(model, 4)
    assert sweep(bench_of(Crowded), "corrupt", cells, METRIC).cells == pytest.approx(
        sweep(bench_of(), "corrupt", cells, METRIC).cells, abs=2e-5
    )


def test_memory_for_less_than_one_cell_is_an_error(model, bench_of):
    with pytest.raises(BudgetError):
        sweep(bench_of(Full), "corrupt", by_position(model, 4), METRIC)


class Keeping(Bench):
    """A bench that remembers sweeps in a dictionary, as a workspace does on disk."""

    store: ClassVar[dict] = {}

    def kept(self, key):
        return self.store.get(key)

    def keep(self, key, measured, *, now=False):
        self.store[key] = measured


def test_a_stopped_sweep_goes_on_where_it_was(model, bench_of):
    cells, small = (
        by_position(model, 4),
        {"budget_bytes": 6 * row_bytes(model.info, bench_of().batch("corrupt"), everywhere=False)},
    )
    Keeping.store = {}

    def stop(measured):
        if measured.done.sum() >= len(cells) // 2:
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        sweep(bench_of(Keeping, **small), "corrupt", cells, METRIC, on_chunk=stop)
    (stopped,) = Keeping.store.values()
    assert 0 < stopped.done.sum() < len(cells)
    whole, rest = bench_of(Keeping, **small), bench_of(Keeping, **small)
    found = sweep(rest, "corrupt", cells, METRIC)
    Keeping.store = {}
    again = sweep(whole, "corrupt", cells, METRIC)
    assert rest.forwards < whole.forwards
    assert found.done.all()
    assert found.cells == pytest.approx(again.cells, abs=2e-5)


def test_a_forward_takes_as_much_work_as_a_cancel_may_wait():
    pace = Pace([(work, 0.01 + 0.001 * work) for work in (10.0, 200.0, 400.0)])
    assert pace.most_work() == pytest.approx((TARGET_SECONDS - 0.01) / 0.001)
    assert pace.seconds(1000.0, forwards=3) == pytest.approx(3 * 0.01 + 1.0)
    assert share([100.0] * 9, 350.0, 9) == 3
    assert share([100.0] * 9, 350.0, 2) == 2
    assert share([900.0], 350.0, 9) == 1


class Steady(Pace):
    """A pace on a device whose forwards take as long as their work, whatever the clock says."""

    def learn(self, work, seconds):
        super().learn(work, 1e-6 * work)


def test_prompts_share_a_forward_as_soon_as_the_pace_is_known(model):
    answers = {"answers": [" Mary"] * 2, "foils": [" John"] * 2}
    many = {key: value * 60 for key, value in ({"prompts": CLEAN} | answers).items()}
    cells = [(Zero(at=Part(Site("z", 0), head=0)),)]
    spec = {"model": "tiny", "inputs": {"clean": many}, "analysis": "ablation"}
    few = spec | {"inputs": {"clean": {"prompts": CLEAN} | answers}}
    bench = Bench(model, Experiment.model_validate(spec), pace=Steady())
    found = sweep(bench, "clean", cells, METRIC)
    assert bench.forwards == 2, "one to learn the pace, one for all the others"
    alone = sweep(Bench(model, Experiment.model_validate(few)), "clean", cells, METRIC)
    assert found.cells.reshape(60, 2) == pytest.approx(np.tile(alone.cells.reshape(1, 2), (60, 1)), abs=2e-5)


def test_a_forecast_counts_the_forwards_that_the_sweep_then_makes(model, bench_of):
    experiment = bench_of().experiment
    pace = Pace([(work, 1e-6 * work) for work in (10.0, 200.0)])
    small = 6 * row_bytes(model.info, bench_of().batch("clean"), everywhere=False)
    said = forecast(experiment, lambda told: Bench(model, experiment, progress=told, pace=pace, budget_bytes=small))
    bench = Bench(model, experiment, pace=Pace(list(pace.samples)), budget_bytes=small)
    heads = [
        (Zero(at=Part(Site("z", layer), head=head)),)
        for layer in range(model.info.n_layers)
        for head in range(model.info.n_heads)
    ]
    sweep(bench, "clean", heads, METRIC)
    assert said.forwards == bench.forwards
    assert 0 < said.bytes <= small
    assert "first edit" in said.packing
