"""The Attention page on a tiny model: what it asks for, what it shows, what its addresses answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dash import Dash, html
from flask.testing import FlaskClient

from hooks.errors import InputError, SiteMissing, StoreError
from hooks.model import open_model
from hooks.plan import CapturePlan
from workbench import urls
from workbench.parts import attention_data as data
from workbench.parts import attention_routes
from workbench.parts.attention_head import head_panel
from workbench.parts.attention_overview import FIRST, watch
from workbench.requests import CaptureRequest, ExperimentRequest
from workbench.urls import State
from workbench.workspace import Workspace

PROMPT = "The cat sat on the cat sat"
HOSTILE = "<script>alert(1)</script> <b>"


@pytest.fixture
def state(tiny_folder: Path) -> State:
    return State(model=str(tiny_folder), prompt=PROMPT, answer="", foil="", layer=1, head=2)


@pytest.fixture(scope="module")
def client(opened: Workspace) -> FlaskClient:
    app = Dash("attention-routes")
    app.layout = html.Div()
    attention_routes.register(app, opened)
    return app.server.test_client()


def captured(workspace: Workspace, *requests: CaptureRequest) -> list[Any]:
    """The stored captures of some requests, made now if need be."""
    for request in requests:
        assert workspace.wait(workspace.submit(request).id).state == "done"
    return [workspace.capture(request) for request in requests]


def direct(state: State, *sites: str) -> dict[str, np.ndarray]:
    """The same sites from the model itself, without store or page: first prompt only."""
    model = open_model(state.model, device="cpu")
    run = model.run(model.tokens(data.prompt_of(state)), CapturePlan.of(*sites))
    return {site: run[site][0].numpy() for site in sites}


def text_of(component: Any) -> str:
    """All text of a component tree."""
    if component is None or isinstance(component, int | float | bool):
        return ""
    if isinstance(component, str):
        return component
    if isinstance(component, list | tuple):
        return " ".join(text_of(child) for child in component)
    return " ".join(
        filter(None, (getattr(component, "label", "") or "", text_of(getattr(component, "children", None))))
    )


def graph_in(component: Any, id: str) -> Any:
    """The figure of the graph called `id` in a component tree."""
    children = component if isinstance(component, list) else getattr(component, "children", None)
    if getattr(component, "id", None) == id:
        return component.figure
    found = (
        graph_in(child, id) for child in (children if isinstance(children, list) else [children]) if child is not None
    )
    return next((figure for figure in found if figure is not None), None)


def tiles(answer: bytes) -> tuple[dict[str, Any], np.ndarray]:
    length = int.from_bytes(answer[:4], "little")
    header = json.loads(answer[4 : 4 + length])
    shape = (header["layers"], header["heads"], header["side"], header["side"])
    return header, np.frombuffer(answer, np.uint8, offset=4 + length).reshape(shape)


# -- what is asked for


def test_the_overview_asks_for_patterns_whatever_the_answers_are(state: State) -> None:
    other = state.model_copy(update={"answer": " Mary", "foil": " John"})
    assert data.patterns_of(state) == data.patterns_of(other)


@pytest.mark.parametrize(
    ("tab", "sites"),
    [
        ("pattern", [("L*.pattern",)]),
        ("weighted", [("L*.pattern",), ("L*.v",)]),
        ("scores", [("L1.scores",)]),
        ("no such tab", [("L*.pattern",)]),
    ],
)
def test_each_view_asks_for_what_it_reads_and_no_more(state: State, tab: str, sites: list[tuple[str, ...]]) -> None:
    requests = data.needed(state.model_copy(update={"tab": tab}), 1)
    assert [request.sites for request in requests] == sites


def test_the_difference_runs_the_edits_of_the_tray(state: State) -> None:
    clean, edited = data.needed(state.model_copy(update={"tab": "difference", "edits": "zero:L0.z[head=1]"}), 1)
    assert clean.edits == ()
    assert [(edit.kind, str(edit.at)) for edit in edited.edits] == [("zero", "L0.z[head=1]")]


def test_the_difference_without_edits_says_what_to_do(state: State) -> None:
    with pytest.raises(InputError) as refusal:
        data.needed(state.model_copy(update={"tab": "difference"}), 1)
    assert "Ablate" in refusal.value.hint


@pytest.mark.parametrize(("head", "kv_head", "shared"), [(0, 0, "0, 1, 2"), (3, 1, "3, 4, 5"), (8, 2, "6, 7, 8")])
def test_a_query_head_names_the_key_value_head_it_shares(head: int, kv_head: int, shared: str) -> None:
    words = data.Sizes(layers=30, heads=9, kv_heads=3).sharing(head)
    assert words == f"query head {head} · key/value head {kv_head} (shared by heads {shared})"


def test_a_head_with_its_own_keys_shares_nothing() -> None:
    assert "shared" not in data.Sizes(layers=2, heads=4, kv_heads=4).sharing(2)


def test_saving_asks_for_the_pattern_of_this_head_alone(state: State) -> None:
    experiment = data.export_of(state, 1, 2).experiment
    assert experiment.analysis == "attention_patterns"
    assert (experiment.params["layers"], experiment.params["heads"]) == ([1], [2])


# -- what is shown


def test_the_pattern_equals_the_models_own(opened: Workspace, state: State) -> None:
    captured(opened, *data.needed(state, 1))
    panel = head_panel(opened, state, "light", "")
    expected = direct(state, "L1.pattern")["L1.pattern"][2]
    assert panel.figure is not None
    np.testing.assert_array_equal(panel.figure.data[0].z, expected)


def test_c08_every_label_is_the_token_at_its_index(opened: Workspace, state: State) -> None:
    captured(opened, *data.needed(state, 1))
    panel = head_panel(opened, state, "light", "")
    strings = list(opened.tokens(state.model, data.prompt_of(state)).strings[0])
    assert panel.facts is not None and panel.facts["strings"] == strings
    assert panel.figure is not None
    assert list(panel.figure.layout.xaxis.ticktext) == [strings[i] for i in panel.figure.layout.xaxis.tickvals]


def test_c31_what_is_shown_says_which_head_it_is(opened: Workspace, state: State) -> None:
    captured(opened, *data.needed(state, 1))
    panel = head_panel(opened, state, "light", "")
    assert panel.title == "Layer 1 · head 2"
    assert panel.facts is not None and (panel.facts["layer"], panel.facts["head"]) == (1, 2)
    assert panel.sharing == "query head 2 · key/value head 1 (shared by heads 2, 3)"


def test_value_weighting_multiplies_each_column_by_its_values_length(opened: Workspace, state: State) -> None:
    weighted = state.model_copy(update={"tab": "weighted"})
    captured(opened, *data.needed(weighted, 1))
    panel = head_panel(opened, weighted, "light", "")
    sites = direct(state, "L1.pattern", "L1.v")
    lengths = np.sqrt((sites["L1.v"][:, 1] ** 2).sum(-1))
    assert panel.figure is not None
    np.testing.assert_allclose(panel.figure.data[0].z, sites["L1.pattern"][2] * lengths[None, :], rtol=1e-5)


def test_scores_give_the_pattern_by_softmax_and_masked_cells_are_blank(opened: Workspace, state: State) -> None:
    scores = state.model_copy(update={"tab": "scores"})
    captured(opened, *data.needed(scores, 1))
    panel = head_panel(opened, scores, "light", "")
    assert panel.figure is not None
    z = np.array(panel.figure.data[0].z)
    assert np.isnan(z[np.triu_indices_from(z, 1)]).all() and np.isfinite(z[np.tril_indices_from(z)]).all()
    weights = np.exp(np.where(np.isnan(z), -np.inf, z))
    expected = direct(state, "L1.pattern")["L1.pattern"][2]
    np.testing.assert_allclose(weights / weights.sum(-1, keepdims=True), expected, atol=1e-6)


def test_the_difference_is_edited_minus_clean_and_marked_as_edited(opened: Workspace, state: State) -> None:
    changed = state.model_copy(update={"tab": "difference", "edits": "zero:L0.z[head=1]"})
    clean, edited = captured(opened, *data.needed(changed, 1))
    panel = head_panel(opened, changed, "light", "")
    expected = edited.read("L1.pattern", head=2, prompt=0) - clean.read("L1.pattern", head=2, prompt=0)
    assert panel.figure is not None and panel.edited
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_array_equal(panel.figure.data[0].z, expected)
    assert panel.figure.data[0].zmin == -panel.figure.data[0].zmax


def test_an_edit_changes_nothing_before_it(opened: Workspace, state: State) -> None:
    changed = state.model_copy(update={"tab": "difference", "edits": "zero:L1.z[head=1]", "layer": 0})
    captured(opened, *data.needed(changed, 0))
    panel = head_panel(opened, changed, "light", "")
    assert panel.figure is not None and not np.array(panel.figure.data[0].z).any()
    assert panel.top == ()


def positions_panel(workspace: Workspace, state: State, **fields: Any) -> tuple[Any, Any]:
    """The panel of positions alone, and the result behind it."""
    shown = state.model_copy(update={"tab": "positions", **fields})
    (request,) = data.needed(shown, 1)
    assert isinstance(request, ExperimentRequest)
    assert workspace.wait(workspace.submit(request).id).state == "done"
    return head_panel(workspace, shown, "light", ""), workspace.result(request.id)


def test_positions_alone_are_drawn_with_the_real_pattern_beside_them_in_the_same_colours(
    opened: Workspace, state: State
) -> None:
    panel, result = positions_panel(opened, state)
    alone = result.grid("position_pattern").select(layer=1, head=2)
    np.testing.assert_array_equal(panel.figure.data[0].z, alone.values)
    real = graph_in(panel.beside, "attn-real")
    np.testing.assert_allclose(real.data[0].z, direct(state, "L1.pattern")["L1.pattern"][2], atol=1e-6)
    for side in (panel.figure, real):
        assert (side.data[0].zmin, side.data[0].zmax) == (0.0, 1.0)
    assert real.data[0].colorscale == panel.figure.data[0].colorscale
    assert not panel.edited and not data.VIEWS["positions"].averages


def test_positions_alone_say_how_they_were_found_and_how_much_they_give(opened: Workspace, state: State) -> None:
    panel, result = positions_panel(opened, state)
    assert "An estimate" in panel.meaning and "rotated" in panel.meaning
    shares = [float(result.grid(name).select(layer=1, head=2).values) for name in ("explained", "explained_uniform")]
    assert [float(word) for word in re.findall(r"\d\.\d+", text_of(panel.beside))] == pytest.approx(shares, abs=5e-4)


def test_one_token_has_no_share_to_give(opened: Workspace, state: State) -> None:
    panel, _ = positions_panel(opened, state, prompt="a")
    assert "nothing to explain" in text_of(panel.beside)


def test_positions_alone_are_those_of_the_stack_that_is_open(state: State) -> None:
    shown = state.model_copy(update={"tab": "positions"})
    (main,), (encoder,) = data.needed(shown, 1), data.needed(shown.model_copy(update={"stack": "encoder"}), 1)
    assert isinstance(main, ExperimentRequest) and isinstance(encoder, ExperimentRequest)
    assert (main.experiment.params["stack"], encoder.experiment.params["stack"]) == ("decoder", "encoder")
    with pytest.raises(InputError, match="between two stacks"):
        data.needed(shown.model_copy(update={"stack": "cross"}), 1)


def test_positions_alone_keep_their_room_while_they_are_awaited(opened: Workspace, state: State) -> None:
    fresh = state.model_copy(update={"tab": "positions", "prompt": "The mat sat"})
    before = head_panel(opened, fresh, "light", "")
    assert before.figure is None and "The attention it has" in text_of(before.beside)
    assert head_panel(opened, state, "light", "").beside is None


def test_saving_positions_keeps_what_is_shown_of_one_head(state: State) -> None:
    shown = data.export_of(state.model_copy(update={"tab": "positions"}), 1, 2).experiment
    assert shown.analysis == "position_patterns"
    assert (shown.params["layers"], shown.params["heads"]) == ([1], [2])
    assert data.export_of(state, 1, 2).experiment.analysis == "attention_patterns"


@pytest.mark.parametrize(("average", "words"), [("layer", "mean of 4 heads"), ("all", "all 8 heads")])
def test_averages_over_heads_are_means_of_the_patterns(
    opened: Workspace, state: State, average: str, words: str
) -> None:
    captured(opened, *data.needed(state, 1))
    panel = head_panel(opened, state.model_copy(update={"average": average}), "light", "")
    sites = direct(state, "L0.pattern", "L1.pattern")
    over = [sites["L1.pattern"]] if average == "layer" else list(sites.values())
    assert words in panel.title and panel.figure is not None
    np.testing.assert_allclose(panel.figure.data[0].z, np.mean(np.stack(over), axis=(0, 1)), atol=1e-6)


def test_scores_are_never_averaged(state: State) -> None:
    assert data.average_of(state.model_copy(update={"tab": "scores", "average": "all"})) == "none"


def test_hiding_the_first_token_says_that_numbers_stay(opened: Workspace, state: State) -> None:
    captured(opened, *data.needed(state, 1))
    shown, hidden = (
        head_panel(opened, state.model_copy(update={"hide_first": hide}), "light", "") for hide in (False, True)
    )
    assert shown.figure is not None and hidden.figure is not None
    np.testing.assert_array_equal(shown.figure.data[0].z, hidden.figure.data[0].z)
    assert "numbers are unchanged" in hidden.note and shown.note == ""


def test_the_list_of_cells_holds_the_maps_own_numbers(opened: Workspace, state: State) -> None:
    captured(opened, *data.needed(state, 1))
    panel = head_panel(opened, state, "light", "")
    assert panel.figure is not None and len(panel.top) == 10
    z = np.array(panel.figure.data[0].z)
    assert [cell.value for cell in panel.top] == sorted(z.ravel().tolist(), reverse=True)[:10]
    assert all(z[cell.q, cell.k] == np.float32(cell.value) for cell in panel.top)


def test_what_cannot_be_done_is_switched_off(opened: Workspace, state: State) -> None:
    panel = head_panel(opened, state.model_copy(update={"layer": None, "head": None}), "light", "")
    sent = panel.for_browser(averages=True, edits=False, open=False)
    assert sent["enabled"] == {"average": True, "tab-difference": False, "ablate": False, "save": False}
    assert sent["drawn"] is None and json.dumps(sent)


def test_c44_a_prompt_of_markup_is_shown_as_it_is(opened: Workspace, state: State) -> None:
    hostile = state.model_copy(update={"prompt": HOSTILE})
    captured(opened, *data.needed(hostile, 1))
    panel = head_panel(opened, hostile, "light", "")
    assert panel.facts is not None and "".join(panel.facts["strings"]).replace("·", " ") == HOSTILE
    assert panel.figure is not None
    assert not any("<" in label for label in panel.figure.layout.xaxis.ticktext)


def test_one_token_is_a_map_of_one_cell(opened: Workspace, state: State) -> None:
    short = state.model_copy(update={"prompt": "T"})
    captured(opened, *data.needed(short, 1))
    panel = head_panel(opened, short, "light", "")
    assert panel.figure is not None and panel.figure.data[0].z.tolist() == [[1.0]]


def test_without_a_head_the_panel_names_the_next_step(opened: Workspace, state: State) -> None:
    panel = head_panel(opened, state.model_copy(update={"layer": None, "head": None}), "light", "")
    assert panel.figure is None and "Click a map" in text_of(panel.wait)


@pytest.mark.parametrize("change", [{"layer": 7}, {"head": 9}])
def test_a_head_that_does_not_exist_is_refused_in_words(
    opened: Workspace, state: State, change: dict[str, int]
) -> None:
    panel = head_panel(opened, state.model_copy(update=change), "light", "")
    assert panel.figure is None and not panel.awaited
    assert "does not exist" in text_of(panel.wait) and "Choose a map" in text_of(panel.wait)


def test_an_unreadable_edit_is_told_in_the_panel(opened: Workspace, state: State) -> None:
    panel = head_panel(opened, state.model_copy(update={"tab": "difference", "edits": "nonsense"}), "light", "")
    assert "not an edit" in text_of(panel.wait)


def test_a_view_that_must_be_captured_first_says_so(opened: Workspace, state: State) -> None:
    fresh = state.model_copy(update={"prompt": "on the mat", "tab": "scores"})
    panel = head_panel(opened, fresh, "light", "")
    assert panel.figure is None and panel.awaited
    assert "Reading what this view needs" in text_of(panel.wait)


# -- waiting for the overview and its scores


def settle(workspace: Workspace, state: State, **known: bool) -> Any:
    """Looks until nothing is awaited."""
    given = {"had_mosaic": False, "had_scores": False, **known}
    for _ in range(200):
        seen = watch(workspace, state, "me", **given)
        if not seen.awaited:
            return seen
        for job in workspace.jobs(active=True):
            workspace.wait(job.id)
    raise AssertionError("it never settled")


def test_the_first_look_asks_for_the_patterns_in_words(opened: Workspace, state: State) -> None:
    fresh = state.model_copy(update={"prompt": "John gave a drink", "layer": None, "head": None})
    seen = watch(opened, fresh, "me", had_mosaic=False, had_scores=False)
    assert seen.awaited and "Reading the pattern of every head" in text_of(seen.overview_wait)


def test_when_all_is_there_the_overview_has_its_address_and_scores(opened: Workspace, state: State) -> None:
    seen = settle(opened, state)
    assert seen.mosaic["url"].startswith(f"/data/mosaic/{data.patterns_of(state).id}?")
    assert (seen.mosaic["layers"], seen.mosaic["heads"]) == (2, 4)
    assert set(seen.scores["values"]) == {"induction", "previous_token", "duplicate_token", "first_token", "entropy"}
    assert np.array(seen.scores["values"]["induction"]).shape == (2, 4)
    assert seen.overview_wait is None and seen.score_wait is None


def test_patterns_that_were_there_already_come_from_the_cache(opened: Workspace, state: State) -> None:
    asked_before = state.model_copy(update={"prompt": "a drink to Mary"})
    captured(opened, data.patterns_of(asked_before))
    seen = watch(opened, asked_before, "me", had_mosaic=False, had_scores=False, retry=FIRST)
    assert "from the cache, no forward pass" in text_of(seen.status)


def test_patterns_that_the_page_waited_for_were_captured_just_now(opened: Workspace, state: State) -> None:
    fresh = state.model_copy(update={"prompt": "hello world", "layer": None, "head": None})
    watch(opened, fresh, "me", had_mosaic=False, had_scores=False, retry=FIRST)
    assert "captured just now" in text_of(settle(opened, fresh).status)


def test_nothing_new_is_sent_twice(opened: Workspace, state: State) -> None:
    settle(opened, state)
    again = watch(opened, state, "me", had_mosaic=True, had_scores=True)
    assert not isinstance(again.mosaic, dict) and not isinstance(again.scores, dict)


def test_a_failure_stays_with_its_hint_until_it_is_asked_for_again(opened: Workspace, state: State) -> None:
    wrong = state.model_copy(update={"prompt": "The cat on the mat", "tab": "difference", "edits": "mean:L9.z"})
    panel = head_panel(opened, wrong, "light", "")
    for job in opened.jobs(active=True):
        opened.wait(job.id)
    panel = head_panel(opened, wrong, "light", "")
    assert panel.figure is None and not panel.awaited
    assert "L9" in text_of(panel.wait)


# -- addresses


def mosaic_address(workspace: Workspace, state: State) -> str:
    return settle(workspace, state).mosaic["url"]


def test_the_tiles_are_the_patterns_in_eight_bits(opened: Workspace, client: FlaskClient, state: State) -> None:
    answer = client.get(mosaic_address(opened, state))
    header, pixels = tiles(answer.data)
    patterns = direct(state, "L0.pattern", "L1.pattern")
    n = patterns["L0.pattern"].shape[-1]
    assert (answer.status_code, header["tokens"], header["top"]) == (200, n, 1.0)
    for layer in range(2):
        np.testing.assert_allclose(pixels[layer] / 255, patterns[f"L{layer}.pattern"], atol=0.6 / 255)


def test_the_tiles_may_be_kept_for_ever_and_are_not_sent_again(
    opened: Workspace, client: FlaskClient, state: State
) -> None:
    address = mosaic_address(opened, state)
    first = client.get(address)
    assert "immutable" in first.headers["Cache-Control"]
    again = client.get(address, headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304 and not again.data


def test_hiding_the_first_token_is_another_picture(opened: Workspace, client: FlaskClient, state: State) -> None:
    address = mosaic_address(opened, state)
    shown, hidden = client.get(address), client.get(f"{address}&hide=1")
    assert shown.headers["ETag"] != hidden.headers["ETag"]
    assert not tiles(hidden.data)[1][..., 0].any()


@pytest.mark.parametrize("wrong", ["0" * 20, "x", "'; drop table"])
def test_an_id_of_something_else_is_refused_with_a_hint(
    opened: Workspace, client: FlaskClient, state: State, wrong: str
) -> None:
    address = mosaic_address(opened, state).replace(data.patterns_of(state).id, wrong)
    answer = client.get(address)
    assert answer.status_code == 404
    assert answer.json["message"] and answer.json["hint"]


def test_c45_an_id_that_climbs_out_of_its_folder_gives_no_data(
    opened: Workspace, client: FlaskClient, state: State
) -> None:
    address = mosaic_address(opened, state).replace(data.patterns_of(state).id, "..%2F..%2Fetc%2Fpasswd")
    assert client.get(address).mimetype != "application/octet-stream"


def test_patterns_that_are_not_stored_are_refused_in_words(opened: Workspace, state: State) -> None:
    gone = state.model_copy(update={"prompt": "never captured"})
    with pytest.raises(StoreError):
        attention_routes.mosaic_bytes(opened, gone, data.patterns_of(gone).id, False)


def test_every_value_of_a_head_can_be_read(opened: Workspace, client: FlaskClient, state: State) -> None:
    captured(opened, *data.needed(state, 1))
    answer = client.get(f"/data/head{urls.write(state)}")
    expected = direct(state, "L1.pattern")["L1.pattern"][2]
    np.testing.assert_array_equal(np.frombuffer(answer.data, "<f4").reshape(expected.shape), expected)


def test_a_head_that_does_not_exist_has_no_values(opened: Workspace, state: State) -> None:
    with pytest.raises(SiteMissing):
        attention_routes.head_bytes(opened, state.model_copy(update={"layer": 99}))


def test_a_page_opened_anew_does_not_stop_at_an_earlier_visits_cancel(opened: Workspace, state: State) -> None:
    fresh = state.model_copy(update={"prompt": "went to the store", "layer": None, "head": None})
    opened.submit(data.patterns_of(fresh))
    opened.cancel(data.patterns_of(fresh).id)
    opened.wait(data.patterns_of(fresh).id)
    first = watch(opened, fresh, "me", had_mosaic=False, had_scores=False, retry=FIRST)
    assert first.awaited or isinstance(first.mosaic, dict)
