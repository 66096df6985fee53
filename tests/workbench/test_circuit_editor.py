"""The editor of circuits: drafts and what they mean, where circuits start, what the browser is told, files, roles."""

from __future__ import annotations

import base64
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from dash import Dash, html

from analyses.circuit import Circuit, Graph
from analyses.circuit_notes import Annotations
from analyses.experiment import Experiment
from analyses.grid import Grid
from analyses.result import Provenance, Result
from hooks.errors import InputError, SpecError
from tests.workbench.components import all_of, text_of
from workbench import urls
from workbench.circuit_base import base_of_circuit, base_of_search, graph_of
from workbench.circuit_draft import Draft, changed, edited, parse_draft, place
from workbench.kept_circuits import GivenCircuit, KeptCircuits
from workbench.parts import (
    circuit_compare,
    circuit_details,
    circuit_files,
    circuit_head,
    circuit_lists,
    circuit_request,
    circuit_routes,
    export_menu,
)
from workbench.parts.circuit_routes import edited as edited_draft
from workbench.parts.circuit_routes import numbers
from workbench.parts.circuit_view import edit_marks, spec_of, view
from workbench.requests import ExperimentRequest

INFO = {"n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "d_model": 8, "d_head": 4, "d_mlp": 16, "norm": "pre",
        "norm_kind": "RMSNorm", "positions": "rotary", "parallel": False, "gated": True, "windows": [None, None],
        "name": "tiny", "family": "llama", "d_vocab": 10, "n_params": 100, "dtype": "float32", "device": "cpu",
        }  # fmt: skip
GRAPH = graph_of(INFO, (), "query_head")
HOSTILE = "</script><b>x"


def searched(scores, size=20, level="edge"):
    """The result of a search with these scores of all edges, reader by reader."""
    sources, targets, channels = zip(*GRAPH.edges, strict=True)
    laid = np.zeros(GRAPH.allowed.shape)
    laid[np.nonzero(GRAPH.allowed.T)[::-1]] = scores
    kept = GRAPH.prune(GRAPH.top(laid, size))
    coords = {"edge": tuple(map(str, range(len(sources)))), "source": sources, "target": targets, "channel": channels}
    grid = Grid("score", np.array(scores), ("edge",), coords, "logit", 0.0, "")
    params = {"method": "eap", "level": level, "rank": "absolute"}
    experiment = Experiment(model="tiny", analysis="circuit_search", params=params)
    made = {"model_hash": "", "tokenizer_hash": "", "tokens": {}, "strings": {}, "versions": {}, "device": "cpu",
            "dtype": "float32", "attention": "", "source": "", "seed": 0, "started": "", "seconds": 1.0,
            "peak_bytes": 0}  # fmt: skip
    return Result(
        experiment, {"score": grid}, Provenance(**made), GRAPH.circuit(kept, "eap", laid).model_dump(mode="json")
    )


@pytest.fixture(scope="module")
def base():
    scores = np.random.default_rng(0).normal(size=GRAPH.n_edges)
    return base_of_search(searched(scores), INFO)


def test_a_change_taken_back_leaves_the_draft_as_it_was():
    edge = "embed>L1.z[head=0]>q"
    cut = changed(Draft(), {"op": "cut", "edge": edge})
    assert cut.cut == (edge,)
    assert changed(cut, {"op": "add", "edge": edge}).cut == ()
    pinned = changed(cut, {"op": "pin", "node": "L0.mlp_out"})
    assert changed(pinned, {"op": "unpin", "node": "L0.mlp_out"}) == cut
    named = changed(cut, {"op": "label", "node": "L0.mlp_out", "text": HOSTILE})
    assert named.labels == {"L0.mlp_out": HOSTILE}
    assert changed(named, {"op": "label", "node": "L0.mlp_out", "text": " "}) == cut
    assert changed(named, {"op": "clear"}).plain


