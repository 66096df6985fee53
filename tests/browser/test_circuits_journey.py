"""The third journey: find a circuit, change its size, open a head, cut an edge, undo, export, replay elsewhere."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Page, expect

from workbench.cli import run as run_cli
from workbench.settings import Settings
from workbench.workspace import Workspace

pytestmark = pytest.mark.browser

NUMBER = re.compile(r"^−?\d")
KNOWN = "#cir-value[data-state=done]"


def query(page: Page, name: str) -> str:
    return parse_qs(urlsplit(page.url).query).get(name, [""])[0]


def draft(page: Page) -> dict[str, object]:
    text = query(page, "draft")
    return json.loads(text) if text else {}


def number_of(page: Page, edges: int | None = None) -> str:
    """The number that is shown of a circuit; of a given size, where one is given."""
    if edges is not None:
        expect(page.locator("#cir-size")).to_contain_text(re.compile(rf"^{edges} of 110 edges"))
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


def test_a_circuit_is_found_resized_cut_undone_and_exported_and_its_bundle_replays(
    page: Page, app_url: str, workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page.goto(f"{app_url}/circuits?{urlencode({'model': 'toy', 'task': 'ioi', 'n': 4})}")
    expect(page.locator("#cir-empty")).to_be_visible(timeout=120_000)
    expect(page.locator("#cir-sentence")).to_contain_text("Score every edge of the residual graph")
    find = page.locator("#cir-run")
    expect(find).to_have_text("Find circuit")
    find.click()

    # The number of the circuit as it was found, then of a smaller one; each belongs to the circuit that is shown.
    expect(page.locator("#cir-graph canvas")).to_be_visible()
    found = number_of(page)
    size = page.locator("#cir-curve")
    expect(size).to_have_attribute("aria-valuemax", "110")
    size.focus()
    page.keyboard.press("PageDown")
    page.wait_for_url(lambda url: "size" in url)
    expect(page.locator(KNOWN)).not_to_have_text(found)
    smaller = number_of(page)
    assert float(smaller.replace("−", "-")) < float(found.replace("−", "-"))

    # A head, its attention, what can be done to it; one of its edges is cut.
    page.locator(".cir-nodes [data-cir-pick^='L1.z']").first.click()
    page.wait_for_url(lambda url: "pick" in url)
    expect(page.locator("#cir-details h3")).to_contain_text("Head 1.")
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
    expect(page.locator("#cev-place .abl-tiles")).to_contain_text("CMD", timeout=120_000)
    expect(page.locator("#cev-place .abl-tile").first).to_contain_text(smaller)
    expect(page.locator("#cir-curve .cir-line")).to_be_attached()

    report, bundle = (download(page, form, tmp_path) for form in ("html", "bundle"))
    assert "circuit" in report.read_text("utf-8").lower()
    with zipfile.ZipFile(bundle) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith("/experiment.json"))
        held = json.loads(packed.read(name))
    assert len(held["params"]["circuit"]["edges"]) == int(before.split()[0])

    # The bundle agrees on a machine that has nothing but the model.
    elsewhere = Settings.load(workspace_dir=tmp_path / "elsewhere", device="cpu")
    assert run_cli(["replay", str(bundle), "--workspace", str(elsewhere.workspace_dir)]) == 0
    assert "faithfulness" in capsys.readouterr().out
