"""The Results page in a browser: filter, open, compare, note, delete with undo, files."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from hooks.spec import digest
from workbench.parts.ablation_request import effect_experiment, selection
from workbench.requests import ExperimentRequest
from workbench.settings import Settings
from workbench.urls import State
from workbench.workspace import Workspace

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def two(workspace: Workspace) -> list[str]:
    """Two ablations in the workspace: their ids."""
    ids = []
    for head in (0, 3):
        state = State(model="toy", edits=f"zero:L1.z[head={head}]", metric="logit_diff")
        experiment = effect_experiment(state, selection(state))
        assert workspace.wait(workspace.submit(ExperimentRequest(experiment=experiment)).id).state == "done"
        ids.append(experiment.id)
    return ids


def opened(page: Page, url: str, **state: str) -> None:
    page.set_default_timeout(60_000)
    page.goto(f"{url}/results?{urlencode({'model': 'toy', **state})}")


def test_a_filter_narrows_the_cards_and_stays_in_the_link(page: Page, app_url: str, two: list[str]) -> None:
    opened(page, app_url)
    expect(page.locator(f"#res-card-{two[0]}")).to_be_visible()
    page.get_by_label("Filter the results").fill("head 1.3 zero")
    expect(page.locator(f"#res-card-{two[0]}")).to_have_count(0)
    expect(page.locator(f"#res-card-{two[1]}")).to_be_visible()
    page.reload()
    expect(page.locator(f"#res-card-{two[1]}")).to_be_visible()
    expect(page.locator(f"#res-card-{two[0]}")).to_have_count(0)


def test_an_open_result_draws_its_grids_and_goes_back_to_its_page(page: Page, app_url: str, two: list[str]) -> None:
    opened(page, app_url)
    page.locator(f"#res-card-{two[0]}").get_by_role("link", name="Open", exact=True).click()
    expect(page.locator("#res-grid-pattern_shift .heatmaplayer image")).to_be_visible()
    expect(page.locator("#res-made-of")).to_contain_text(two[0])
    menu = page.locator("#res-open .exp-menu")
    menu.locator("summary").click()
    menu.get_by_role("button", name="Pruned model").click()
    expect(menu.locator(".exp-say")).to_contain_text("parameters; logits differ from the edited run’s by at most")
    expect(menu.locator(".exp-say code")).to_contain_text(two[0])
    expect(menu.get_by_role("link", name="Open it")).to_have_attribute("href", re.compile("model=.*ablation-"))
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Open on Ablate").click()
    expect(page.locator("#abl-numbers .abl-save")).to_have_attribute("data-result", two[0])


def test_two_results_stand_beside_each_other(page: Page, app_url: str, two: list[str]) -> None:
    opened(page, app_url)
    page.locator(f"#res-card-{two[1]}").get_by_role("link", name="Compare", exact=True).click()
    page.locator(f"#res-card-{two[0]}").get_by_role("link", name="Compare with this").click()
    expect(page.locator("#res-compare")).to_contain_text("Zero head 1.0")
    expect(page.locator("#res-compare")).to_contain_text("Zero head 1.3")
    expect(page.locator("#res-compare-numbers thead")).to_contain_text("B \u2212 A")
    expect(page.locator("#res-both-pattern_shift .js-plotly-plot")).to_have_count(3)
    page.go_back()
    expect(page.locator(f"#res-card-{two[0]}").get_by_role("link", name="Compare with this")).to_be_visible()


def test_a_note_is_kept(page: Page, app_url: str, two: list[str]) -> None:
    opened(page, app_url, find="head 1.0")
    note = page.locator(f"#res-card-{two[0]}").get_by_label("Note")
    note.fill("<b>odd</b>")
    note.press("Enter")
    expect(page.locator(f"#res-card-{two[0]} .res-said")).to_have_text("saved")
    page.reload()
    expect(page.locator(f"#res-card-{two[0]}").get_by_label("Note")).to_have_value("<b>odd</b>")


def test_a_deleted_result_can_be_brought_back(page: Page, app_url: str, two: list[str]) -> None:
    opened(page, app_url)
    page.locator(f"#res-card-{two[0]}").get_by_role("button", name="Delete this result").click()
    expect(page.locator(f"#res-card-{two[0]}")).to_have_count(0)
    expect(page.locator("#res-deleted")).to_contain_text("Deleted: Zero head 1.0")
    page.locator("#res-deleted").get_by_role("button", name="Undo").click()
    expect(page.locator(f"#res-card-{two[0]}")).to_be_visible()
    expect(page.locator("#res-deleted")).to_be_empty()


def test_a_bundle_downloads_whole(page: Page, app_url: str, two: list[str]) -> None:
    opened(page, app_url)
    menu = page.locator(f"#res-card-{two[0]} .exp-menu")
    menu.locator("summary").click()
    # Its figures are drawn by a browser of their own, which takes a while to start.
    with page.expect_download(timeout=240_000) as waiting:
        menu.get_by_role("button", name=re.compile("^Bundle")).click()
    with zipfile.ZipFile(Path(waiting.value.path())) as bundle:
        assert bundle.testzip() is None
        assert any(name.endswith("result.json") for name in bundle.namelist())
    expect(menu.locator(".exp-say")).to_contain_text("is in your downloads")


def test_a_failed_export_is_said_beside_its_button(browser: Browser, app_url: str, two: list[str]) -> None:
    # A page of its own: the browser itself logs the failed answer as an error.
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    opened(page, app_url)
    menu = page.locator(f"#res-card-{two[1]} .exp-menu")
    refusal = {"message": "the disk is full.", "hint": "Make room."}
    page.route("**/export/**", lambda route: route.fulfill(status=500, json=refusal))
    menu.locator("summary").click()
    menu.get_by_role("button", name="JSON", exact=True).click()
    expect(menu.locator(".exp-say")).to_have_text("The disk is full. Make room.")
    context.close()


def test_a_result_that_is_not_there_says_so(page: Page, app_url: str, two: list[str]) -> None:
    opened(page, app_url, open=digest("nothing"))
    expect(page.locator("#res-missing")).to_contain_text("not in the workspace")


def test_an_empty_workspace_leads_to_the_first_ablation(page: Page, serve: Callable[..., str], tmp_path: Path) -> None:
    empty = Workspace.open(Settings.load(workspace_dir=tmp_path, device="cpu"), engine="inline")
    try:
        opened(page, serve(empty))
        expect(page.locator(".wb-empty")).to_contain_text("No results yet")
        page.get_by_role("link", name="Ablate a head").click()
        page.wait_for_url("**/ablation**")
        # At rest before its workspace is closed under it.
        expect(page.locator("#abl-picker .abl-cell").first).to_be_visible()
        expect(page.locator("#job-bar .wb-job")).to_have_count(0)
    finally:
        empty.close()
