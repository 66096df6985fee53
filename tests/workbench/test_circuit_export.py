"""A circuit as GraphML, DOT, picture, report, script, bundle, checkpoint: other programs read it, text stays text."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from analyses.circuit import Graph
from analyses.circuit_formats import import_circuit
from analyses.circuit_notes import Annotations
from analyses.experiment import Experiment
from analyses.grid import Grid
from analyses.result import Provenance, Result
from hooks.errors import SpecError
from hooks.info import StackInfo
from hooks.tiny import build
from workbench import api
from workbench.cli import run as run_cli
from workbench.export import export, forms_of
from workbench.export.circuit import annotated, edge_list
from workbench.export.circuit_forms import CIRCUIT_FILES
from workbench.figures.graph import MOST_EDGES, graph, layout
from workbench.replay import circuit_difference, compare

SIZES = {"n_layers": 3, "n_heads": 4, "n_kv_heads": 2, "d_model": 32, "d_head": 8, "d_mlp": 48, "norm_kind": "RMSNorm",
         "positions": "rotary", "gated": True, "windows": (None,) * 3, "norm": "pre", "parallel": False}  # fmt: skip
GRAPH = Graph(StackInfo(**SIZES))
HOSTILE = ['</script><script>alert("x")</script>', '"]; x [label="', "a\\n\\l{}|<b>&amp;", "\x00\x0b\ud800\u202e"]
NAMED = "{http://graphml.graphdrawing.org/xmlns}"
PARTS = ("source", "target", "channel")


def spec_of(edges):
    nodes = [text for text in GRAPH.nodes if any(text in edge[:2] for edge in edges)]
    listed = [{"source": s, "target": t, "channel": c, "score": x} for s, t, c, x in edges]
    return {"nodes": nodes, "edges": listed, "size": len(edges), "method": "eap", "task": HOSTILE[0]}


EDGES = [
    ("embed", "L0.z[head=1]", "v", 0.5),
    ("embed", "L0.z[head=1]", "k", 0.25),
    ("L0.z[head=1]", "L0.mlp_out", "in", -0.125),
    ("L0.mlp_out", "L2.z[head=3]", "q", 1e-9),
    ("L2.z[head=3]", "logits", "in", None),
]


def result_of(edges, prompts=HOSTILE):
    """A search's result by hand, on prompts made to break out of every format."""
    asked = {"clean": {"prompts": [{"ids": [1, 2]}] * len(prompts)}, "corrupt": {"prompts": [{"ids": [1, 2]}]}}
    experiment = Experiment.model_validate(
        {"model": "tiny", "inputs": asked, "analysis": "circuit_search", "note": HOSTILE[0]}
    )
    made = Provenance(
        model_hash="m", tokenizer_hash="t", tokens={"clean": tuple((1, 2) for _ in prompts)},
        strings={"clean": tuple((text, text) for text in prompts)}, versions={"torch": "2"}, device="cpu",
        dtype="float32", attention="eager", source="here", seed=0, started="2026-01-01T00:00:00", seconds=1.0,
        peak_bytes=0,
    )  # fmt: skip
    score = Grid("score", np.array([0.5]), ("edge",), {"edge": ("embed → logits in",)}, "logit", 0.0)
    return Result(experiment, {"score": score}, made, spec_of(edges))


@pytest.fixture(scope="module")
def result():
    return result_of(EDGES)


def graphml(result):
    return ElementTree.fromstring(export(result, "graphml").data)


def values(element):
    return {data.get("key").split(".")[1]: data.text for data in element.findall(f"{NAMED}data")}


def edges_of_graphml(root):
    names = {node.get("id"): values(node)["node"] for node in root.iter(f"{NAMED}node")}
    for edge in root.iter(f"{NAMED}edge"):
        said = values(edge)
        score = float(said["score"]) if "score" in said else None
        yield names[edge.get("source")], names[edge.get("target")], said["channel"], score