def test_what_a_given_circuit_says_of_its_nodes_can_be_changed_and_taken_away():
    found = Annotations(labels={"L0.mlp_out": "old"}, groups={"embed": "start"}, pinned=("embed",))

    def after(*changes):
        draft = Draft()
        for change in changes:
            draft = changed(draft, change, found)
        return draft

    assert Draft().over(found) == found
    renamed = after({"op": "label", "node": "L0.mlp_out", "text": "new"})
    assert renamed.over(found).labels == {"L0.mlp_out": "new"}
    assert after({"op": "label", "node": "L0.mlp_out", "text": ""}).over(found).labels == {}
    assert after({"op": "group", "node": "embed", "text": ""}).over(found).groups == {}
    unpinned = after({"op": "unpin", "node": "embed"}, {"op": "pin", "node": "logits"})
    assert unpinned.over(found).pinned == ("logits",)
    back = {"op": "label", "node": "L0.mlp_out", "text": "old"}
    assert after({"op": "label", "node": "L0.mlp_out", "text": "new"}, back).plain
    assert after({"op": "unpin", "node": "embed"}, {"op": "pin", "node": "embed"}).plain
    assert not renamed.reshaped and after({"op": "size", "size": 3}).reshaped


def test_an_edited_circuit_says_what_is_written_beside_its_own_nodes(base):
    kept = base.kept(20)
    draft = Draft(labels={"logits": HOSTILE}, groups={"logits": "end"}, pinned=("logits", "L7.mlp_out"))
    made = base.circuit(kept, draft)
    assert (made.labels, made.groups, made.pinned) == ({"logits": HOSTILE}, {"logits": "end"}, ("logits",))
    assert made.method == base.found.method and made.bare == base.circuit(kept, Draft())


@pytest.mark.parametrize("change", [
    {"op": "cut", "edge": "logits>embed>in"}, {"op": "cut", "edge": "x"}, {"op": "cut_node", "node": "L0.resid_pre"},
    {"op": "label", "node": "L0.mlp_out", "text": "a" * 61}, {"op": "size", "size": -1}, {"op": "wipe"}, {},
])  # fmt: skip
def test_a_change_that_means_nothing_is_refused(change):
    with pytest.raises(SpecError):
        changed(Draft(), change)


def test_a_draft_keeps_what_its_size_keeps_without_what_was_cut_and_with_what_was_added(base):
    kept = base.kept(20)
    writer, reader = np.argwhere(kept)[0]
    there = f"{GRAPH.writers[writer]}>{'>'.join(GRAPH.readers[reader])}"
    missing = np.argwhere(GRAPH.allowed & ~kept)[0]
    lacking = f"{GRAPH.writers[missing[0]]}>{'>'.join(GRAPH.readers[missing[1]])}"
    draft = changed(changed(Draft(size=20), {"op": "cut", "edge": there}), {"op": "add", "edge": lacking})
    after = base.edited(draft)
    apart = {tuple(at) for at in np.argwhere(after != kept)}
    assert apart == {(writer, reader), tuple(missing)}
    assert edit_marks(circuit_request.Edited(base, draft, after)) == {
        tuple(there.split(">")): "cut", tuple(lacking.split(">")): "added"
    }  # fmt: skip


def test_a_cut_node_stays_cut_at_every_size_but_for_edges_that_are_added_to_it(base):
    node, edge = "L0.mlp_out", "embed>L0.mlp_out>in"
    draft = changed(Draft(), {"op": "cut_node", "node": node})
    for size in (5, 20, GRAPH.n_edges):
        after = edited(GRAPH, base.kept(size), draft)
        assert not after[GRAPH.node_index[node]].any()
        assert not after[:, GRAPH.targets == GRAPH.node_index[node]].any()
    again = changed(draft, {"op": "add", "edge": edge})
    assert edited(GRAPH, base.kept(GRAPH.n_edges), again)[place(GRAPH, edge)]


def test_a_long_draft_is_kept_under_its_content_and_a_short_one_is_its_own_text(tmp_path):
    kept = KeptCircuits(tmp_path)
    short = Draft(size=3)
    assert kept.write_draft(Draft()) == ""
    assert parse_draft(kept.write_draft(short)) == short
    long = Draft(cut=tuple(f"embed>L{layer}.mlp_out>in" for layer in range(99)))
    name = kept.write_draft(long)
    assert name.startswith("kept:") and len(name) < 80
    assert kept.write_draft(long) == name
    assert KeptCircuits(tmp_path).read_draft(name) == long
    for text in ("kept:" + "0" * 64, "kept:../../x", "{"):
        with pytest.raises((InputError, SpecError)):
            kept.read_draft(text)


def test_sizes_of_a_search_are_its_best_edges_pruned(base):
    for size in (3, 20, 45):
        assert (base.kept(size) == GRAPH.prune(GRAPH.top(np.abs(base.scores), size))).all()
    assert (base.kept(None) == GRAPH.kept(base.found)).all()
    assert base.most == GRAPH.n_edges


