"""Circuits from files: one starts the editor, another is compared with it, and what was edited is written as files."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

NUMBER = re.compile(r"^−?\d")
LABEL = "looks <i>back</i>"
HEAD, OTHER = "L0.z[head=1]", "L1.z[head=2]"
OURS = [("embed", HEAD, "v"), (HEAD, OTHER, "k"), ("embed", OTHER, "v"), (OTHER, "logits", "in")]
THEIRS = [("embed", HEAD, "v"), (HEAD, "logits", "in"), (HEAD, OTHER, "k"), (OTHER, "logits", "in")]


def as_json(folder: Path) -> Path:
    edges = [dict(zip(("source", "target", "channel"), edge, strict=True), score=0.5) for edge in OURS]
    circuit = {"nodes": ["embed", HEAD, OTHER, "logits"], "edges": edges, "size": len(edges), "method": "by hand",
               "labels": {HEAD: LABEL}}  # fmt: skip
    path = folder / "ours.json"
    path.write_text(json.dumps(circuit), "utf-8")
    return path


def as_csv(folder: Path) -> Path:
    out = io.StringIO()
    csv.writer(out).writerows([("source", "target", "channel"), *THEIRS])
    path = folder / "theirs.csv"
    path.write_text(out.getvalue(), "utf-8")
    return path


def download(page: Page, form: str, folder: Path) -> str:
    with page.expect_download() as waited:
        page.locator(f"[data-cir-act=save-{form}]").click()
    path = folder / waited.value.suggested_filename
    waited.value.save_as(path)
    return path.read_text("utf-8")


def tiles(page: Page) -> dict[str, Any]:
    found = page.locator("#cir-compared .abl-tile")
    return {tile.locator("h4").inner_text(): tile.locator(".pat-value").inner_text() for tile in found.all()}


def test_a_circuit_of_a_file_is_edited_compared_with_another_and_written_as_files(
    page: Page, app_url: str, tmp_path: Path
) -> None:
    page.goto(f"{app_url}/circuits?{urlencode({'model': 'toy', 'task': 'ioi', 'n': 5})}")
    expect(page.locator("#cir-empty")).to_be_visible(timeout=120_000)
    broken = tmp_path / "broken.json"
    broken.write_text('{"edges": [["no", "edges"]]}', "utf-8")
    page.locator("#cir-search-panel details summary").click()
    page.locator("#cir-upload input").set_input_files(broken)
    expect(page.locator("#cir-note")).to_contain_text("names no node")
    expect(page.locator("#cir-empty")).to_be_visible()

    # The circuit of the file, with what was written beside its head, and its number.
    page.locator("#cir-upload input").set_input_files(as_json(tmp_path))
    expect(page.locator("#cir-size")).to_contain_text("4 of 110 edges")
    expect(page.locator("#cir-given")).to_contain_text("ours.json")
    expect(page.locator("#cir-value[data-state=done]")).to_have_text(NUMBER)
    page.locator(f"#cir-lists [data-cir-pick='{HEAD}']").click()
    expect(page.locator("#cir-details h3")).to_contain_text(LABEL)

    # Compared with another one: 3 edges in both, 1 in each alone, 3 of 5 shared.
    page.locator("#cir-other-upload input").set_input_files(as_csv(tmp_path))
    expect(page.locator("#cir-compared .abl-tile")).to_have_count(4)
    *counts, overlap = tiles(page).values()
    assert counts == ["3 edges", "1 edge", "1 edge"]
    assert overlap.startswith("0.600 ")
    expect(page.locator("#cir-compared li")).to_have_text(["embedding → head 1.2, as value", "head 0.1 → logits"])

    # An edge goes; every file holds what is left, and the link gives the same in another window.
    page.locator(f"#cir-lists [data-cir-pick='embed>{OTHER}>v']").first.click()
    page.locator("#cir-details [data-cir-op*='\"cut\"']").first.click()
    expect(page.locator("#cir-size")).to_contain_text("3 of 110 edges")
    left = {edge for edge in OURS if edge[:2] != ("embed", OTHER)}
    held = json.loads(download(page, "json", tmp_path))
    assert {(edge["source"], edge["target"], edge["channel"]) for edge in held["edges"]} == left
    assert held["labels"] == {HEAD: LABEL}
    rows = list(csv.DictReader(io.StringIO(download(page, "csv", tmp_path))))
    assert {(row["source"], row["target"], row["channel"]) for row in rows} == left
    graphml = ElementTree.fromstring(download(page, "graphml", tmp_path))
    assert len(graphml.findall(".//{*}edge")) == 3
    assert LABEL in [data.text for data in graphml.iter("{http://graphml.graphdrawing.org/xmlns}data")]
    assert download(page, "dot", tmp_path).count("->") == 3
    for form in ("svg", "layers"):
        assert ElementTree.fromstring(download(page, form, tmp_path)).tag.endswith("svg")
    value = page.locator("#cir-value").inner_text()
    page.reload()
    expect(page.locator("#cir-size")).to_contain_text("3 of 110 edges")
    expect(page.locator("#cir-value[data-state=done]")).to_have_text(value)
    expect(page.locator("#cir-compared .abl-tile")).to_have_count(4)
