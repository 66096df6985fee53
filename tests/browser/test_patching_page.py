"""Patch in a browser: the map fills, a cell becomes a patch in the tray, cancel and run again, two visitors apart."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser

NUMBER = re.compile(r"\d")


def address(url: str, path: str = "/patching", **state: str | int) -> str:
    return f"{url}{path}?{urlencode({'model': 'toy', **state})}"


def query(page: Page, name: str) -> str:
    return parse_qs(urlsplit(page.url).query).get(name, [""])[0]


def ready(page: Page) -> None:
    expect(page.locator("#pat-map .abl-cell").first).to_be_visible(timeout=120_000)
    expect(page.locator("#pat-run")).to_be_enabled()


def test_a_map_fills_and_its_strongest_cell_becomes_a_patch_in_the_tray(page: Page, app_url: str) -> None:
    page.goto(address(app_url, "/attention", layer=1, head=2))
    expect(page.locator("#attn-map .heatmaplayer image")).to_be_visible(timeout=120_000)
    page.keyboard.press("p")
    expect(page.locator("#pat-sentence")).to_contain_text("Patch the clean head outputs")
    page.goto(address(app_url))
    ready(page)
    expect(page.locator("#pat-sentence")).to_contain_text("Patch the clean residual stream")
    differing = page.locator(".pat-differs .pat-token")
    expect(differing).to_have_text(["·John", "·Mary"])
    expect(page.locator("#pat-forecast")).to_contain_text("about")

    page.locator("#pat-run").click()
    expect(page.locator("#pat-metric-clean")).to_have_text(NUMBER)
    expect(page.locator("#pat-map .abl-missing")).to_have_count(0)
    first = page.locator("#pat-strongest .abl-item").first
    edit = first.get_attribute("data-abl-toggle") or ""
    assert edit.startswith("patch:L")
    cell = page.locator(f"#pat-map [data-abl-toggle='{edit}']")
    cell.hover()
    expect(page.locator("#pat-place .abl-readout")).to_contain_text(NUMBER)
    cell.click()
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).query).get("edits") == [edit])
    expect(first).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#tray-list")).to_contain_text("patch")
    page.keyboard.press("u")
    page.wait_for_url(lambda url: "edits" not in parse_qs(urlsplit(url).query))
    # Drawing the controls and the maps has put nothing into the address.
    assert set(parse_qs(urlsplit(page.url).query)) == {"model"}

    # What the controls say is in the address, so the link shows the same elsewhere.
    page.get_by_text("Noising", exact=True).click()
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).query).get("direction") == ["noising"])
    expect(page.locator("#pat-sentence")).to_contain_text("noising")
    page.reload()
    ready(page)
    expect(page.locator("#pat-sentence")).to_contain_text("noising")


def test_a_pair_of_different_lengths_is_refused_in_words_and_mended_in_place(page: Page, app_url: str) -> None:
    page.goto(address(app_url, corrupt="When Mary and John went"))
    expect(page.locator("#pat-lengths")).to_contain_text("The clean prompt has 14 tokens, the corrupt one 5")
    expect(page.locator("#pat-run")).to_be_disabled()
    page.locator("#pat-corrupt").fill("When Mary and John went to the store, Mary gave a drink to")
    page.locator("#pat-use").click()
    expect(page.locator("#pat-lengths")).to_have_count(0)
    expect(page.locator("#pat-map .abl-cell").first).to_be_visible()


def test_a_running_map_can_be_cancelled_and_taken_up_again(page: Page, app_url: str) -> None:
    # Thirty thousand runs: long enough to be cancelled on any machine.
    page.goto(address(app_url, method="causal_tracing", draws=1000))
    ready(page)
    page.locator("#pat-run").click()
    page.locator("#pat-cancel").click()
    expect(page.locator("#pat-place")).to_contain_text("Cancelled", timeout=20_000)
    run = page.locator("#pat-run")
    expect(run).to_have_text("Resume")
    run.click()
    expect(page.locator("#pat-cancel")).to_be_visible()
    page.locator("#pat-cancel").click()
    expect(run).to_have_text("Resume")


def test_two_visitors_with_different_edits_never_see_each_other_s_numbers(
    page: Page, browser: Browser, app_url: str
) -> None:
    other_context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    other = other_context.new_page()
    shown = {}
    for one, edits in ((page, "zero:L1.z[head=2]"), (other, "zero:L0.mlp_out")):
        one.goto(address(app_url, "/ablation", edits=edits))
    for one in (page, other, page):
        expect(one.locator("#abl-effect")).to_have_text(NUMBER, timeout=120_000)
        seen = one.locator("#abl-effect").inner_text()
        assert shown.setdefault(one, seen) == seen
    assert shown[page] != shown[other]
    expect(page.locator("#abl-sentence")).to_contain_text("head 1.2")
    expect(other.locator("#abl-sentence")).to_contain_text("MLP 0")
    # Neither does the map of one appear with the other's method.
    page.goto(address(app_url, at="mlp_out"))
    other.goto(address(app_url, at="attn_out"))
    ready(page)
    ready(other)
    page.locator("#pat-run").click()
    expect(page.locator("#pat-metric-clean")).to_have_text(NUMBER)
    expect(other.locator("#pat-metric-clean")).to_have_count(0)
    expect(other.locator("#pat-run")).to_be_enabled()
    other_context.close()