def test_graphml_holds_every_node_and_edge_by_name(result):
    root = graphml(result)
    assert list(edges_of_graphml(root)) == EDGES
    nodes = [values(node) for node in root.iter(f"{NAMED}node")]
    assert {"node": "L0.z[head=1]", "kind": "head", "layer": "0", "head": "1"} in nodes
    assert {"node": "embed", "kind": "embedding"} in nodes
    declared = {key.get("id") for key in root.iter(f"{NAMED}key")}
    assert {data.get("key") for data in root.iter(f"{NAMED}data")} <= declared
    assert all(re.fullmatch(r"[\w.:-]+", node.get("id")) for node in root.iter(f"{NAMED}node"))


def test_c40_graphml_says_what_the_circuit_is_of(result):
    said = values(graphml(result).find(f"{NAMED}graph"))
    assert (said["model"], said["model_hash"], said["method"], said["result"]) == ("tiny", "m", "eap", result.id)
    assert json.loads(said["tokens"])["clean"][0] == [1, 2]
    assert json.loads(said["strings"])["clean"][0][0] == HOSTILE[0] and json.loads(said["versions"]) == {"torch": "2"}


def edges_of_dot(text):
    """A reader of the DOT that is written: quoted strings, attributes, one statement a line."""
    quoted = r'"((?:[^"\\]|\\.)*)"'
    for line in text.splitlines():
        if match := re.fullmatch(
            rf"\s*{quoted} -> {quoted} \[label={quoted}, color={quoted}, penwidth=([\d.]+)(.*)\];", line
        ):
            score = re.search(rf"score={quoted}", match[6])
            yield match[1], match[2], match[3], float(score[1]) if score else None


def test_dot_holds_every_edge_and_no_text_leaves_its_quotes(result):
    text = export(result, "dot").data.decode()
    assert list(edges_of_dot(text)) == EDGES
    for line in text.splitlines():
        outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", line)
        assert '"' not in outside and "<" not in outside.replace("->", "")
    assert "rank=same" in text and text.count("{") == text.count("}")


NOTED = Annotations(
    labels={"L0.mlp_out": HOSTILE[1], "L2.z[head=3]": HOSTILE[2]},
    groups={"L0.mlp_out": HOSTILE[0], "embed": "start"},
    pinned=("logits",),
)


def nodes_of_graphml(root):
    return {said["node"]: said for said in map(values, root.iter(f"{NAMED}node"))}


def test_annotations_are_data_of_graphml_nodes_and_nothing_else_changes(result):
    noted = graphml(annotated(result, NOTED))
    nodes = nodes_of_graphml(noted)
    assert {node: said["label"] for node, said in nodes.items() if "label" in said} == NOTED.labels
    assert {node: said["group"] for node, said in nodes.items() if "group" in said} == NOTED.groups
    assert [node for node, said in nodes.items() if said.get("pinned") == "true"] == ["logits"]
    declared = {key.get("id") for key in noted.iter(f"{NAMED}key")}
    assert {data.get("key") for data in noted.iter(f"{NAMED}data")} <= declared
    assert list(edges_of_graphml(noted)) == EDGES
    assert not re.search(rb"node\.(label|group|pinned)", export(result, "graphml").data)


def test_a_label_stands_under_the_name_of_its_dot_node_and_leaves_no_quotes(result):
    text = export(annotated(result, NOTED), "dot").data.decode()
    assert list(edges_of_dot(text)) == EDGES
    for line in text.splitlines():
        outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", line)
        assert '"' not in outside and "<" not in outside.replace("->", "")
    assert r'"L0.mlp_out" [label="L0.mlp_out\n\"]; x [label=\"", group=' in text
    assert '"logits" [pinned="true", penwidth=3];' in text and '"embed" [group="start"];' in text
    assert '  "L0.z[head=1]";' in text.splitlines() and text.count("rank=same") == 3


