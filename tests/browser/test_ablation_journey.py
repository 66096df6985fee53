"""Journey 2: ablate. From an open head to its effect, a sweep, the strongest cell, undo, a saved result, its file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from workbench.figures.numbers import number

pytestmark = pytest.mark.browser

NUMBER = re.compile(r"[+\u2212]\d")
NOTE = "the head that finds the name"


def address(url: str, path: str = "/ablation", **state: str | int) -> str:
    return f"{url}{path}?{urlencode({'model': 'toy', **state})}"


def edits(page: Page) -> list[str]:
    text = parse_qs(urlsplit(page.url).query).get("edits", [""])[0]
    return [edit for edit in text.split(";") if edit]


def expect_edits(page: Page, *wanted: str) -> None:
    page.wait_for_url(lambda url: edits(page) == list(wanted))


def picker(page: Page, part: str) -> Locator:
    return page.locator(f"#abl-picker [data-abl-toggle='{part}']")


def ready(page: Page) -> None:
    page.set_default_timeout(120_000)
    expect(page.locator("#abl-picker .abl-cell").first).to_be_visible(timeout=120_000)


def downloaded(page: Page, menu: Locator, title: str) -> tuple[str, bytes]:
    menu.locator("summary").click()
    with page.expect_download() as waiting:
        menu.get_by_role("button", name=title, exact=True).click()
    file = waiting.value
    return file.suggested_filename, Path(file.path()).read_bytes()


def test_from_an_open_head_to_an_exported_ablation(page: Page, app_url: str) -> None:
    page.set_default_timeout(120_000)
    page.goto(address(app_url, "/attention", layer=1, head=2))
    expect(page.locator("#attn-map .heatmaplayer image")).to_be_visible(timeout=120_000)
    page.keyboard.press("a")
    expect(page.locator("#tray-list")).to_contain_text("L1 h2")
    page.locator("#tray-run").click()

    expect(page.locator("#abl-sentence")).to_contain_text("Zero head 1.2")
    expect(page.locator("#abl-effect")).to_have_text(NUMBER, timeout=120_000)
    saving = page.locator("#abl-numbers .abl-save")
    result_id = saving.get_attribute("data-result") or ""
    clean, ablated = page.locator("#abl-clean-table"), page.locator("#abl-ablated-table")
    expect(ablated.locator("tbody bdi")).to_have_text(clean.locator("tbody bdi").all_inner_texts())
    expect(page.locator("#abl-distributions .wb-edited-word")).to_have_text("edited")
    expect(picker(page, "L1.z[head=2]")).to_have_attribute("aria-pressed", "true")

    page.locator("#abl-sweep-panel").get_by_role("button", name="Sweep all heads").click()
    expect(page.locator("#abl-sweep .abl-status")).to_contain_text(re.compile(r"(\d+) of \1 measured"), timeout=120_000)
    expect(page.locator("#abl-map .abl-missing")).to_have_count(0)
    strongest = page.locator("#abl-strongest .abl-item").first
    part = strongest.get_attribute("data-abl-toggle")
    assert part
    if edits(page) == [f"zero:{part}"]:
        strongest = page.locator("#abl-strongest .abl-item").nth(1)
        part = strongest.get_attribute("data-abl-toggle")
    page.locator(f"#abl-map [data-abl-toggle='{part}']").click()
    expect(strongest).to_have_attribute("aria-pressed", "true")
    expect_edits(page, "zero:L1.z[head=2]", f"zero:{part}")
    expect(page.locator("#abl-sentence")).to_contain_text(" and ")

    page.keyboard.press("u")
    expect(strongest).to_have_attribute("aria-pressed", "false")
    expect_edits(page, "zero:L1.z[head=2]")
    expect(page.locator("#abl-sentence")).to_contain_text("Zero head 1.2 on")

    # The numbers of the one head again, not those of both.
    expect(saving).to_have_attribute("data-result", result_id)
    shown = {name: page.locator(f"#abl-{name}").inner_text() for name in ("effect", "clean", "kl")}
    tables = {
        name: dict(
            zip(
                table.locator("tbody bdi").all_inner_texts(),
                table.locator("tbody td:nth-child(3)").all_inner_texts(),
                strict=True,
            )
        )
        for name, table in (("prob_clean", clean), ("prob_ablated", ablated))
    }
    saving.get_by_label("Note").fill(NOTE)
    saving.get_by_role("button", name="Save result").click()
    saving.get_by_role("link", name="Open it").click()

    expect(page.locator("#res-open")).to_contain_text("Zero head 1.2")
    expect(page.locator("#res-open input")).to_have_value(NOTE)
    expect(page.locator("#res-numbers")).to_contain_text(shown["effect"])
    name, data = downloaded(page, page.locator("#res-open .exp-menu"), "JSON")
    assert name.endswith(".json")
    result = json.loads(data)
    assert result["id"] == result_id
    grids = {grid["name"]: grid for grid in result["grids"]}
    assert number(grids["effect"]["values"], signed=True) == shown["effect"]
    assert number(grids["metric_clean"]["values"]) == shown["clean"]
    assert number(grids["kl"]["values"]) == shown["kl"]
    for grid, rows in tables.items():
        known = dict(zip(grids[grid]["coords"]["token"], grids[grid]["values"], strict=True))
        assert {token: number(known[token]) for token in rows} == rows

    page.get_by_role("link", name="All results").click()
    expect(page.locator(f"#res-card-{result_id} input")).to_have_value(NOTE)


def test_an_edit_of_any_kind_is_made_in_the_tray_and_is_seen_on_every_page(page: Page, app_url: str) -> None:
    page.goto(address(app_url, hide_inside="1"))
    ready(page)
    page.evaluate("wb.tray(true)")
    field, row = page.locator("#tray-address"), page.locator("#tray-list .wb-edit")
    field.fill("L9.z")
    field.press("Enter")
    expect(page.locator("#tray")).to_contain_text("L9")
    field.fill("L1.mlp_out")
    field.press("Enter")
    expect(row).to_contain_text("zero MLP 1")
    row.locator("[data-wb-change]").click()
    row.locator("select[name=kind]").select_option(label="scale")
    expect(row).to_contain_text("multiply MLP 1 by 0.5")
    row.locator("input[name=factor]").fill("2")
    row.locator("input[name=factor]").press("Enter")
    expect(page.locator("#abl-sentence")).to_contain_text("Multiply MLP 1 by 2")
    expect(page.locator("#abl-effect")).to_have_text(NUMBER)
    row.locator("select[name=kind]").select_option(label="add to")
    row.locator("select[name=vector]").select_option(label="numbers")
    row.locator("textarea").fill("1, 2")
    row.locator("textarea").blur()
    # Another length than the site's: said where the number would be.
    expect(page.locator("#abl-problem")).to_contain_text("2")
    page.locator("#header").click()
    for _ in range(3):
        page.keyboard.press("u")
    expect(row).to_contain_text("multiply MLP 1 by 2")

    # After the sweep, what lies inside the control's range is grey.
    page.locator("#abl-sweep-panel").get_by_role("button", name="Sweep all heads").click()
    expect(page.locator("#abl-sweep-control")).to_contain_text("lie outside it", timeout=120_000)
    expect(page.locator("#abl-map .abl-inside").first).to_be_visible()

    page.locator("[data-wb-nav='/prompt']").click()
    edited = page.locator("#prompt-edited-panel")
    expect(edited.locator("#abl-ablated-table tbody bdi").first).to_be_visible()
    expect(edited.locator("h2 .wb-edited-word")).to_have_text("edited")
    chips = page.locator("#prompt-chips bdi").all_inner_texts()
    assert edited.locator("#prompt-edited-chips bdi").all_inner_texts() == chips
    page.get_by_role("button", name="Edit at token").click()
    expect(row.last).to_contain_text(f"position {len(chips) - 1}")
    page.reload()
    expect(row).to_have_count(2)
    page.locator("#tray-undo").click()
    expect(row).to_have_count(1)


def test_an_attention_cell_is_cut_and_the_difference_is_shown(page: Page, app_url: str) -> None:
    page.goto(address(app_url, "/attention", layer=1, head=2))
    expect(page.locator("#attn-map .heatmaplayer image")).to_be_visible(timeout=120_000)
    box = page.locator("#attn-map .nsewdrag.drag").first.bounding_box()
    assert box
    corner = (box["x"] + 4, box["y"] + box["height"] - 4)
    page.mouse.move(*corner)
    expect(page.locator("#attn-tip")).to_contain_text("query")
    page.mouse.click(*corner)
    expect(page.locator("#attn-cut")).to_have_text(re.compile(r"Cut edge \d+ → 0"))
    page.locator("#attn-cut").click()
    expect(page.locator("#tray-list")).to_contain_text(
        re.compile(r"cut the attention of head 1\.2 from .* to position 0")
    )
    page.locator("#attn-tab-difference").click()
    expect(page.locator("#attn-head.wb-edited")).to_be_visible()
    expect(page.locator("#attn-map .heatmaplayer image")).to_be_visible()


def test_a_metric_in_the_readers_own_words_says_what_is_wrong_with_it(page: Page, app_url: str) -> None:
    page.goto(address(app_url, edits="zero:L0.z[head=1]", metric="logit( Mary"))
    ready(page)
    own = page.locator("#abl-metric-own")
    expect(page.locator("#abl-metric-own-place")).to_contain_text("wrong at character")
    own.fill("logit(answer) - logit(foil)")
    expect(page.locator("#abl-sentence")).to_contain_text("measure logit(answer) - logit(foil)")
    expect(page.locator("#abl-effect")).to_have_text(NUMBER)
    expect(page.locator("#abl-metric-own-place")).not_to_contain_text("wrong")


def test_a_click_takes_a_part_in_and_out_and_the_address_follows(page: Page, app_url: str) -> None:
    page.goto(address(app_url))
    ready(page)
    expect(page.locator("#abl-empty")).to_be_visible()
    picker(page, "L0.mlp_out").click()
    expect(page.locator("#abl-effect")).to_have_text(NUMBER)
    expect_edits(page, "zero:L0.mlp_out")
    page.locator("#abl-picker [data-name='layer 1']").click()
    expect_edits(page, "zero:L0.mlp_out", "zero:L1.attn_out", "zero:L1.mlp_out")
    expect(page.locator("#abl-sentence")).to_contain_text("MLP 0, attention 1 and MLP 1")
    page.locator("#abl-picker [data-name='layer 1']").click()
    picker(page, "L0.mlp_out").click()
    expect(page.locator("#abl-empty")).to_be_visible()
    expect_edits(page)


def test_arrows_walk_over_the_cells_and_enter_adds_one(page: Page, app_url: str) -> None:
    page.goto(address(app_url))
    ready(page)
    page.locator("#abl-picker .abl-cell").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(picker(page, "L1.z[head=1]")).to_be_focused()
    expect(page.locator("#abl-parts .abl-readout")).to_have_text("head 1.1")
    page.keyboard.press("Enter")
    expect_edits(page, "zero:L1.z[head=1]")
    page.keyboard.press("u")
    expect(picker(page, "L1.z[head=1]")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Shift+U")
    expect(picker(page, "L1.z[head=1]")).to_have_attribute("aria-pressed", "true")


def test_kind_and_position_apply_to_everything_in_the_tray(page: Page, app_url: str) -> None:
    page.goto(address(app_url, edits="zero:L0.z[head=1]"))
    ready(page)
    page.locator("#abl-chips [data-abl-where='3']").click()
    expect(page.locator("#abl-sentence")).to_contain_text("head 0.1 at position 3")
    expect_edits(page, "zero:L0.z[head=1,pos=3]")
    page.locator("#abl-kind").get_by_text("Mean").click()
    expect(page.locator("#abl-sentence")).to_contain_text("Mean-ablate head 0.1 at position 3")
    expect(page.locator("#abl-effect")).to_have_text(re.compile(r"\d"))
    picker(page, "L1.z[head=0,pos=3]").click()
    expect_edits(page, "mean:L0.z[head=1,pos=3]", "mean:L1.z[head=0,pos=3]")


def test_a_neuron_is_added_by_its_number(page: Page, app_url: str) -> None:
    page.goto(address(app_url))
    ready(page)
    page.get_by_role("button", name="Add neuron").click()
    expect(page.locator("#abl-neuron-note")).to_contain_text("needs a layer and a number")
    page.locator("#abl-neuron-layer").fill("1")
    page.locator("#abl-neuron-unit").fill("5")
    page.locator("#abl-neuron-unit").blur()
    page.get_by_role("button", name="Add neuron").click()
    expect(page.locator("#abl-sentence")).to_contain_text("neuron 1.5")
    expect_edits(page, "zero:L1.mlp_post[unit=5]")


def test_a_metric_that_needs_an_answer_says_so_and_kl_does_not(page: Page, app_url: str) -> None:
    page.goto(address(app_url, edits="zero:L0.z[head=1]", answer="", foil=""))
    ready(page)
    expect(page.locator("#abl-problem")).to_contain_text("needs an answer")
    page.goto(address(app_url, edits="zero:L0.z[head=1]", answer="", foil="", metric="kl"))
    expect(page.locator("#abl-effect")).to_have_text(re.compile(r"\d"), timeout=120_000)


def test_a_head_whose_attention_moved_opens_with_the_difference(page: Page, app_url: str) -> None:
    page.goto(address(app_url, edits="zero:L0.mlp_out"))
    ready(page)
    page.locator("#abl-shift [data-name='head 1.0']").click()
    page.wait_for_url(re.compile(r"/attention\?.*tab=difference"))
    assert parse_qs(urlsplit(page.url).query)["layer"] == ["1"]


def test_c34_a_failed_ablation_says_why_and_offers_to_run_again(page: Page, app_url: str) -> None:
    page.goto(address(app_url, edits="zero:L7.z[head=0]"))
    ready(page)
    expect(page.locator("#abl-problem")).to_contain_text("L7")
    expect(page.get_by_role("button", name="Run again")).to_be_enabled()
    page.locator("#tray-clear").click()
    picker(page, "L0.z[head=0]").click()
    expect(page.locator("#abl-effect")).to_have_text(NUMBER)


def test_e_opens_the_export_menu_and_escape_closes_it(page: Page, app_url: str) -> None:
    page.goto(address(app_url, edits="zero:L0.z[head=1]"))
    ready(page)
    expect(page.locator("#abl-effect")).to_be_visible()
    page.keyboard.press("e")
    expect(page.locator("#abl-numbers .exp-list [data-export]").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#abl-numbers .exp-list")).to_be_hidden()


def test_c44_a_hostile_prompt_is_shown_literally(page: Page, app_url: str) -> None:
    hostile = "<img src=x onerror=alert(1)><b>x</b>"
    page.goto(address(app_url, prompt=hostile, over="position", metric="kl", edits="zero:L0.z[head=1]"))
    ready(page)
    expect(page.locator("#abl-effect")).to_be_visible()
    chips = page.locator("#abl-chips bdi").all_inner_texts()[1:]
    assert "".join(chips).replace("·", " ") == hostile
    expect(page.locator("#abl-map .abl-col bdi")).to_have_text(chips)
    expect(page.locator("#page img, #page b")).to_have_count(0)


def test_the_page_fits_a_phone(page: Page, app_url: str) -> None:
    page.set_viewport_size({"width": 420, "height": 860})
    page.goto(address(app_url, edits="zero:L0.z[head=1]"))
    ready(page)
    expect(page.locator("#abl-effect")).to_be_visible()
    assert page.evaluate("() => document.querySelector('.wb-main').scrollWidth <= 420")
