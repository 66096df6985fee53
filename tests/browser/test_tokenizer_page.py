"""The Tokenizer page in a browser: the text as it splits, one token explained, look-ups, copies."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect
from transformers import AutoTokenizer

from workbench.settings import Settings

pytestmark = pytest.mark.browser
TAGS = "a <s> <b>x</b><br> &lt; \n\t  end 😊"


@pytest.fixture(scope="module")
def tokenizer() -> object:
    return AutoTokenizer.from_pretrained(Settings.load().assets_dir / "models" / "toy")


def show(page: Page, url: str, prompt: str = "Mary went to the store", more: str = "") -> None:
    page.goto(f"{url}/tokenizer?model=toy&answer=&foil=&prompt={quote(prompt)}{more}")
    expect(page.locator("#tokenizer-facts-panel")).to_be_visible()


def test_it_stands_after_the_prompt_in_the_navigation(page: Page, app_url: str) -> None:
    show(page, app_url)
    names = page.locator(".wb-nav-link").all_text_contents()
    assert names.index("Tokenizer") == names.index("Prompt") + 1
    expect(page.locator(".wb-nav-link[aria-current=page]")).to_have_text("Tokenizer")


def test_c04_c08_chips_and_table_say_the_ids_that_are_fed(page: Page, app_url: str, tokenizer: object) -> None:
    show(page, app_url, TAGS)
    ids = tokenizer(TAGS)["input_ids"]  # type: ignore[operator]
    facts = page.locator("#tokenizer-chips [data-wb-token]").evaluate_all("all => all.map(c => c.dataset.wbFacts)")
    assert [re.search(r"id (\d+)", fact)[1] for fact in facts] == [str(token) for token in ids]  # type: ignore[index]
    shown = page.locator("#tokenizer-chips bdi").all_text_contents()
    assert all(text.strip() for text in shown)
    whole = "".join(text for text in shown if not re.fullmatch(r"\d/\d", text))
    assert whole == TAGS.replace(" ", "·").replace("\n", "↵").replace("\t", "⇥")
    rows = page.locator('#tokenizer-table .ag-row [col-id="id"]')
    rows.nth(9).wait_for()
    cells = rows.all_text_contents()
    assert cells == [str(token) for token in ids][: len(cells)] and len(cells) >= 10


@pytest.mark.parametrize("text", ["The word سلام means hi"])
def test_c05_any_script_stands_in_logical_order(page: Page, app_url: str, text: str) -> None:
    page.set_viewport_size({"width": 2400, "height": 900})
    show(page, app_url, text)
    shown = page.locator("#tokenizer-chips bdi").all_text_contents()
    lefts = page.locator("#tokenizer-chips [data-wb-token]").evaluate_all(
        "all => all.map(chip => chip.getBoundingClientRect().x)"
    )
    assert lefts == sorted(lefts)
    assert "".join(token for token in shown if not token[0].isdigit()) == text.replace(" ", "·")
    words = page.locator("#page").inner_text()
    assert not [char for char in words if "\u0100" <= char <= "\u0143" and char not in "ğğı"]


def test_keys_and_clicks_choose_the_token_and_the_link_keeps_it(page: Page, app_url: str) -> None:
    show(page, app_url)
    page.locator("#tokenizer-chips [data-wb-token='1']").click()
    expect(page.locator("#tokenizer-build")).to_contain_text("position 1")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tokenizer-build")).to_contain_text("position 2")
    expect(page.locator("#tokenizer-chips [aria-pressed=true]")).to_have_attribute("data-wb-token", "2")
    assert "position=2" in page.url
    page.goto(page.url)
    expect(page.locator("#tokenizer-build")).to_contain_text("position 2")
    expect(page.locator("#tokenizer-build .tok-chosen").last).to_have_text("·to")


def test_another_text_is_split_on_enter(page: Page, app_url: str) -> None:
    show(page, app_url)
    page.locator("#tokenizer-text").fill("John")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("prompt=John"))
    expect(page.locator("#tokenizer-text-panel")).to_contain_text("4 characters, 4 bytes")
    page.locator("#tokenizer-text").fill("")
    page.locator("#tokenizer-apply").click()
    expect(page.locator("#tokenizer-empty")).to_contain_text("No text yet")


def test_a_look_up_works_both_ways_and_is_in_the_link(page: Page, app_url: str, tokenizer: object) -> None:
    show(page, app_url)
    ids = tokenizer("the store")["input_ids"]  # type: ignore[operator]
    page.locator("#tokenizer-asked").fill("the store")
    expect(page.locator("#tokenizer-found-ids")).to_have_text(", ".join(map(str, ids)))
    page.locator("#tokenizer-reading").get_by_text("ids → text").click()
    expect(page.locator("#tokenizer-found")).to_contain_text("“the” is not a token id")
    page.locator("#tokenizer-asked").fill(" ".join(map(str, ids)))
    expect(page.locator("#tokenizer-found")).to_contain_text("the·store")
    expect(page).to_have_url(re.compile("lookup=ids"))
    page.goto(page.url)
    expect(page.locator("#tokenizer-asked")).to_have_value(" ".join(map(str, ids)))
    expect(page.locator("#tokenizer-found")).to_contain_text("the·store")


def test_the_table_is_downloaded_as_it_stands(page: Page, app_url: str, tokenizer: object, tmp_path: Path) -> None:
    show(page, app_url, TAGS)
    with page.expect_download() as download:
        page.locator("#tokenizer-csv").click()
    path = tmp_path / "tokens.csv"
    download.value.save_as(path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == tokenizer(TAGS)["input_ids"]  # type: ignore[operator]
    assert bytes.fromhex("".join(row["bytes"].removeprefix("'") for row in rows)) == TAGS.encode()


@pytest.mark.parametrize("width", [420])
def test_the_page_never_scrolls_sideways(page: Page, app_url: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    show(page, app_url, "x" * 400 + " " + TAGS)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    main = "document.querySelector('.wb-main')"
    assert page.evaluate(f"{main}.scrollWidth <= {main}.clientWidth")