def test_annotations_are_in_json_bundle_and_report_as_text(result, monkeypatch):
    monkeypatch.setattr("workbench.export.bundle.images", lambda drawn, form: [b"<svg/>" for _ in drawn])
    noted = annotated(result, NOTED)
    assert noted.id == result.id
    again = import_circuit(export(noted, "json").data, GRAPH).circuit
    assert (again.labels, again.groups, again.pinned) == (NOTED.labels, NOTED.groups, NOTED.pinned)
    page = export(noted, "html").data.decode("utf-8", "replace")
    body = page.split("</head>")[1]
    assert "<script>alert" not in body and "<b>&amp;" not in body and "start" in body
    assert "L2.z[head=3]: a\\n\\l{}|&lt;b&gt;&amp;amp;" in body
    with zipfile.ZipFile(io.BytesIO(export(noted, "bundle").data)) as archive:
        held = {Path(name).name: archive.read(name) for name in archive.namelist()}
    assert json.loads(held["circuit.json"])["labels"] == NOTED.labels
    assert b"penwidth=3" in held["circuit.dot"] and b"node.label" in held["circuit.graphml"]


def test_annotations_of_nodes_that_a_circuit_lacks_are_left_out(result):
    noted = annotated(result, Annotations(labels={"L1.mlp_out": "far", "embed": "here"}, pinned=("L1.mlp_out",)))
    assert noted.circuit["labels"] == {"embed": "here"} and "pinned" not in noted.circuit
    plain = Result(result.experiment, result.grids, result.provenance)
    with pytest.raises(SpecError, match="holds no circuit"):
        annotated(plain, NOTED)


@pytest.mark.parametrize("form", list(CIRCUIT_FILES))
def test_a_circuit_without_a_result_has_every_form_and_no_text_becomes_markup(result, form):
    circuit = api.circuit_of(annotated(result, NOTED))
    text = api.circuit_file(circuit, form, title=HOSTILE[0] + HOSTILE[3], model="tiny")
    if form in ("graphml", "svg"):
        root = ElementTree.fromstring(text.encode("utf-8", "replace"))
        assert not [one for one in root.iter() if one.tag.endswith("script")]
    if form == "graphml":
        assert list(edges_of_graphml(root)) == EDGES
        assert nodes_of_graphml(root)["L0.mlp_out"]["label"] == HOSTILE[1]
    if form == "dot":
        assert list(edges_of_dot(text)) == EDGES
    if form in ("json", "csv"):
        assert import_circuit(text.encode(), GRAPH).circuit.size == len(EDGES)
    with pytest.raises(SpecError, match="unknown form of a circuit 'pdf'"):
        api.circuit_file(circuit, "pdf")


def test_the_drawing_alone_has_its_colours_and_shows_labels_shortened(result):
    circuit = api.circuit_of(annotated(result, Annotations(labels={"embed": "begin" * 12}, pinned=("embed",))))
    root = ElementTree.fromstring(api.circuit_file(circuit, "svg", title="A search", model="tiny"))
    assert "var(" not in "".join(root.itertext())
    (label,) = [one.text for one in root.iter() if one.get("class") == "label"]
    assert label.startswith("beginbegin") and label.endswith("…") and len(label) < 20
    titles = [one.text for one in root.iter() if one.tag.endswith("title")]
    assert titles[0] == "A search · tiny · eap (5 edges)" and f"embed: {'begin' * 12} · pinned" in titles


CHOSEN = st.lists(st.sampled_from(list(GRAPH.edges)), min_size=1, max_size=20, unique=True)
SCORES = st.floats(-1e6, 1e6, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-30)


@settings(max_examples=20, deadline=None)
@given(CHOSEN, SCORES, st.text(max_size=20))
def test_any_circuit_reads_back_from_every_form(chosen, score, words):
    edges = [(*edge, score) for edge in chosen]
    result = result_of(edges, [words])
    assert list(edges_of_graphml(graphml(result))) == edges
    assert list(edges_of_dot(export(result, "dot").data.decode())) == edges
    circuit = api.circuit_of(result)
    listed = import_circuit(edge_list(circuit).encode(), GRAPH).circuit
    assert {(*edge.key, edge.score) for edge in listed.edges} == set(edges)
    again = import_circuit(export(result, "json").data, GRAPH).circuit
    assert again == circuit


def test_results_without_a_circuit_have_no_such_form(result):
    plain = Result(result.experiment, result.grids, result.provenance)
    assert "dot" in forms_of(result) and "dot" not in forms_of(plain)
    with pytest.raises(SpecError, match="dot is a form of circuits"):
        export(plain, "dot")


