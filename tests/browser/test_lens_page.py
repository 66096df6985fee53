"""Lens in a browser: from the next token to its layers, cells by pointer and key, an edit beside the clean run."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_from_the_next_token_through_the_layers_to_an_edit_of_one_stream(page: Page, app_url: str) -> None:
    page.goto(f"{app_url}/prompt?{urlencode({'model': 'toy'})}")
    page.locator("#prompt-lens").click()
    clean, edited = page.locator("#lens-map .abl-cell"), page.locator("#lens-edited-map .abl-cell")
    # Two layers and the model's own answer, over the 14 tokens of the prompt.
    expect(clean).to_have_count(3 * 14)
    expect(clean.last).to_have_text("·Mary")
    expect(clean.last).to_have_attribute("aria-current", "true")
    expect(page.locator("#lens-place .lens-cell")).to_contain_text("The model’s own output")
    expect(page.locator("#direct-total")).to_have_text(re.compile(r"^\+\d"))

    cell = page.locator('#lens-map .abl-cell[data-row="0"][data-col="9"]')
    cell.click()
    expect(page.locator("#lens-place .lens-cell h3")).to_have_text("Before layer 0, “·John” at 9")
    expect(cell).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#lens-place .lens-cell h3")).to_have_text("Before layer 1, “·John” at 9")
    assert query(page.url) == {"model": "toy", "lens_layer": "1", "position": "9"}

    page.keyboard.press("a")
    page.wait_for_url(lambda url: query(url).get("edits") == "zero:L1.resid_pre[pos=9]")
    expect(edited).to_have_count(3 * 14)
    expect(page.locator("#lens-edited-panel .wb-edited-word")).to_be_visible()
    expect(page.locator("#lens-place .lens-edit").first).to_have_attribute("aria-pressed", "true")
    page.get_by_role("switch", name="Show edited − clean").check()
    expect(page.locator("#lens-edited-map")).to_have_attribute("aria-label", re.compile("edited − clean$"))
    # Before the edit every token is what it was; a difference names only those that are others.
    expect(page.locator('#lens-edited-map .abl-cell[data-row="0"][data-col="9"]')).to_have_text("")

    page.locator("#direct-strongest .abl-item").first.click()
    page.wait_for_url(lambda url: ";zero:L" in query(url).get("edits", ""))
    expect(page.locator("#direct-edited-total")).to_be_visible()
    page.reload()
    expect(page.locator("#lens-edited-map")).to_have_attribute("aria-label", re.compile("edited − clean$"))
    page.keyboard.press("p")
    page.wait_for_url(lambda url: urlsplit(url).path == "/patching" and query(url).get("at") == "resid_pre")