def test_a_given_circuit_shrinks_by_its_own_scores_and_stays_as_it_is_without_any():
    mask = GRAPH.prune(GRAPH.allowed)
    scores = np.random.default_rng(1).normal(size=mask.shape)
    scored = base_of_circuit("given", GRAPH.circuit(mask, "by hand", scores), INFO)
    assert scored.most == mask.sum()
    assert (scored.kept(30) == GRAPH.prune(GRAPH.top(np.abs(scores), 30))).all()
    plain = base_of_circuit("given", GRAPH.circuit(mask, "by hand"), INFO)
    assert not plain.resizable
    assert (plain.kept(3) == mask).all()
    assert {edge.score for edge in plain.circuit(mask, Draft()).edges} == {None}


def test_the_strongest_edges_are_those_that_are_drawn(base):
    now = circuit_request.Edited(base, Draft(), base.kept(GRAPH.n_edges))
    drawn = spec_of(now, 7)
    strengths = sorted(np.abs(base.scores[now.kept]), reverse=True)
    assert sorted((abs(edge["score"]) for edge in drawn["edges"]), reverse=True) == pytest.approx(strengths[:7])
    assert drawn["size"] == int(now.kept.sum())


def test_an_open_edge_can_be_cut_and_a_missing_one_added(base):
    now = circuit_request.Edited(base, Draft(), base.kept(20))
    for mask, op in ((now.kept, "cut"), (GRAPH.allowed & ~now.kept, "add")):
        writer, reader = np.argwhere(mask)[0]
        pick = f"{GRAPH.writers[writer]}>{'>'.join(GRAPH.readers[reader])}"
        shown = circuit_details.details(now, pick, "logit", {}, None)
        ops = [
            json.loads(getattr(button, "data-cir-op")) for button in all_of(shown, lambda c: hasattr(c, "data-cir-op"))
        ]
        assert ops == [{"op": op, "edge": pick}]


def test_texts_of_users_stand_in_the_page_as_text(base):
    draft = changed(Draft(), {"op": "label", "node": "L0.mlp_out", "text": HOSTILE})
    now = circuit_request.Edited(base, draft, base.kept(20))
    shown = circuit_details.details(now, "L0.mlp_out", "logit", {"L0.mlp_out": HOSTILE}, None)
    assert HOSTILE in text_of(shown)
    assert not all_of(shown, lambda c: "dangerously" in str(type(c)).lower())
    listed = circuit_lists.lists(now, "logit")
    assert [pick for pick, *_ in listed["nodes"]] == list(now.circuit.nodes)
    assert {tuple(pick.split(">")) for pick, *_ in listed["edges"]} == {edge.key for edge in now.circuit.edges}


def sent(text):
    """A file as the browser sends it."""
    return "data:text/plain;base64," + base64.b64encode(text.encode()).decode()


# -- with a model


@pytest.fixture(scope="module")
def found(opened, tiny_folder):
    """A workspace with a search of a pair, the state that shows it, and where circuits start."""
    state = urls.State(
        model=str(tiny_folder), prompt="When Mary and John went to", corrupt="When John and John went to",
        answer=" the", foil=" a", finder="eap",
    )  # fmt: skip
    asked = circuit_request.Bases(opened).search(state)
    assert opened.wait(opened.submit(ExperimentRequest(experiment=asked)).id).state == "done"
    return opened, state, circuit_request.Bases(opened)


def test_a_page_without_a_circuit_says_so(opened, tiny_folder):
    state = urls.State(model=str(tiny_folder), prompt="When Mary", corrupt="When John", answer=" the", foil=" a")
    bases = circuit_request.Bases(opened)
    assert view(opened, bases, state, {}, {}) == {"state": "none"}
    assert numbers(opened, bases, state, "", "") == {"state": "none"}
    with pytest.raises(InputError, match="no circuit yet"):
        circuit_request.evaluation_of(opened, bases, state)