def test_the_graph_stands_in_layers_and_shows_sign_strength_and_channel():
    circuit = spec_of([("embed", "L1.z[head=0]", "q", 1.0), ("L1.z[head=0]", "L1.mlp_out", "in", -4.0),
                       ("L1.mlp_out", "logits", "in", 4.0), ("L1.z[head=0]", "logits", "in", 4.0)])  # fmt: skip
    places = layout(circuit["nodes"])
    heights = [places[node].y for node in ("embed", "L1.z[head=0]", "L1.mlp_out", "logits")]
    assert heights == sorted(set(heights)) and places["L1.z[head=0]"].short == "1.0"
    figure = graph(circuit, title="<b>")
    lines = [trace for trace in figure.data if trace.mode == "lines" and trace.x[0] is not None]
    assert len({trace.line.color for trace in lines}) == 2
    assert {trace.line.dash for trace in lines} == {"dot", "solid"}
    assert max(trace.line.width for trace in lines if trace.line.dash == "dot") < max(t.line.width for t in lines)
    (middles,) = [trace for trace in figure.data if trace.name == "edges"]
    assert list(middles.text) == ["q", "in", "in", "in"] and "&lt;b&gt;" in figure.layout.title.text


def test_of_more_edges_than_can_be_drawn_the_strongest_are_and_the_title_says_so():
    nodes = [f"L{layer}.z[head={head}]" for layer in range(12) for head in range(12)]
    pairs = [(s, t) for s in nodes for t in nodes if int(s[1 : s.index(".")]) < int(t[1 : t.index(".")])]
    edges = [{"source": s, "target": t, "channel": "v", "score": float(n)} for n, (s, t) in enumerate(pairs)]
    figure = graph({"nodes": nodes, "edges": edges})
    (middles,) = [trace for trace in figure.data if trace.name == "edges"]
    assert len(middles.x) == MOST_EDGES and len(pairs) > MOST_EDGES
    assert "the 2000 strongest of 9504 edges" in figure.layout.title.text.replace("\u2009", "")
    assert len(figure.data) < 60


def test_c39_c44_the_report_is_one_offline_page_and_no_text_becomes_markup(result):
    page = export(result, "html").data.decode("utf-8", "replace")
    assert "<script>alert" not in page.split("</head>")[1]
    assert "figure-of-the-circuit" in page and "5 edges" in page and "What is meant" in page
    assert "<td>L0.z[head=1]</td><td>L0.mlp_out</td><td>in</td>" in page
    body = page.split("</head>")[1]
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?https?:", body)


