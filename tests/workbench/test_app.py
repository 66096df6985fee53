"""The frame: what stands in the header and in the main area for every state of model and prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dash import Input, Output, dcc, html, no_update

from hooks.errors import InputError
from workbench import urls
from workbench.app import create_app
from workbench.emptying import EmptyingDash, emptied
from workbench.pages.base import Page
from workbench.parts import flyouts, frame, header, header_given, job_bar, model_picker, tray
from workbench.parts.graph import graph
from workbench.requests import OpenRequest
from workbench.urls import State
from workbench.workspace import Workspace


def text(component: Any) -> str:
    """All words of a component, in order."""
    if component is None or isinstance(component, bool):
        return ""
    if isinstance(component, str | int | float):
        return str(component)
    if isinstance(component, list | tuple):
        return " ".join(filter(None, (text(child) for child in component)))
    return text(getattr(component, "children", None))


PAGE = Page("/x", "X", 0, "model", lambda workspace, state: f"page of {state.prompt}", lambda app, workspace: None)


@pytest.fixture
def state(tiny_folder: Path) -> State:
    return State(model=str(tiny_folder), prompt="The cat sat", answer="", foil="")


def opened(workspace: Workspace, name: str) -> frame.Opened:
    """The model, however many times one has to ask."""
    found = frame.opened(workspace, name, "s", {}, None, None)
    if found.status == "opening":
        workspace.wait(found.job)
        found = frame.opened(workspace, name, "s", {"job": found.job, "state": "opening"}, "done", None)
    return found


def test_every_page_is_in_the_navigation_and_the_frame_is_complete(workspace: Workspace) -> None:
    layout = json.dumps(create_app(workspace).layout.to_plotly_json(), default=lambda part: part.to_plotly_json())
    for path in ("/model", "/prompt", "/attention", "/ablation", "/results"):
        assert f'"data-wb-nav": "{path}"' in layout
    for name in ("url", "session", "theme", "tick", "job-events", "page", "tray", "job-bar"):
        assert f'"id": "{name}"' in layout


def test_the_model_is_opened_once_and_then_known(workspace: Workspace, state: State) -> None:
    found = opened(workspace, state.model)
    assert found.status == "open" and found.summary is not None
    assert found.summary["parity"]["exact"]
    assert frame.opened(workspace, state.model, "s", {}, None, None).status == "open"


def test_a_model_that_is_none_says_why_and_what_to_do(workspace: Workspace, tmp_path: Path) -> None:
    state = State(model=str(tmp_path))
    found = opened(workspace, state.model)
    assert found.status == "failed" and found.error is not None
    words = text(frame.page_body(workspace, PAGE, state, found, None))
    assert found.error["message"][1:] in words and found.error["hint"] in words
    assert "Try again" in words and "Choose another model" in words


def test_a_failure_is_not_retried_until_somebody_asks(workspace: Workspace, tmp_path: Path) -> None:
    name = str(tmp_path)
    job = opened(workspace, name).job
    finished = workspace.job(job)
    assert finished is not None
    before = {"job": job, "state": "failed", "retry": None}
    assert frame.opened(workspace, name, "s", before, "failed", None).status == "failed"
    same = workspace.job(job)
    assert same is not None and same.created == finished.created
    workspace.wait(frame.opened(workspace, name, "s", before, "failed", "again").job)
    again = workspace.job(job)
    assert again is not None and again.created > finished.created


def test_an_address_without_a_model_names_the_remedy(workspace: Workspace) -> None:
    found = frame.opened(workspace, "  ", "s", {}, None, None)
    assert found.status == "failed" and found.error is not None and found.error["hint"]


def test_the_page_stands_when_model_and_prompt_are_good(workspace: Workspace, state: State) -> None:
    model = opened(workspace, state.model)
    count, wrong = frame.token_count(workspace, state, model)
    assert wrong is None and count == workspace.tokens(state.model, state.inputs()).lengths[0]
    assert frame.page_body(workspace, PAGE, state, model, wrong) == "page of The cat sat"


@pytest.mark.parametrize("changes", [{"prompt": ""}, {"answer": "cat sat mat"}])
def test_a_prompt_that_cannot_be_used_is_explained_where_the_page_would_be(
    workspace: Workspace, state: State, changes: dict[str, str]
) -> None:
    bad = state.model_copy(update=changes)
    model = opened(workspace, bad.model)
    _, wrong = frame.token_count(workspace, bad, model)
    assert isinstance(wrong, InputError)
    words = text(frame.page_body(workspace, PAGE, bad, model, wrong))
    assert wrong.message[1:] in words and wrong.hint in words and "Edit the prompt" in words


def test_an_unknown_address_offers_a_page(workspace: Workspace, state: State) -> None:
    assert "Go to Attention" in text(frame.page_body(workspace, None, state, frame.Opened("open", {}), None))


def test_the_header_says_model_parity_prompt_and_token_count() -> None:
    summary = {"parity": {"exact": True, "error": 0.0}}
    words = text([header.facts(State(), summary, "open"), header.given(State(), summary, 14)])
    assert "smollm2-135m" in words and "exact parity" in words and "(14)" in words
    assert "“When Mary and John" in words
    off = {"parity": {"exact": False, "error": 3.21e-6}}
    assert "parity within 3.2e−6" in text(header.facts(State(), off, "open"))
    assert "opening" in text(header.facts(State(), None, "opening"))
    assert "not open" in text(header.facts(State(), None, "failed"))


def test_the_header_says_the_task_and_how_many_prompts_it_has(workspace: Workspace) -> None:
    state = State(model="toy", task="ioi", n=5)
    many = header_given.many_of(workspace, state)
    prompts = workspace.task("toy", "ioi", 5, 0, "").inputs["clean"].prompts
    assert many is not None and header_given.many_of(workspace, State(model="toy")) is None
    words = text(header.given(state, {"parity": {"exact": True, "error": 0.0}}, 14, many))
    assert "IOI" in words and "5 prompts" in words and "When Mary" not in words
    assert many.tip.splitlines()[1:] == [*(f"“{prompt}”" for prompt in prompts[:3]), "and 2 more"]
    key = workspace.tables.put("mine.csv", "csv", "prompt\nMary went\n")
    table = header_given.many_of(workspace, State(model="toy", data=key))
    assert table is not None and (table.name, table.size) == ("mine.csv", "· 1 prompt")
    gone = header_given.many_of(workspace, State(model="toy", data="0" * 64))
    assert gone is not None and gone.size == ""


def test_the_tray_describes_edits_in_words_and_survives_a_bad_one() -> None:
    def words(row: Any) -> str:
        return text(row.children[0])

    rows = tray.rows(State(edits="zero:L23.z[head=3];mean:L5.mlp_out;zero:L1.mlp_post[unit=7,pos=last];burn:L3.z"))
    assert [words(row) for row in rows[:3]] == ["L23 h3", "L5 MLP", "L1 neuron 7 at last"]
    assert [text(row.children[1]) for row in rows[:2]] == ["zero head 23.3", "mean-ablate MLP 5"]
    assert "burn:L3.z" in text(rows[3])


def test_c19_the_tray_says_which_query_heads_a_key_value_head_serves() -> None:
    edits = "zero:L3.k[head=1];mean:L3.v[head=2,pos=4];zero:L3.q[head=5];zero:L2.pattern[head=1]"
    assert [text(row.children[0]) for row in tray.rows(State(edits=edits), 3)] == [
        "L3 keys, key/value head 1 (query heads 3–5)",
        "L3 values, key/value head 2 (query heads 6–8) at 4",
        "L3 queries h5",
        "L2 pattern h1",
    ]
    assert text(tray.rows(State(edits="zero:L3.k[head=1]"))[0].children[0]) == "L3 keys, key/value head 1"


def test_the_tray_knows_the_sharing_of_an_open_model_and_of_no_other(opened: Workspace, tiny_folder: Path) -> None:
    assert tray.group_of(opened, urls.write(State(model=str(tiny_folder)))) == 2
    assert tray.group_of(opened, urls.write(State(model="toy"))) is None
    assert tray.group_of(opened, "?model=+") is None


def test_jobs_of_others_cannot_be_cancelled_from_here(workspace: Workspace, tiny_folder: Path) -> None:
    job = workspace.submit(OpenRequest(model=str(tiny_folder)), session="mine")  # type: ignore[arg-type]
    running = job.model_copy(
        update={"state": "running", "done": 3, "total": 9, "seconds_left": 12.0, "message": "proving"}
    )
    mine = text(job_bar.rows([running], "mine", []))
    assert "3 / 9" in mine and "12\u2009s left" in mine and "Cancel" in mine
    theirs = text(job_bar.rows([running], "other", []))
    assert "Cancel" not in theirs and "another window" in theirs


def test_a_window_that_knows_how_the_jobs_stand_is_told_nothing(workspace: Workspace, tiny_folder: Path) -> None:
    client = create_app(workspace).server.test_client()
    before = client.get("/wb/jobs").get_json()
    assert client.get("/wb/jobs", query_string={"known": before["pulse"]}).status_code == 204
    workspace.wait(workspace.submit(OpenRequest(model=str(tiny_folder)), session="mine").id)  # type: ignore[arg-type]
    after = client.get("/wb/jobs", query_string={"known": before["pulse"]}).get_json()
    assert after["pulse"] != before["pulse"]
    assert not after["active"]


def test_a_failed_job_stays_until_it_is_dismissed(workspace: Workspace, tmp_path: Path) -> None:
    job = workspace.submit(OpenRequest(model=str(tmp_path)), session="mine")  # type: ignore[arg-type]
    failed = workspace.wait(job.id)
    assert failed.state == "failed" and failed.error is not None
    words = text(job_bar.rows([failed], "mine", []))
    assert failed.error["message"][1:] in words and failed.error["hint"] in words
    assert job_bar.rows([failed], "other", []) == []
    assert job_bar.rows([failed], "mine", [f"{failed.id}@{failed.finished}"]) == []


def test_job_events_are_what_waiting_pages_listen_to(workspace: Workspace, tiny_folder: Path) -> None:
    job = workspace.wait(workspace.submit(OpenRequest(model=str(tiny_folder))).id)  # type: ignore[arg-type]
    assert job_bar.events([job]) == {job.id: ["done", job.done, job.total]}


def test_no_graph_offers_to_send_data_away() -> None:
    made = graph("g")
    assert isinstance(made, dcc.Graph)
    assert made.config["showSendToCloud"] is False and made.config["displaylogo"] is False


def test_the_picker_offers_every_alias(workspace: Workspace) -> None:
    words = text(model_picker.content())
    for name in ("smollm2-135m", "gemma3-270m", "minilm", "toy"):
        assert name in words


def test_the_state_of_a_link_reaches_the_page(workspace: Workspace, state: State) -> None:
    assert urls.read(urls.write(state)) == state


def flyout(workspace: Workspace, name: str, state: State) -> dict[str, Any]:
    """The components of a flyout that have an id."""
    made = next(one for one in flyouts.FLYOUTS if one.name == name).content(workspace, state)
    held = html.Div(made)
    return {key: held[key] for key in held}


def test_a_flyout_opens_with_what_the_address_says(workspace: Workspace) -> None:
    state = State(model="toy", prompt="a cat", answer=" x", foil=" y", special="none", plain=True)
    made = flyout(workspace, "prompt", state)
    said = {name: made[f"prompt-{name}"].value for name in ("text", "answer", "foil", "special")}
    assert said == {"text": "a cat", "answer": " x", "foil": " y", "special": "none"}
    assert made["prompt-plain"].checked and made["prompt-part-image"].hidden and not made["prompt-part-text"].hidden
    task = flyout(workspace, "task", State(model="toy", task="ioi", n=5, seed=3))
    assert [task[f"task-{name}"].value for name in ("name", "n", "seed", "variant")] == ["ioi", 5, 3, "flip"]
    assert "5 prompts" in text(task["task-preview"]) and task["task-part-table"].hidden
    key = workspace.tables.put("mine.csv", "csv", "prompt,answer\nMary went, x\n")
    table = flyout(workspace, "task", State(model="toy", data=key))
    assert table["task-name"].value == "own" and table["task-part-task"].hidden
    assert (table["task-column-prompt"].value, table["task-column-prompt"].data) == ("prompt", ["prompt", "answer"])


def test_a_flyout_has_no_field_before_it_is_wanted(workspace: Workspace) -> None:
    layout = create_app(workspace).layout
    for one in flyouts.FLYOUTS:
        assert getattr(layout[f"flyout-{one.name}"], "children", None) is None


def test_a_place_that_becomes_empty_is_sent_as_an_empty_list() -> None:
    one, two, other = Output("a", "children"), Output("b", "children"), Output("c", "data")
    assert emptied([one], None) == [] and emptied([other], None) is None
    assert emptied([one, two, other], (None, "x", None)) == [[], "x", None]
    assert emptied([one, two], no_update) is no_update
    app = EmptyingDash("emptying")

    @app.callback(one, Input("c", "data"))
    def nothing(_: Any) -> None:
        return None

    app.layout = html.Div(id="a")
    asked = {"output": "a.children", "outputs": {"id": "a", "property": "children"}, "changedPropIds": ["c.data"]}
    inputs = [{"id": "c", "property": "data", "value": 1}]
    sent = app.server.test_client().post("/_dash-update-component", json=asked | {"inputs": inputs})
    assert sent.get_json()["response"] == {"a": {"children": []}}
