"""The Results page and exports without a browser: cards, filter, open, compare, delete, and files by address."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from dash import Dash, html
from flask.testing import FlaskClient

from analyses.analysis import normalised
from analyses.experiment import Experiment
from analyses.grid import Grid
from analyses.result import Provenance, Result
from hooks.prompts import ChatPrompt, PromptSet
from hooks.reference import ModelRef
from tests.workbench.components import all_of, text_of
from workbench import urls
from workbench.pages import results as page
from workbench.parts import export_menu, patch_request
from workbench.parts.ablation_request import effect_experiment, selection, sweep_experiment
from workbench.parts.next_token import experiment_request
from workbench.parts.results_compare import compare
from workbench.parts.results_detail import DRAWN_CELLS, detail, figure_panel
from workbench.parts.results_links import page_link
from workbench.parts.results_list import SHOWN, found, results_list
from workbench.results import ResultCard, Results
from workbench.settings import Settings
from workbench.urls import State
from workbench.workspace import Workspace

HOSTILE = "<script>alert(1)</script>"


def made(
    *, head: int = 0, effect: float = -1.5, over: bool = False, prompt: str = "a b", values: np.ndarray | None = None
) -> Result:
    """A hand-made ablation of one head, or a sweep of two layers of two heads."""
    params: dict[str, Any] = {"metric": "logit_diff"}
    params |= {"over": "head"} if over else {"at": [f"L0.z[head={head}]"]}
    inputs = {"clean": PromptSet(prompts=(prompt,), answers=(" a",), foils=(" b",))}
    experiment = normalised(Experiment(model=ModelRef(name="toy"), inputs=inputs, analysis="ablation", params=params))
    heads = {"layer": (0, 1), "head": (0, 1)}
    tokens = {"token": ("·a", HOSTILE), "id": (1, 2)}
    grids = [
        Grid("effect", np.float32(effect), (), {}, "logit", 0.0, "after minus before"),
        Grid("metric_clean", np.float32(2.0), (), {}, "logit"),
        Grid("prob_clean", np.array([0.6, 0.2], np.float32), ("token",), tokens, "prob"),
        Grid("pattern_shift", np.array([[0, 0.1], [0.2, 0.3]], np.float32), ("layer", "head"), heads, "fraction", 0.0),
    ]
    if over:
        shown = np.array([[0.5, effect], [0, 0]], np.float32) if values is None else values
        grids = [Grid("effect", shown, ("layer", "head"), heads, "logit", 0.0)]
    provenance = Provenance(
        model_hash="a" * 64, tokenizer_hash="b" * 64, tokens={"clean": ((1, 2),)}, strings={"clean": (("a", HOSTILE),)},
        versions={"torch": "2"}, device="cpu", dtype="float32", attention="eager", source="made", seed=0,
        started="2026-01-02T03:04:05+00:00", seconds=1.0, peak_bytes=1,
    )  # fmt: skip
    return Result(experiment, {grid.name: grid for grid in grids}, provenance)


@pytest.fixture
def kept(settings: Settings) -> Callable[..., Workspace]:
    """A function that opens a workspace in which the given results are."""

    def open_with(*results: Result) -> Workspace:
        place = Results(settings.workspace_dir / "results")
        for result in results:
            place.put(result)
        return Workspace.open(settings, engine="inline", exclusive=False)

    return open_with


def card(result: Result, **fields: Any) -> ResultCard:
    known = {"id": result.id, "sentence": "Zero head 0.0.", "analysis": "ablation", "model": "toy"}
    return ResultCard(**{**known, "created": "2026-01-02T03:04:05+00:00", "seconds": 1.0, "headline": "", **fields})


def figures(component: Any) -> list[go.Figure]:
    return [item.figure for item in all_of(component, lambda item: getattr(item, "figure", None) is not None)]


# ---- The list


def test_an_empty_workspace_offers_the_one_next_step(kept: Callable[..., Workspace]) -> None:
    shown = results_list(kept(), State())
    assert "No results yet" in text_of(shown)
    assert len(all_of(shown, lambda item: hasattr(item, "data-wb-nav"))) == 1


def test_a_card_shows_sentence_headline_model_and_a_picture(kept: Callable[..., Workspace]) -> None:
    result = made(over=True)
    shown = results_list(kept(result), State())
    words = text_of(shown)
    assert "Zero every head" in words and "effect \u22121.5 logit at layer 0, head 1" in words and "toy" in words
    (picture,) = all_of(shown, lambda item: getattr(item, "className", "") == "res-thumb")
    assert json.loads(getattr(picture, "data-cells"))["levels"] == [[0.333, -1.0], [0.0, 0.0]]


def test_the_filter_wants_every_word_somewhere_on_the_card() -> None:
    cards = [card(made(head=0), sentence="Zero head 0.0.", note="odd one"), card(made(head=1), sentence="Mean MLP 3.")]
    assert [hit.note for hit in found(cards, "ZERO odd", False)] == ["odd one"]
    assert found(cards, "zero mlp", False) == []
    assert found(cards, cards[1].id[:6], False) == [cards[1]]


def test_only_saved_leaves_out_what_was_just_computed(kept: Callable[..., Workspace]) -> None:
    one, two = made(head=0), made(head=1)
    workspace = kept(one, two)
    workspace.keep(two.id, "mine")
    assert [hit.id for hit in found(workspace.results(), "", True)] == [two.id]
    assert "No result matches" in text_of(results_list(workspace, State(find="mine nothing")))


def test_a_long_list_is_cut_with_a_button_for_the_rest(kept: Callable[..., Workspace]) -> None:
    workspace = kept(*(made(head=head) for head in range(SHOWN + 2)))
    shown = results_list(workspace, State())
    assert len(all_of(shown, lambda item: getattr(item, "className", "") == "res-card")) == SHOWN
    assert "Show 2 more" in text_of(shown)
    assert "more" not in text_of(results_list(workspace, State(), SHOWN + 2))


# ---- One result, two results


def test_an_open_result_shows_each_grid_its_origin_and_its_experiment() -> None:
    result = made()
    shown = detail(result, card(result), "light")
    words = text_of(shown)
    for expected in ("\u22121.50", "2.00", "a" * 64, "cpu, float32", f"workbench replay {result.id}"):
        assert expected in words
    assert len(figures(shown)) == 2
    (code,) = all_of(shown, lambda item: getattr(item, "id", "") == "res-experiment")
    assert Experiment.model_validate(json.loads(code.children)).id == result.id


def test_a_hostile_token_is_text_in_every_view_of_a_result() -> None:
    result = made(prompt=HOSTILE)
    shown = detail(result, card(result, note=HOSTILE), "light")
    assert HOSTILE in text_of(shown)
    assert not all_of(shown, lambda item: hasattr(item, "dangerously_allow_html"))
    for figure in figures(shown):
        assert "<script" not in figure.to_json()


def test_a_grid_of_too_many_cells_is_named_and_not_drawn() -> None:
    side = int(DRAWN_CELLS**0.5) + 1
    axis = {dim: tuple(range(side)) for dim in ("layer", "head")}
    grid = Grid("effect", np.zeros((side, side), np.float32), ("layer", "head"), axis, "logit", 0.0)
    shown = figure_panel(made(), grid, "light")
    assert "too many to draw" in text_of(shown)
    assert figures(shown) == []


def test_compared_maps_share_one_range_and_their_difference_is_second_minus_first() -> None:
    left = made(over=True, values=np.array([[1.0, -2.0], [0, 0]], np.float32))
    right = made(over=True, prompt="c d", values=np.array([[5.0, -2.0], [0, 0]], np.float32))
    a, b, moved = figures(compare(left, right, "light"))
    assert (a.data[0].zmin, a.data[0].zmax) == (b.data[0].zmin, b.data[0].zmax) == (-5.0, 5.0)
    assert np.asarray(moved.data[0].z)[0].tolist() == [4.0, 0.0]


def test_maps_about_different_baselines_are_compared_without_one_range() -> None:
    left, right = made(over=True), made(over=True, prompt="c d")
    about_one = replace(right.grids["effect"], baseline=1.0)
    a, b, _ = figures(compare(left, replace(right, grids={"effect": about_one}), "light"))
    assert a.data[0].zmin + a.data[0].zmax == pytest.approx(0)
    assert b.data[0].zmin + b.data[0].zmax == pytest.approx(2)


def test_compared_numbers_stand_in_one_row_with_their_difference() -> None:
    words = text_of(compare(made(effect=-1.5), made(head=1, effect=0.25), "light")[1])
    assert "\u22121.50 +0.250 +1.75" in words


def test_results_without_a_common_grid_say_so() -> None:
    left, right = made(over=True), made()
    only = Result(right.experiment, {"metric_clean": right.grids["metric_clean"]}, right.provenance)
    assert "nothing to set side by side" in text_of(compare(left, only, "light"))


def test_an_address_of_a_result_that_is_gone_says_so(kept: Callable[..., Workspace]) -> None:
    result = made()
    workspace = kept(result)
    assert "Numbers" in text_of(page.body(workspace, State(open=result.id), "light", SHOWN))
    workspace.delete(result.id)
    for open_id in (result.id, "../../etc/passwd"):
        shown = page.body(workspace, State(open=open_id), "light", SHOWN)
        assert all_of(shown, lambda item: getattr(item, "role", "") == "alert")


# ---- Back to the page that made it


@pytest.mark.parametrize(
    "state",
    [
        State(model="toy", edits="zero:L0.z[head=1];zero:L1.mlp_out[pos=3]"),
        State(model="toy", edits="zero:L0.z[head=1];mean:L1.mlp_out", metric="kl", answer="", foil=""),
        State(model="toy", edits="mean:L0.z[head=1]", kind="mean", prompt="a & b ✂ #"),
        State(
            model="toy", edits="zero:L0.z[head=1]", metric="2 * logit(' Mary') - max(logit(' John'), logit(' \"&+'))"
        ),
    ],
)
def test_a_link_to_the_ablate_page_sets_up_the_same_experiment(state: State) -> None:
    experiment = effect_experiment(state, selection(state))
    link = page_link(experiment)
    assert link is not None and link[0].startswith("/ablation")
    again = urls.read(link[0].removeprefix("/ablation"))
    assert effect_experiment(again, selection(again)).id == experiment.id


@pytest.mark.parametrize(
    "fields",
    [
        {"over": "mlp"},
        {"over": "neuron", "within": 1},
        {"kind": "mean", "metric": "loss"},
        {"metric": "prob(answer) - prob(' John')"},
    ],
)
def test_a_link_to_a_sweep_sets_up_the_same_sweep(fields: dict[str, Any]) -> None:
    experiment = sweep_experiment(State(model="toy", **fields))
    link = page_link(experiment)
    assert link is not None
    assert sweep_experiment(urls.read(link[0].removeprefix("/ablation"))).id == experiment.id


def test_a_link_to_a_map_measured_by_an_expression_sets_up_the_same_map(opened: Workspace, tiny_folder: Path) -> None:
    state = State(
        model=str(tiny_folder), prompt="Mary went", corrupt="John went", answer=" the", foil=" a",
        metric="logprob(answer) - logprob(' and')", at="z", axes="head",
    )  # fmt: skip
    summary = opened.summary(state.model)
    assert summary is not None
    experiment = patch_request.asked(opened, state, summary).experiment
    link = page_link(experiment)
    assert link is not None and link[0].startswith("/patching")
    again = urls.read(link[0].removeprefix("/patching"))
    assert again.metric == state.metric
    assert patch_request.asked(opened, again, summary).experiment.id == experiment.id


def test_a_link_to_the_prompt_page_keeps_position_and_temperature() -> None:
    experiment = normalised(experiment_request(State(model="toy", temperature=0.5, top_k=3, position=2)).experiment)
    link = page_link(experiment)
    assert link is not None and link[0].startswith("/prompt")
    again = urls.read(link[0].removeprefix("/prompt"))
    assert (again.temperature, again.top_k, again.position) == (0.5, 3, 2)


def test_an_experiment_that_no_page_can_show_whole_has_no_link() -> None:
    several = PromptSet(prompts=("a", "b"), answers=(" a", " b"), foils=(" b", " a"))
    chat = PromptSet(prompts=(ChatPrompt(messages=({"role": "user", "content": "a"},)),))
    experiment = made().experiment
    for inputs in (several, chat):
        assert page_link(experiment.model_copy(update={"inputs": {"clean": inputs}})) is None
    own_unit = {**experiment.params, "metric": {"expression": "logit(' a') / prob(' a')", "unit": "logit"}}
    assert page_link(experiment.model_copy(update={"params": own_unit})) is None


# ---- Files


@pytest.fixture
def client(kept: Callable[..., Workspace]) -> tuple[FlaskClient, Result]:
    """A client of the export address over a workspace with one result."""
    result = made()
    app = Dash("test", assets_folder=str(Path(__file__).parent))
    app.layout = html.Div()
    export_menu.register(app, kept(result))
    return app.server.test_client(), result


@pytest.mark.parametrize(
    ("form", "media"),
    [
        ("json", "application/json"),
        ("csv", "text/csv"),
        ("html", "text/html"),
        ("bundle", "application/zip"),
        ("script", "text/x-python"),
    ],
)
def test_a_file_comes_with_its_name_and_type(client: tuple[FlaskClient, Result], form: str, media: str) -> None:
    browser, result = client
    answer = browser.get(f"/export/{result.id}/{form}")
    assert answer.status_code == 200 and answer.mimetype == media and answer.data
    disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith("attachment; filename=") and result.id[:12] in disposition


def test_the_json_file_holds_the_numbers_of_the_result(client: tuple[FlaskClient, Result]) -> None:
    browser, result = client
    again = Result.from_json(browser.get(f"/export/{result.id}/json").json)
    assert again.id == result.id
    assert all(np.array_equal(again.grids[name].values, grid.values) for name, grid in result.grids.items())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/export/0123456789abcdef/json", 404),
        ("/export/%2e%2e/json", 404),
        ("/export/..%5c..%5cetc/json", 404),
        ("/export/ID/exe", 400),
        ("/export/ID/csv?grid=nothing", 400),
    ],
)
def test_a_wrong_address_answers_with_a_sentence(client: tuple[FlaskClient, Result], path: str, status: int) -> None:
    browser, result = client
    answer = browser.get(path.replace("ID", result.id))
    assert answer.status_code == status
    if answer.is_json:
        assert answer.json["message"] and "Traceback" not in answer.text
    else:
        assert "passwd" not in answer.text


def test_the_menu_names_the_shown_grid_for_figures_only() -> None:
    menu = export_menu.export_menu("0123456789abcdef", "pattern_shift")
    grids = {
        getattr(item, "data-export"): getattr(item, "data-grid")
        for item in all_of(menu, lambda i: hasattr(i, "data-export"))
    }
    assert grids["/export/0123456789abcdef/png"] == "pattern_shift"
    assert grids["/export/0123456789abcdef/json"] == ""
