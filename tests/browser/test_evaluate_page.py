"""Evaluate in a browser: pasted pairs become scores before and after the edits of the tray."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

PAIRS = [
    {"sentence_good": "Mary went to the store", "sentence_bad": "Mary went to store the"},
    {"sentence_good": "John gave a drink to Mary", "sentence_bad": "John gave drink a to Mary"},
    {"sentence_good": "Mary and John went to the store", "sentence_bad": "and Mary John went to the store"},
]


def test_pasted_pairs_are_scored_before_and_after_the_edits(page: Page, app_url: str) -> None:
    page.goto(f"{app_url}/evaluate?{urlencode({'model': 'toy', 'edits': 'zero:L0.mlp_out'})}")
    expect(page.locator("#eva-empty")).to_be_visible(timeout=120_000)
    expect(page.locator("#eva-edits")).to_contain_text("MLP 0")
    page.locator("#eva-paste").fill('{"a": 1}')
    page.locator("#eva-read").click()
    expect(page.locator("#eva-note")).to_contain_text("no format has")

    page.locator("#eva-paste").fill("\n".join(map(json.dumps, PAIRS)))
    page.locator("#eva-read").click()
    page.wait_for_url(lambda url: "items" in parse_qs(urlsplit(url).query))
    expect(page.locator("#eva-facts")).to_contain_text("3 minimal pairs, format BLiMP")
    expect(page.locator("#eva-sentence")).to_contain_text("before and after")
    page.locator("#eva-run").click()
    expect(page.locator("#eva-accuracy")).to_have_text(re.compile(r"\d.* → .*\d"))
    expect(page.locator("#eva-items .ag-center-cols-container .ag-row")).to_have_count(3)
    expect(page.locator("#eva-items-about")).to_contain_text("largest change first")
    expect(page.locator("#eva-scores-panel .exp-menu")).to_be_visible()

    # Without the edits the same items are scored alone, and nothing of the edited run stays on the page.
    page.locator("#tray-clear").click()
    expect(page.locator("#eva-edits")).to_contain_text("None")
    expect(page.locator("#eva-accuracy")).to_have_count(0)

    # A text is read in the windows that the page says.
    page.locator("#eva-paste").fill(" ".join(pair["sentence_good"] for pair in PAIRS))
    page.locator("#eva-read").click()
    expect(page.locator("#eva-facts")).to_contain_text("1 text,")
    page.get_by_label("Window (tokens)").fill("8")
    page.wait_for_url("**text_window=8**")
    page.locator("#eva-run").click()
    expect(page.locator("#eva-perplexity")).to_have_text(re.compile(r"\d"))
