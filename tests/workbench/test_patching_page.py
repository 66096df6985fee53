"""The Patch page without a browser: what it asks for, what it offers, what its map says, what a cell stands for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyses.analysis import normalised
from analyses.experiment import Experiment
from analyses.grid import Grid
from hooks.errors import BudgetError, InputError, ModelError, WorkbenchError
from hooks.prompts import PromptSet
from tests.workbench.components import all_of, text_of
from workbench import edit_text
from workbench.figures import auto
from workbench.figures.patching import aligned, estimate_against_exact, patch_cells
from workbench.parts import patch_layout, patch_map, patch_methods, patch_pair, patch_watch
from workbench.parts.patch_request import Asked, coords_of, edits_at, positions_in
from workbench.parts.results_detail import height_of
from workbench.parts.results_links import page_link
from workbench.parts.run_panel import foresee, refused
from workbench.requests import ExperimentRequest, ForecastRequest
from workbench.urls import State, read
from workbench.workspace import Workspace

CLEAN, CORRUPT = "When Mary and John went to", "When John and Mary went to"


@pytest.fixture
def state(tiny_folder: Path) -> Callable[..., State]:
    """States of the page on the tiny model."""
    given = {"model": str(tiny_folder), "prompt": CLEAN, "corrupt": CORRUPT, "answer": "!", "foil": "?"}
    return lambda **fields: State(**{**given, **fields})


def asked(workspace: Workspace, state: State) -> Asked:
    return patch_watch.asked_of(workspace, state)


def info_of(workspace: Workspace, state: State) -> dict[str, Any]:
    summary = workspace.summary(state.model)
    assert summary is not None
    return summary


def finished(workspace: Workspace, state: State) -> patch_watch.Seen:
    request = ExperimentRequest(experiment=patch_watch.experiment_of(workspace, state))
    job = workspace.wait(workspace.submit(request, session="me").id)
    assert job.state == "done", job.error
    return patch_watch.watch(workspace, state, "me")


# ---- What is asked for


def test_a_pair_becomes_the_experiment_that_any_other_door_would_send(
    opened: Workspace, state: Callable[..., State]
) -> None:
    given = state(direction="noising", at="z", axes="head,pos")
    by_hand = Experiment(
        model=given.model,
        inputs={
            "clean": PromptSet(prompts=(CLEAN,), answers=("!",), foils=("?",)),
            "corrupt": PromptSet(prompts=(CORRUPT,)),
        },
        analysis="activation_patching",
        params={"direction": "noising", "site": "z", "over": ["layer", "head", "pos"], "metric": "logit_diff"},
    )
    assert asked(opened, given).experiment.id == normalised(by_hand).id


@pytest.mark.parametrize(
    ("fields", "params"),
    [
        ({"method": "attribution_patching", "star": True, "at": "k"},
         {"method": "atp_star", "over": ["layer", "kv_head"]}),
        ({"method": "causal_tracing", "noised": "1, last", "draws": 2}, {"at": [1, "last"], "draws": 2}),
        ({"method": "attention_knockout", "keys": "1,2", "window": 1},
         {"keys": [1, 2], "over": ["layer"], "window": 1}),
        ({"method": "attention_knockout"}, {"queries": ["last"], "over": ["layer", "k_pos"]}),
        ({"method": "path_patching", "senders": "L0.z[head=1];L0.mlp_out", "receivers": "L1.q[head=2]"},
         {"senders": ["L0.z[head=1]", "L0.mlp_out"], "receivers": ["L1.q[head=2]"]}),
        ({"method": "direct_logit_attribution", "by": "component", "repair": True},
         {"by": "component", "self_repair": True}),
        ({"at": "mlp_post", "axes": "unit", "within": 1}, {"over": ["layer", "unit"], "layers": [1]}),
    ],
)  # fmt: skip
def test_each_method_says_what_its_controls_say(
    fields: dict[str, Any], params: dict[str, Any], opened: Workspace, state: Callable[..., State]
) -> None:
    found = json.loads(json.dumps(asked(opened, state(**fields)).experiment.to_json()))["params"]
    assert {name: found[name] for name in params} == params


def test_prompts_of_a_pair_that_differ_in_length_are_refused_with_both_lengths(
    opened: Workspace, state: Callable[..., State]
) -> None:
    given = state(corrupt="When Mary")
    with pytest.raises(InputError, match=r"the clean prompt has \d+ tokens, the corrupt one \d+"):
        asked(opened, given)
    assert "reword one" in text_of(patch_pair.tokens(opened, given))
    assert "reword one" in text_of(patch_watch.watch(opened, given, "me").content)


def test_prompts_without_a_pair_serve_the_methods_that_need_none(
    opened: Workspace, state: Callable[..., State]
) -> None:
    alone = state(corrupt="")
    with pytest.raises(InputError, match="no corrupt prompt"):
        asked(opened, alone)
    knockout = asked(opened, alone.model_copy(update={"method": "attention_knockout"}))
    assert set(knockout.experiment.inputs) == {"clean"}


def test_positions_are_numbers_and_names() -> None:
    assert positions_in(" 2, 13 ,last,") == (2, 13, "last")


# ---- What is offered


def test_only_what_method_and_model_allow_is_offered(opened: Workspace, state: Callable[..., State]) -> None:
    summary = info_of(opened, state())
    assert set(patch_methods.methods_of(summary)) == set(patch_methods.METHODS)
    sites = patch_methods.sites_of(patch_methods.METHODS["activation_patching"], summary)
    assert {"resid_pre", "z", "k", "pattern", "mlp_post"} <= set(sites)
    assert not {"cross_z", "router", "mixer_out"} & set(sites)
    assert set(patch_methods.axes_of("k")) == {"kv_head", "pos", "kv_head,pos", "layer"}
    assert next(iter(patch_methods.axes_of("resid_pre"))) == "pos"
    # An address from another model or method falls back to what there is.
    assert patch_methods.site_of(state(method="causal_tracing", at="z"), summary) == "resid_post"
    assert patch_methods.over_of(state(axes="expert"), "z") == "head"


def test_an_estimate_offers_no_metric_without_a_slope(opened: Workspace, state: Callable[..., State]) -> None:
    kind = patch_layout.Kind.of(info_of(opened, state()))
    given = state(method="attribution_patching")
    assert "rank" not in patch_methods.metrics_for(given, kind) and "kl" in patch_methods.metrics_for(given, kind)
    assert "kl" not in patch_methods.metrics_for(given.model_copy(update={"direction": "noising"}), kind)
    assert patch_methods.metric_of(given.model_copy(update={"metric": "rank"}), kind) == "logit_diff"


# ---- Maps


METHODS = [
    {"at": "resid_pre"},
    {"at": "v", "axes": "kv_head,pos", "direction": "noising"},
    {"method": "attribution_patching", "at": "z"},
    {"method": "causal_tracing", "draws": 1},
    {"method": "attention_knockout", "window": 1},
    {"method": "path_patching", "receivers": "L1.mlp_in"},
    {"method": "path_patching", "senders": "L0.z[head=1];L0.mlp_out"},
    {"method": "direct_logit_attribution", "repair": True},
]


@pytest.mark.parametrize("fields", METHODS, ids=lambda fields: "-".join(map(str, fields.values())))
def test_the_map_has_before_the_run_the_cells_that_it_has_after_it(
    fields: dict[str, Any], opened: Workspace, state: Callable[..., State]
) -> None:
    given = state(**fields)
    want, info = asked(opened, given), info_of(opened, given)["info"]
    coords = coords_of(want, info)
    ahead = patch_watch.watch(opened, given, "me")
    assert not ahead.busy and ahead.run == "Run"
    seen = finished(opened, given)
    assert seen.busy
    result = opened.result(want.experiment.id)
    assert result is not None
    grid = result.grid(want.method.grid)
    assert dict(grid.coords) == {dim: tuple(labels) for dim, labels in coords.items()}
    (host,) = all_of(seen.content, lambda item: getattr(item, "id", None) == "pat-map")
    spec = json.loads(getattr(host, "data-cells"))
    assert sum(map(len, spec["levels"])) == grid.values.size
    (listed,) = all_of(seen.content, lambda item: getattr(item, "id", None) == "pat-strongest")
    assert len(all_of(listed, lambda item: type(item).__name__ == "Li")) == min(10, len(patch_map.strongest(grid, 10)))
    # What a cell stands for can be read by the tray.
    for row in spec.get("targets", []):
        for target in filter(None, row):
            assert edit_text.read(target).edits


def test_a_cell_is_a_patch_from_the_corrupt_prompt_whichever_way_the_map_was_made(
    opened: Workspace, state: Callable[..., State]
) -> None:
    for direction in ("denoising", "noising"):
        want = asked(opened, state(direction=direction, at="z", axes="head,pos"))
        (edit,) = edit_text.read(edits_at(want, {"layer": 1, "head": 2, "pos": 3}, 2)[0]).edits
        assert (edit.kind, str(edit.at), edit.sources) == ("patch", "L1.z[head=2,pos=3]", ("corrupt",))


def test_a_cut_cell_is_its_edges_in_the_window(opened: Workspace, state: Callable[..., State]) -> None:
    want = asked(opened, state(method="attention_knockout", window=2))
    edits = edit_text.read(";".join(edits_at(want, {"layer": 1, "k_pos": 3}, 2))).edits
    assert {(edit.kind, str(edit.at)) for edit in edits} == {
        ("mask_edge", "L0.pattern[q_pos=last,k_pos=3]"),
        ("mask_edge", "L1.pattern[q_pos=last,k_pos=3]"),
    }


def test_an_undefined_recovery_is_said_in_words(opened: Workspace, state: Callable[..., State]) -> None:
    seen = finished(opened, state(corrupt=CLEAN, at="attn_out"))
    (why,) = all_of(seen.content, lambda item: getattr(item, "id", None) == "pat-undefined")
    assert "Recovery is undefined" in text_of(why)


def test_an_estimate_is_called_one_and_shows_its_agreement(opened: Workspace, state: Callable[..., State]) -> None:
    seen = finished(opened, state(method="attribution_patching", at="z"))
    words = text_of(seen.content)
    assert "An estimate" in words and "Pearson’s r" in words and "cells patched for real" in words


def test_the_forecast_is_a_job_and_then_words(opened: Workspace, state: Callable[..., State]) -> None:
    given = state(at="mlp_out")
    experiment = patch_watch.experiment_of(opened, given)
    first, request = foresee(opened, experiment, "me"), ForecastRequest(experiment=experiment)
    assert opened.wait(request.id).state == "done"
    assert first.job in ("", request.id)
    assert foresee(opened, experiment, "me").words.startswith("about ")


@pytest.mark.parametrize(
    ("error", "at", "is_final"), [(ModelError, "resid_mid", True), (BudgetError, "resid_post", False)]
)
def test_what_the_forecast_refuses_is_said_with_its_way_out_and_cannot_be_run(
    opened: Workspace,
    state: Callable[..., State],
    monkeypatch: pytest.MonkeyPatch,
    error: type[WorkbenchError],
    at: str,
    is_final: bool,
) -> None:
    """Out of memory may be over at the next try; a model that has no such sites has none then either."""

    def fail(*_: Any) -> None:
        raise error("this cannot be run here.", "Do something else.")

    monkeypatch.setattr("workbench.engines.execute.forecast", fail)
    given = state(at=at)
    experiment = patch_watch.experiment_of(opened, given)
    foresee(opened, experiment, "me")
    assert opened.wait(ForecastRequest(experiment=experiment).id).state == "failed"
    assert foresee(opened, experiment, "me").words == "This cannot be run here. Do something else."
    assert refused(opened, given, patch_watch.experiment_of) is is_final


# ---- Figures


def test_places_of_a_pair_differ_where_ids_do_and_where_one_has_ended() -> None:
    rows = aligned(["a", "b", "c"], ["a", "x"], [1, 2, 3], [1, 9])
    assert [(row.clean, row.corrupt, row.differs) for row in rows] == [
        ("a", "a", False),
        ("b", "x", True),
        ("c", "", True),
    ]


def test_a_map_of_three_axes_has_a_row_for_each_layer_and_head() -> None:
    coords = {"layer": (3, 4), "head": (0, 1), "pos": (0, 1, 2)}
    values = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    picture = patch_cells(Grid("recovered", values, tuple(coords), coords, "fraction", 0.0), strings=("a", "b", "c"))
    assert picture.rows == ("3.0", "3.1", "4.0", "4.1") and picture.cols == ("a", "b", "c")
    assert picture.at(2, 1) == {"layer": 4, "head": 0, "pos": 1}
    assert picture.texts[2][1] == "+7.00"


def test_colours_of_a_recovery_lie_about_its_baseline() -> None:
    grid = Grid("recovered", np.array([1.0, 0.25]), ("layer",), {"layer": (0, 1)}, "fraction", 1.0)
    picture = patch_cells(grid)
    assert picture.levels == ((0.0,), (-1.0,))
    assert (picture.low, picture.high) == ("+0.250", "+1.75")


def test_estimates_are_drawn_only_where_something_was_patched() -> None:
    coords = {"layer": (0, 1, 2)}
    exact = Grid("exact", np.array([0.5, 0.0, -0.1]), ("layer",), coords, "fraction", 0.0)
    exact = replace(exact, valid=np.array([True, False, True]))
    estimate = Grid("estimate", np.array([0.4, 9.0, -0.2]), ("layer",), coords, "fraction", 0.0)
    points = estimate_against_exact(estimate, exact).data[1]
    assert list(points.x) == pytest.approx([0.5, -0.1]) and list(points.y) == pytest.approx([0.4, -0.2])


# ---- Elsewhere in the app


@pytest.mark.parametrize("fields", METHODS, ids=lambda fields: "-".join(map(str, fields.values())))
def test_a_result_leads_back_to_the_page_that_asks_for_it(
    fields: dict[str, Any], opened: Workspace, state: Callable[..., State]
) -> None:
    want = patch_watch.experiment_of(opened, state(**fields))
    link = page_link(want)
    assert link is not None
    path, _, search = link[0].partition("?")
    assert path == "/patching"
    assert patch_watch.experiment_of(opened, read(search)).id == want.id


def test_the_results_page_draws_an_estimate_against_what_was_measured() -> None:
    coords = {"layer": (0, 1)}
    exact, estimate = (
        Grid(name, np.array([0.5, 0.1]), ("layer",), coords, "fraction", 0.0) for name in ("exact", "estimate")
    )
    drawn = auto.figure(exact, title="", beside={"exact": exact, "estimate": estimate})
    assert [trace.mode for trace in drawn.data] == ["lines", "markers"]
    assert auto.figure(exact, title="", beside={"exact": exact}).data[0].type == "bar"


def test_a_metric_of_the_reader_s_own_is_measured_as_written(opened: Workspace, state: Callable[..., State]) -> None:
    given = state(metric="logit(answer) - logit('?')", at="mlp_out")
    assert patch_watch.experiment_of(opened, given).params["metric"]["expression"] == given.metric
    fields = all_of(patch_layout.controls(given, info_of(opened, given)), lambda item: hasattr(item, "placeholder"))
    assert given.metric in [getattr(field, "value", None) for field in fields]


def test_bars_of_many_named_parts_get_room_on_the_results_page() -> None:
    def height(labels: tuple[Any, ...]) -> int:
        return height_of(Grid("effect", np.zeros(len(labels)), ("component",), {"component": labels}, "logit", 0.0))

    assert height(tuple(f"MLP {layer}" for layer in range(40))) > height(tuple(range(40)))