def test_the_number_of_an_edited_circuit_is_that_of_its_evaluation(found):
    workspace, state, bases = found
    size = edited_draft(workspace, bases, {"search": urls.write(state), "change": {"op": "size", "size": 60}})
    state = state.model_copy(update=size)
    seen = view(workspace, bases, state, {}, {})
    columns = (seen["graph"]["edges"][name] for name in ("source", "target", "channel"))
    source, target, channel = next(zip(*columns, strict=True))
    ids = seen["graph"]["nodes"]["id"]
    change = {"op": "cut", "edge": f"{ids[source]}>{ids[target]}>{channel}"}
    cut = edited_draft(workspace, bases, {"search": urls.write(state), "change": change})
    state = state.model_copy(update=cut)
    asked = circuit_request.evaluation_of(workspace, bases, state)
    assert workspace.wait(workspace.submit(ExperimentRequest(experiment=asked)).id).state == "done"
    judged = workspace.result(asked.id)
    while (told := numbers(workspace, bases, state, "me", ""))["state"] != "done":
        assert told["state"] in ("queued", "running")
    assert told["value"] == pytest.approx(float(judged.grid("faithfulness_circuit").values), rel=1e-4, abs=1e-4)
    assert told["live"] == view(workspace, bases, state, {}, {})["live"]
    assert judged.circuit["size"] == seen["edges"] - 1
    # The curve is of the ranking, so a circuit of one of its sizes has the curve's value.
    curve = view(workspace, bases, state.model_copy(update={"judged": asked.id}), {}, {})["curve"]
    at = len(curve["size"]) - 2
    half = state.model_copy(update={"draft": Draft(size=curve["size"][at]).text()})
    while (told := numbers(workspace, bases, half, "me", ""))["state"] != "done":
        pass
    assert told["value"] == pytest.approx(curve["value"][at], rel=1e-4, abs=1e-4)


def test_labels_and_pins_change_no_id_of_an_evaluation_and_groups_are_its_classes(found):
    workspace, state, bases = found
    plain = circuit_request.evaluation_of(workspace, bases, state)
    noted = state.model_copy(update={"draft": Draft(labels={"logits": HOSTILE}, pinned=("logits",)).text()})
    assert circuit_request.evaluation_of(workspace, bases, noted).id == plain.id
    grouped = state.model_copy(update={"draft": Draft(groups={"logits": HOSTILE}).text()})
    assert circuit_request.evaluation_of(workspace, bases, grouped).params["classes"] == {HOSTILE: ["logits"]}


def test_a_given_circuit_shows_its_annotations_and_those_of_the_draft_over_them(found):
    workspace, state, bases = found
    now = circuit_request.edited_of(workspace, bases, state)
    notes = Annotations(labels={"embed": "old", "logits": "old"}, groups={"embed": "ends"}, pinned=("embed",))
    data = now.circuit.saying(notes).model_dump_json()
    key = circuit_files.read(workspace, state, sent(data), "e.json")
    draft = Draft(labels={"logits": HOSTILE}).text()
    given = state.model_copy(update={"given": key, "draft": draft})
    nodes = view(workspace, bases, given, {}, {})["graph"]["nodes"]
    at = {name: place for place, name in enumerate(nodes["id"])}
    assert (nodes["role"][at["embed"]], nodes["role"][at["logits"]]) == ("old", HOSTILE)
    assert nodes["group"][at["embed"]] == "ends" and nodes["pinned"][at["embed"]]
    shown = circuit_details.details(circuit_request.edited_of(workspace, bases, given), "embed", "logit", {}, None)
    assert "old" in text_of(shown) and "Unpin" in text_of(shown)
    gone = edited_draft(workspace, bases, {"search": urls.write(given), "change": {"op": "unpin", "node": "embed"}})
    assert circuit_request.edited_of(workspace, bases, given.model_copy(update=gone)).notes.pinned == ()
    pair = circuit_request.evaluation_of(workspace, bases, given).params["circuit"]
    assert not {"labels", "groups", "pinned"} & set(pair)
    assert workspace.circuits.notes(draft, key).labels == {"embed": "old", "logits": HOSTILE}


@pytest.fixture(scope="module")
def served(found):
    """A browser's view of the routes of circuits and exports."""
    workspace, state, bases = found
    app = Dash(__name__)
    app.layout = html.Div()
    circuit_routes.register(app, workspace, bases)
    export_menu.register(app, workspace)
    return app.server.test_client(), state, bases


NOTED = Draft(labels={"logits": HOSTILE}, groups={"embed": "start"}, pinned=("logits",)).text()


@pytest.mark.parametrize("form", ["json", "csv", "graphml", "dot", "svg"])
def test_the_edited_circuit_is_a_file_in_every_form_before_it_is_evaluated(served, form):
    browser, state, _ = served
    answer = browser.get("/data/circuit/file" + urls.write(state.model_copy(update={"draft": NOTED})) + f"&form={form}")
    assert answer.status_code == 200 and f".{form}" in answer.headers["Content-Disposition"]
    text = answer.text
    if form in ("graphml", "svg"):
        assert HOSTILE in "".join(ElementTree.fromstring(text).itertext())
    elif form == "dot":
        assert f'"logits" [label="logits\\n{HOSTILE}"' in text
    elif form == "json":
        assert json.loads(text)["pinned"] == ["logits"]
    refused = browser.get("/data/circuit/file" + urls.write(state) + "&form=pdf")
    assert refused.status_code == 400 and "unknown form" in refused.json["message"]


