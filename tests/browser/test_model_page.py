"""The Model page: what is open, drawn and proved."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from hooks.sites import SITES
from workbench.parts.model_proof import proof_rows
from workbench.workspace import Workspace

pytestmark = pytest.mark.browser


@pytest.fixture
def opened(page: Page, app_url: str) -> Page:
    page.goto(f"{app_url}/prompt?model=toy")
    page.locator("#header-parity").click()
    page.locator("#model-proof .ag-row").first.wait_for()
    return page


def test_the_verdict_in_the_header_leads_to_the_proof(opened: Page) -> None:
    expect(opened.locator("#model-parity")).to_contain_text("bit for bit")
    expect(opened.locator("#model-parity")).to_contain_text("exact parity")


def test_every_site_of_the_vocabulary_stands_in_the_proof_with_a_dot_and_words(
    opened: Page, workspace: Workspace
) -> None:
    summary = workspace.summary("toy")
    assert summary is not None
    rows = {row["site"]: row for row in summary["sites"]}
    assert set(rows) == set(SITES)
    lines = opened.locator("#model-proof .ag-pinned-left-cols-container [col-id=site]")
    lines.nth(len(proof_rows(summary)) - 1).wait_for()
    names = lines.all_text_contents()
    # Sites that are absent for the same reason share a line.
    assert sorted(name for line in names for name in line.split(", ")) == sorted(rows)
    for name, row in rows.items():
        index = next(place for place, line in enumerate(names) if name in line.split(", "))
        cell = opened.locator(f"#model-proof .ag-center-cols-container [row-index='{index}'] [col-id=read]")
        expect(cell).to_have_text("proved" if row["readable"] else "absent")
        expect(cell).to_have_class(re.compile("wb-cell-ok" if row["readable"] else "wb-cell-idle"))
        edit = opened.locator(f"#model-proof .ag-center-cols-container [row-index='{index}'] [col-id=edit]")
        expect(edit).to_have_text("editable" if row["writable"] else "read-only" if row["readable"] else "absent")
        if not row["readable"]:
            reason = opened.locator(f"#model-proof .ag-center-cols-container [row-index='{index}'] [col-id=check]")
            expect(reason).to_contain_text(row["reason"])


def test_sizes_drawing_and_provenance_agree_with_the_model(opened: Page, workspace: Workspace) -> None:
    summary = workspace.summary("toy")
    assert summary is not None
    info = summary["info"]
    sizes = opened.locator("#model-sizes")
    expect(sizes).to_contain_text(str(info["d_model"]))
    expect(sizes).to_contain_text(str(info["n_heads"]))
    drawing = opened.locator("#model-diagram img:visible")
    expect(drawing).to_have_count(1)
    assert f"{info['n_layers']} layers" in (drawing.get_attribute("alt") or "")
    assert drawing.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    provenance = opened.locator("#model-provenance")
    expect(provenance).to_contain_text(summary["hash"])
    expect(provenance).to_contain_text(summary["tokenizer_hash"])


def test_the_drawing_changes_with_the_theme(opened: Page) -> None:
    drawing = opened.locator("#model-diagram img:visible")
    light = drawing.get_attribute("src") or ""
    opened.keyboard.press("t")
    expect(drawing).not_to_have_attribute("src", light)


def test_a_term_is_explained_to_pointer_and_keyboard(opened: Page) -> None:
    meaning = opened.get_by_text("How far the logits of the observed model are")
    opened.locator("#model-parity .wb-term").hover()
    expect(meaning).to_be_visible()
    opened.mouse.move(0, 0)
    expect(meaning).to_be_hidden()
    opened.locator(".wb-page-head button").focus()
    opened.keyboard.press("Tab")
    expect(meaning).to_be_visible()
