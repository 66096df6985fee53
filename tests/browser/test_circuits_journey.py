"""The third journey: find a circuit, change its size, open a head, cut an edge, undo, export, replay elsewhere."""

from __future__ import annotations

import html
import json
import os
import re
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from workbench.cli import run as run_cli

pytestmark = pytest.mark.browser

NUMBER = re.compile(r"^−?\d")
# Minutes on two cores, so only when asked for: WORKBENCH_LONG=1.
LONG = pytest.mark.skipif(not os.environ.get("WORKBENCH_LONG"), reason="takes minutes; WORKBENCH_LONG=1 runs it")
PATIENCE = 600_000
LABEL = "moves <b>names</b>"
KNOWN = "#cir-value[data-state=done]"


def query(page: Page, name: str) -> str:
    return parse_qs(urlsplit(page.url).query).get(name, [""])[0]


def draft(page: Page) -> dict[str, object]:
    text = query(page, "draft")
    return json.loads(text) if text else {}


def number_of(page: Page) -> str:
    """The number that is shown of a circuit."""
    expect(page.locator(KNOWN)).to_have_text(NUMBER)
    return page.locator("#cir-value").inner_text()


def download(page: Page, form: str, folder: Path) -> Path:
    menu = page.locator("#cir-judge-panel .exp-menu")
    if menu.get_attribute("open") is None:
        menu.locator("summary").click()
    # A bundle draws every figure.
    with page.expect_download(timeout=240_000) as waited:
        menu.locator(f"[data-export$='/{form}']").click()
    kept = folder / waited.value.suggested_filename
    waited.value.save_as(kept)
    return kept


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("model", "prompts", "edges"), [("toy", 4, 110), pytest.param("smollm2-135m", 16, 123_211, marks=LONG)]
)
def test_a_circuit_is_found_resized_cut_undone_and_exported_and_its_bundle_replays(
    page: Page, app_url: str, model: str, prompts: int, edges: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page.goto(f"{app_url}/circuits?{urlencode({'model': model, 'task': 'ioi', 'n': prompts})}")
    expect(page.locator("#cir-empty")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#cir-sentence")).to_contain_text("Score every edge of the residual graph")
    find = page.locator("#cir-run")
    expect(find).to_have_text("Find circuit")
    find.click()

    # The number of the circuit as it was found, then of a smaller one; each belongs to the circuit that is shown.
    expect(page.locator("#cir-graph canvas")).to_be_visible(timeout=PATIENCE)
    found = number_of(page)
    size = page.locator("#cir-curve")
    expect(size).to_have_attribute("aria-valuemax", str(edges))
    size.focus()
    page.keyboard.press("PageDown")
    page.wait_for_url(lambda url: "size" in url)
    expect(page.locator(KNOWN)).not_to_have_text(found)
    smaller = number_of(page)
    assert float(smaller.replace("−", "-")) < float(found.replace("−", "-"))

    # A head, its attention, what can be done to it; one of its edges is cut.
    page.locator(".cir-nodes [data-cir-pick*='.z[']").last.click()
    page.wait_for_url(lambda url: "pick" in url)
    expect(page.locator("#cir-details h3")).to_contain_text("Head")
    expect(page.locator("#cat-map .heatmaplayer image")).to_be_visible()
    page.locator("#chd-run").click()
    expect(page.locator("#chd-place")).to_contain_text("Direct effect")
    before = page.locator("#cir-size").inner_text()
    page.locator("#cir-details [data-cir-op*='\"cut\"']").first.click()
    page.wait_for_url(lambda url: "cut" in url)
    expect(page.locator("#cir-size")).not_to_have_text(before)
    expect(page.locator(KNOWN)).not_to_have_text(smaller)
    cut = number_of(page)
    (edge,) = draft(page)["cut"]  # type: ignore[misc]
    assert query(page, "pick") in edge

    # Undo brings the number back, redo the cut; undone again, that circuit is evaluated.
    page.keyboard.press("u")
    page.wait_for_url(lambda url: "cut" not in url)
    expect(page.locator(KNOWN)).to_have_text(smaller)
    page.keyboard.press("Shift+U")
    page.wait_for_url(lambda url: "cut" in url)
    expect(page.locator(KNOWN)).to_have_text(cut)
    evaluate = page.locator("#cev-run")
    expect(evaluate).to_be_enabled()
    page.keyboard.press("u")
    page.wait_for_url(lambda url: "cut" not in url)
    expect(page.locator(KNOWN)).to_have_text(smaller)
    expect(evaluate).to_have_text("Evaluate")
    expect(evaluate).to_be_enabled()
    evaluate.click()
    expect(page.locator("#cev-place .abl-tiles")).to_contain_text("CMD", timeout=PATIENCE)
    expect(page.locator("#cev-place .abl-tile").first).to_contain_text(smaller)
    expect(page.locator("#cir-curve .cir-line")).to_be_attached()

    # What is written beside a head changes no number, and stands in what is exported.
    label = page.locator("#cir-details [data-cir-field=label] input")
    label.fill(LABEL)
    label.press("Enter")
    page.wait_for_url(lambda url: "label" in url)
    expect(page.locator("#cir-details h3")).to_contain_text(LABEL)
    expect(page.locator("#cev-place .abl-tiles")).to_contain_text("CMD")

    report, bundle = (download(page, form, tmp_path) for form in ("html", "bundle"))
    assert html.escape(LABEL) in report.read_text("utf-8")
    with zipfile.ZipFile(bundle) as packed:
        asked, found_there, drawn = (
            json.loads(packed.read(next(name for name in packed.namelist() if name.endswith(f"/{file}"))))
            for file in ("experiment.json", "result.json", "circuit.json")
        )
    assert len(asked["params"]["circuit"]["edges"]) == int(before.split()[0].replace(",", ""))
    assert LABEL in drawn["labels"].values()

    # The command line gives the same, and the bundle agrees, on a machine that has nothing but the model.
    elsewhere = ["--workspace", str(tmp_path / "elsewhere"), "--device", "cpu"]
    experiment = tmp_path / "experiment.json"
    experiment.write_text(json.dumps(asked), "utf-8")
    capsys.readouterr()
    assert run_cli(["run", str(experiment), "--json", *elsewhere]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["id"] == found_there["id"]
    ours, theirs = (
        {grid["name"]: np.array(grid["values"], dtype=float) for grid in result["grids"]}
        for result in (found_there, again)
    )
    for name in ("faithfulness", "faithfulness_circuit", "cpr", "cmd", "random"):
        np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-4, atol=1e-4)
    assert run_cli(["replay", str(bundle), *elsewhere]) == 0
    assert "faithfulness" in capsys.readouterr().out