def test_an_export_from_the_page_has_the_annotations_of_its_draft(served):
    browser, state, bases = served
    address = f"/export/{bases.search(state).id}"
    plain = browser.get(f"{address}/graphml").data
    noted = browser.get(f"{address}/graphml", query_string={"draft": NOTED})
    assert noted.status_code == 200 and noted.data != plain
    assert HOSTILE in "".join(ElementTree.fromstring(noted.data).itertext())
    page = browser.get(f"{address}/html", query_string={"draft": NOTED}).text
    assert "&lt;/script&gt;&lt;b&gt;x" in page and HOSTILE not in page
    assert browser.get(f"{address}/json", query_string={"draft": NOTED}).json["circuit"]["groups"] == {"embed": "start"}
    damaged = browser.get(f"{address}/graphml", query_string={"draft": "{"})
    assert damaged.status_code == 400 and "edits of the circuit cannot be read" in damaged.json["message"]
    lost = browser.get(f"{address}/graphml", query_string={"draft": "kept:" + "0" * 64})
    assert lost.status_code == 400 and "not in the workspace" in lost.json["message"]


def test_the_menus_of_the_page_pass_its_draft_along():
    assert getattr(export_menu.export_menu("r", circuit=True, drafted=True), "data-export-drafted")
    assert not hasattr(export_menu.export_menu("r", circuit=True), "data-export-drafted")


def test_a_circuit_compared_with_itself_is_all_shared_and_one_of_another_shape_is_refused(found):
    workspace, state, bases = found
    asked = bases.search(state)
    same = state.model_copy(update={"against": asked.id})
    assert set(circuit_compare.marks_of(workspace, bases, same).values()) == {"both"}
    assert "100" in text_of(circuit_compare.compared(workspace, bases, same))
    smaller = same.model_copy(update={"draft": Draft(size=4).text()})
    now = circuit_request.edited_of(workspace, bases, smaller)
    marks = circuit_compare.marks_of(workspace, bases, smaller)
    assert sum(mark in ("both", "only_a") for mark in marks.values()) == now.kept.sum()
    given = Circuit(nodes=("embed", "logits"), edges=(), size=0, method="by hand", keys="kv_head")
    key = workspace.circuits.put(GivenCircuit(name="x", circuit=given))
    other = state.model_copy(update={"against": f"file:{key}"})
    assert circuit_compare.marks_of(workspace, bases, other) == {}
    assert "equal shape" in text_of(circuit_compare.compared(workspace, bases, other))


def test_a_file_is_read_as_a_circuit_of_the_model_and_one_error_says_what_is_wrong(found):
    workspace, state, bases = found

    key = circuit_files.read(workspace, state, sent("edge,score\ninput->a0.h1<q>,0.5\na0.h1->logits,0.25\n"), "e.csv")
    now = circuit_request.edited_of(workspace, bases, state.model_copy(update={"given": key}))
    assert now.circuit.size == 2
    assert "e.csv" in text_of(circuit_files.given(workspace, state.model_copy(update={"given": key})))
    with pytest.raises(SpecError, match=r"a9\.h1"):
        circuit_files.read(workspace, state, sent("edge\na9.h1->logits\n"), "e.csv")


def test_only_heads_have_a_map_and_a_key_is_never_behind_its_query():
    state = urls.State(pick="L1.z[head=2]")
    assert circuit_head.head_of(state).head == 2
    for pick in ("", "L1.mlp_out", "embed>L1.z[head=2]>q", "nonsense"):
        assert circuit_head.head_of(urls.State(pick=pick)) is None
    assert circuit_head.cell_of({"points": [{"x": 2, "y": 5}]}) == "5,2"
    assert circuit_head.cell_of({"points": [{"x": 5, "y": 2}]}) == ""
    assert circuit_head.cell_of(None) == ""


def test_a_graph_of_other_sizes_is_not_that_of_the_model():
    assert isinstance(GRAPH, Graph)
    with pytest.raises(SpecError, match="no edge of this model"):
        place(GRAPH, "embed>L7.mlp_out>in")