def test_scores_and_edges_of_two_circuits_are_compared_by_name():
    one = spec_of([("embed", "L0.mlp_out", "in", 0.5), ("L0.mlp_out", "logits", "in", 0.25)])
    near = spec_of([("L0.mlp_out", "logits", "in", 0.26), ("embed", "L0.mlp_out", "in", 0.5)])
    assert circuit_difference(one, one) == 0 and circuit_difference(one, near) == pytest.approx(0.01)
    other = spec_of([("embed", "L0.mlp_out", "in", 0.5), ("embed", "logits", "in", 0.26)])
    # 0.25 lies 0.01 below the weakest edge of the other circuit, 0.26 lies 0.01 above that of the first.
    assert circuit_difference(one, other) == pytest.approx(0.01)
    assert circuit_difference(one, None) == float("inf")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A tiny model on disk, opened, and what a search and an evaluation find on it."""
    folder = tmp_path_factory.mktemp("llama")
    build("llama").save_pretrained(folder)
    model = api.open_model(str(folder), device="cpu")
    clean = {"prompts": [{"ids": [5, 9, 12, 40]}], "answers": [{"id": 3}], "foils": [{"id": 4}]}
    inputs = {"clean": clean, "corrupt": {"prompts": [{"ids": [5, 8, 12, 40]}]}}
    asked = {"model": str(folder), "inputs": inputs}
    search = {**asked, "analysis": "circuit_search", "params": {"method": "eap", "size": 12}}
    found = api.run(Experiment.model_validate(search), model)
    params = {"circuit": found.circuit, "controls": 2, "sizes": [0.1, 0.5, 1.0], "minimality": True, "heads": 3}
    judged = api.run(Experiment.model_validate({**asked, "analysis": "circuit_evaluation", "params": params}), model)
    return model, found, judged


def test_scripts_compute_a_circuit_again_and_fail_for_another(searched, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    _, found, _ = searched
    exec(compile(export(found, "script").data, "replay.py", "exec"), {})
    assert f"circuit: {found.circuit['size']} edges, largest difference 0" in capsys.readouterr().out
    edges = [{**edge, "score": edge["score"] + 0.01} for edge in found.circuit["edges"]]
    off = Result(found.experiment, found.grids, found.provenance, {**found.circuit, "edges": edges})
    with pytest.raises(AssertionError, match=r"circuit: 0\.01"):
        exec(compile(export(off, "script").data, "replay.py", "exec"), {})
    assert compare(off, found).differences["circuit"] == pytest.approx(0.01)


def test_a_bundle_holds_the_circuit_in_every_form(searched, monkeypatch):
    monkeypatch.setattr("workbench.export.bundle.images", lambda drawn, form: [b"<svg/>" for _ in drawn])
    for result in searched[1:]:
        with zipfile.ZipFile(io.BytesIO(export(result, "bundle").data)) as archive:
            held = {
                Path(name).relative_to(Path(name).parts[0]).as_posix(): archive.read(name)
                for name in archive.namelist()
            }
        forms = {
            "circuit.json",
            "circuit.csv",
            "circuit.graphml",
            "circuit.dot",
            "figures/circuit.html",
            "figures/circuit.svg",
        }
        assert forms | {"report.html", "replay.py"} <= set(held) and b"circuit.json" in held["README.txt"]
        assert json.loads(held["circuit.json"]) == result.circuit


def test_an_evaluation_shows_its_curve_beside_the_random_band(searched):
    page = export(searched[2], "html").data.decode()
    assert "share of edges kept" in page and "random circuits" in page and "figure-of-the-circuit" in page


def test_the_report_of_an_evaluation_tells_of_its_nodes_and_heads_without_a_library(searched):
    result = searched[2]
    page = export(result, "html").data.decode()
    assert len(page) < 200_000 and "Plotly" not in page
    for name in ("Minimality", "In short", "The strongest heads", "Find an edge", result.id):
        assert name in page
    strongest = result.grid("head_strength").coords["node"]
    named = re.findall(r"<h3>Head (\d+)\.(\d+)", page)
    assert [f"L{layer}.z[head={head}]" for layer, head in named] == list(strongest) and strongest
    assert page.count('class="attention"') == len(strongest)
    assert page.count("direct effect +") + page.count("direct effect −") == len(strongest)
    nodes = {place: node for place, node in enumerate(result.circuit["nodes"])}
    drawn = {(nodes[int(s)], nodes[int(t)]) for s, t in re.findall(r'data-s="(\d+)" data-t="(\d+)"', page)}
    assert drawn == {(edge["source"], edge["target"]) for edge in result.circuit["edges"]}


def test_tokens_that_a_head_pushes_are_text_in_the_report(searched):
    result = searched[2]
    grids = dict(result.grids)
    old = grids["head_promotes"]
    tokens = tuple(HOSTILE[0] for _ in old.coords["token"])
    grids["head_promotes"] = replace(old, coords={**old.coords, "token": tokens})
    page = export(Result(result.experiment, grids, result.provenance, result.circuit), "html").data.decode()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_a_checkpoint_has_the_nodes_of_the_circuit_alone_and_says_that_it_is_no_edge_level_circuit(searched, tmp_path):
    model, found, _ = searched
    saved = api.save_checkpoint(found, tmp_path / "out", model)
    assert "not those of the edge-level circuit" in saved.how
    plain, ids = build("llama"), torch.tensor([[5, 9, 12, 40]])
    used = {end for edge in found.circuit["edges"] for end in (edge["source"], edge["target"])}
    with torch.no_grad():
        for number, layer in enumerate(plain.model.layers):
            for head in range(4):
                if f"L{number}.z[head={head}]" not in used:
                    layer.self_attn.o_proj.weight[:, 8 * head : 8 * head + 8] = 0
            if f"L{number}.mlp_out" not in used:
                layer.mlp.down_proj.weight.zero_()
        expected = plain(input_ids=ids, use_cache=False).logits
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
        assert torch.allclose(again(input_ids=ids, use_cache=False).logits, expected, atol=1e-5)


def test_the_command_line_imports_and_shows_circuits(searched, tmp_path, capsys, monkeypatch):
    _, found, _ = searched
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    file, out = tmp_path / "edges.json", tmp_path / "circuit.json"
    file.write_text('{"input->a0.h1<v>": 1.0, "a0.h1->logits": 2.0}')
    name = str(found.experiment.model)
    assert run_cli(["circuit", "import", str(file), "--model", name, "--out", str(out)]) == 0
    assert {edge["target"] for edge in json.loads(out.read_text())["edges"]} == {"L0.z[head=1]", "logits"}
    file.write_text('{"input->a0.h7<v>": 1.0}')
    assert run_cli(["circuit", "import", str(file), "--model", name]) == 2
    api.save_result(found, tmp_path / "result")
    capsys.readouterr()
    assert run_cli(["circuit", "show", str(tmp_path / "result"), "--top", "1"]) == 0
    printed = capsys.readouterr().out
    best = max(found.circuit["edges"], key=lambda edge: abs(edge["score"]))
    assert f"{best['score']:+.4g}" in printed and printed.count("logits") >= 1
    assert run_cli(["circuit", "import", str(tmp_path / "none.json"), "--model", name]) == 2


def test_the_command_line_exports_a_result_with_the_labels_of_a_file(searched, tmp_path, capsys, monkeypatch):
    _, _, judged = searched
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    api.save_result(judged, tmp_path / "result")
    notes, out = tmp_path / "notes.json", tmp_path / "circuit.graphml"
    nodes = [{"source": "embed", "target": "L9.mlp_out", "channel": "in"}]
    spec = {"nodes": ["embed", "L9.mlp_out"], "edges": nodes, "size": 1, "method": "by hand"}
    notes.write_text(json.dumps({**spec, "labels": {"embed": HOSTILE[0], "L9.mlp_out": "far"}}))
    asked = ["export", str(tmp_path / "result"), "--as", "graphml", "--out", str(out), "--labels", str(notes)]
    assert run_cli(asked) == 0
    assert "lacks their nodes: 1" in capsys.readouterr().err
    said = nodes_of_graphml(ElementTree.fromstring(out.read_bytes()))
    assert {node: values["label"] for node, values in said.items() if "label" in values} == {"embed": HOSTILE[0]}
    assert out.read_bytes() == export(api.annotate(judged, notes), "graphml").data
    for text, why in (
        (json.dumps(spec), "no labels, groups or pins"),
        ('["m0->a2.h3<v>"]', "no circuit in our JSON"),
        (json.dumps({**spec, "pinned": ["L8.mlp_out"]}), "L8.mlp_out is labelled, grouped or pinned"),
    ):
        notes.write_text(text)
        assert run_cli(asked) == 2 and why in capsys.readouterr().err


def test_the_command_line_draws_a_circuit_of_a_file(searched, tmp_path, monkeypatch):
    _, found, _ = searched
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    file, out = tmp_path / "circuit.json", tmp_path / "circuit.svg"
    file.write_text(json.dumps({**found.circuit, "labels": {"embed": "start"}}))
    asked = ["circuit", "import", str(file), "--model", str(found.experiment.model)]
    assert run_cli([*asked, "--as", "svg", "--out", str(out)]) == 0
    assert "start" in "".join(ElementTree.fromstring(out.read_bytes()).itertext())
    assert run_cli([*asked, "--out", str(out)]) == 0
    assert json.loads(out.read_text())["labels"] == {"embed": "start"}
    assert run_cli([*asked, "--as", "pdf"]) == 2
