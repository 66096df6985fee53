"""Neurons in a browser: from the ranking to one neuron, into the edits, clean beside edited, and to a link."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

NUMBER = re.compile(r"\d")


def query(page: Page, name: str) -> str:
    return parse_qs(urlsplit(page.url).query).get(name, [""])[0]


def test_from_the_ranking_to_a_neuron_that_is_ablated_and_found_again_by_its_link(page: Page, app_url: str) -> None:
    page.goto(f"{app_url}/neurons?{urlencode({'model': 'toy'})}")
    cells = page.locator("#nrn-cells .abl-cell")
    expect(cells).to_have_count(48, timeout=120_000)
    # The strongest of all is open before anything is chosen.
    first = page.locator("#nrn-top [data-neuron]").first
    strongest = first.get_attribute("data-neuron") or ""
    expect(page.locator("#nrn-panel")).to_have_attribute("data-nrn-part", strongest)
    expect(page.locator("#nrn-promoted li")).to_have_count(10)

    # Arrows move over the cells, Enter opens one, a takes it into the edits.
    page.locator('#nrn-cells [data-row="0"][data-col="0"]').focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    focused = page.locator('#nrn-cells [data-row="1"][data-col="1"]')
    expect(focused).to_be_focused()
    part = focused.get_attribute("data-neuron") or ""
    assert part.startswith("L1.mlp_post[unit=")
    page.keyboard.press("Enter")
    expect(page.locator("#nrn-panel")).to_have_attribute("data-nrn-part", part)
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).query).get("neuron") == [part])
    token = page.locator("#nrn-text [data-nrn-facts]").nth(3)
    token.hover()
    expect(page.locator("#nrn-text .nrn-readout")).to_contain_text("position 3 · activation")
    page.locator("#nrn-measure").click()
    expect(page.locator("#nrn-zeroed")).to_have_text(NUMBER)

    page.locator("#nrn-ablate").click()
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).query).get("edits") == [f"zero:{part}"])
    expect(page.locator("#tray-list")).to_contain_text("neuron")
    # Under its own ablation the neuron is silent.
    edited = page.locator("#nrn-text-edited [data-nrn-facts]")
    expect(edited).to_have_count(page.locator("#nrn-text [data-nrn-facts]").count())
    assert all("activation 0" in (one.get_attribute("data-nrn-facts") or "") for one in edited.all())

    page.reload()
    expect(page.locator("#nrn-panel")).to_have_attribute("data-nrn-part", part)
    expect(page.locator("#nrn-edited-panel")).to_contain_text("edited")
    assert query(page, "neuron") == part
