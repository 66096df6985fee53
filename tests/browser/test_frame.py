"""The frame on the real page: header, prompt box, model picker, palette, edits, keys, theme, phone width."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser
IOI = "When Mary and John went to the store, John gave a drink to"
HOSTILE = '<script>alert(1)</script>&lt;b&gt;"><img src=x onerror=alert(1)><!--#x'


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query, keep_blank_values=True).items()}


def ready(page: Page, url: str, path: str = "/model", search: str = "?model=toy") -> None:
    page.goto(url + path + search)
    expect(page.locator("#header-parity")).to_contain_text("exact parity")


def test_the_root_opens_and_the_header_says_model_parity_tokens_and_edits(page: Page, app_url: str) -> None:
    page.goto(app_url)
    expect(page).to_have_url(re.compile(r"/attention\?model=toy"))
    expect(page.locator("#header-model")).to_have_text("toy")
    expect(page.locator("#header-parity")).to_have_text("exact parity")
    expect(page.locator("#header-prompt")).to_contain_text("“When Mary and John")
    expect(page.locator("#header-prompt")).to_contain_text("(14)")
    expect(page.locator("#edit-count")).to_have_text("clean")


def test_navigation_carries_the_state_and_marks_the_page(page: Page, app_url: str) -> None:
    ready(page, app_url, search="?model=toy&head=3")
    page.locator("#nav-prompt").click()
    expect(page.locator("#prompt-chips")).to_be_visible()
    assert urlsplit(page.url).path == "/prompt"
    assert query(page)["head"] == "3"
    expect(page.locator("#nav-prompt")).to_have_attribute("aria-current", "page")
    expect(page.locator("[aria-current=page]")).to_have_count(1)
    page.go_back()
    expect(page.locator("#model-proof-panel")).to_be_visible()

    # A task that is chosen on one page is named in the header of every page.
    page.locator("#nav-ablation").click()
    page.locator("#header-task").click()
    page.locator("#task-name").click()
    page.get_by_role("option", name="Indirect object identification").click()
    expect(page.locator("#task-preview")).to_contain_text("16 prompts")
    page.locator("#task-apply").click()
    expect(page.locator("#header-prompt")).to_contain_text("IOI· 16 prompts")
    page.locator("#nav-model").click()
    expect(page.locator("#model-proof-panel")).to_be_visible()
    expect(page.locator("#header-prompt")).to_contain_text("IOI· 16 prompts")
    expect(page.locator("#header-prompt")).to_have_attribute("title", re.compile("and 13 more"))


def test_enter_uses_the_prompt_and_the_address_keeps_it(page: Page, app_url: str) -> None:
    ready(page, app_url)
    page.locator("#header-prompt").click()
    expect(page.locator("#prompt-text")).to_be_focused()
    page.locator("#prompt-text").fill("Mary had a little")
    page.locator("#prompt-answer").fill("")
    page.locator("#prompt-foil").fill("")
    page.locator("#prompt-text").press("Enter")
    expect(page.locator("#header-prompt")).to_contain_text("“Mary had a little”")
    expect(page.locator("#flyout-prompt")).to_be_hidden()
    assert query(page)["prompt"] == "Mary had a little"
    page.reload()
    expect(page.locator("#header-prompt")).to_contain_text("“Mary had a little”")
    page.locator("#header-prompt").click()
    expect(page.locator("#prompt-text")).to_have_value("Mary had a little")
    expect(page.locator("#prompt-answer")).to_have_value("")


def test_what_cannot_be_used_is_explained_beside_it_and_nothing_is_lost(page: Page, app_url: str) -> None:
    ready(page, app_url)
    before = page.url
    page.locator("#header-prompt").click()
    right = page.locator("#prompt-text").input_value()
    for field, value, words in (
        ("text", "", "empty"),
        ("text", "word " * 400, "positions for 256"),
        ("answer", " Mary and John", "tokens"),
    ):
        page.locator("#prompt-text").fill(right)
        page.locator(f"#prompt-{field}").fill(value)
        page.locator("#prompt-apply").click()
        error = page.locator("#prompt-error")
        expect(error).to_contain_text(words)
        expect(error.locator(".wb-muted")).not_to_be_empty()
        expect(page.locator(f"#prompt-{field}")).to_have_value(value)
        assert page.url == before
    page.locator("#prompt-text").fill(IOI)
    page.locator("#prompt-answer").fill(" Mary")
    page.locator("#prompt-apply").click()
    expect(error).to_be_empty()


def test_shift_enter_makes_a_new_line(page: Page, app_url: str) -> None:
    ready(page, app_url)
    page.locator("#header-prompt").click()
    page.locator("#prompt-text").fill("one")
    page.locator("#prompt-text").press("End")
    page.locator("#prompt-text").press("Shift+Enter")
    expect(page.locator("#prompt-text")).to_have_value("one\n")
    expect(page.locator("#flyout-prompt")).to_be_visible()


def test_a_link_with_a_bad_prompt_says_so_and_offers_the_prompt_box(page: Page, app_url: str) -> None:
    page.goto(f"{app_url}/prompt?model=toy&prompt=")
    expect(page.locator("#wb-problem")).to_contain_text("empty")
    page.locator("#wb-problem button").click()
    expect(page.locator("#prompt-text")).to_be_focused()


def test_a_folder_that_is_no_model_says_why_and_another_can_be_chosen(page: Page, app_url: str, tmp_path: Path) -> None:
    ready(page, app_url)
    page.locator("#header-model").click()
    page.locator("#model-name").fill(str(tmp_path))
    page.locator("#model-name").press("Enter")
    problem = page.locator("#wb-problem")
    expect(problem).to_contain_text("could not be opened")
    expect(page.locator("#header-parity")).to_have_text("not open")
    expect(problem.locator(".wb-problem-hint")).not_to_be_empty()
    expect(page.locator("#job-bar .wb-job")).to_have_count(0)
    problem.get_by_text("Choose another model").click()
    page.locator("[data-wb-model=toy]").click()
    expect(page.locator("#header-parity")).to_have_text("exact parity")


def test_an_empty_model_name_is_refused_beside_the_field(page: Page, app_url: str) -> None:
    ready(page, app_url)
    page.locator("#header-model").click()
    page.locator("#model-apply").click()
    expect(page.locator("#model-error")).to_contain_text("empty")


def test_the_palette_finds_pages_heads_and_commands(page: Page, app_url: str) -> None:
    ready(page, app_url)
    page.keyboard.press("Control+k")
    expect(page.locator("#palette-input")).to_be_focused()
    page.keyboard.type("prompt")
    expect(page.locator(".wb-palette-row").first).to_have_text("Go to Prompt")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt-chips")).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("1.3")
    expect(page.locator(".wb-palette-row")).to_have_text(["Open head 1.3", "Zero head 1.3"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#edit-count")).to_have_text("1 edit")
    assert query(page)["edits"] == "zero:L1.z[head=3]"
    page.keyboard.press("Control+k")
    page.keyboard.type("no such thing")
    expect(page.locator("#palette-list")).to_contain_text("Nothing fits")
    page.keyboard.press("Escape")
    expect(page.locator("#flyout-palette")).to_be_hidden()


def test_edits_are_seen_undone_redone_and_removed(page: Page, app_url: str) -> None:
    ready(page, app_url)
    expect(page.locator("#tray")).to_be_hidden()
    page.evaluate("wb.addEdit('zero:L0.z[head=1]'); ")
    expect(page.locator("#edit-count")).to_have_text("1 edit")
    page.evaluate("wb.addEdit('mean:L1.mlp_out')")
    expect(page.locator("#edit-count")).to_have_text("2 edits")
    expect(page.locator("#tray .wb-edit-words")).to_have_text(["L0 h1", "L1 MLP"])
    page.keyboard.press("u")
    expect(page.locator("#edit-count")).to_have_text("1 edit")
    page.keyboard.press("u")
    expect(page.locator("#edit-count")).to_have_text("clean")
    page.keyboard.press("Shift+u")
    page.keyboard.press("Shift+u")
    expect(page.locator("#edit-count")).to_have_text("2 edits")
    page.locator("[data-wb-remove='zero:L0.z[head=1]']").click()
    expect(page.locator("#tray .wb-edit-words")).to_have_text(["L1 MLP"])
    page.reload()
    expect(page.locator("#tray .wb-edit-words")).to_have_text(["L1 MLP"])
    page.locator("#tray-undo").click()
    expect(page.locator("#edit-count")).to_have_text("2 edits")
    page.locator("#tray-clear").click()
    expect(page.locator("#edit-count")).to_have_text("clean")
    assert "edits" not in query(page)


def test_the_tray_folds_away_and_run_goes_to_the_ablation(page: Page, app_url: str) -> None:
    ready(page, app_url, search="?model=toy&edits=zero:L0.z[head=1]")
    expect(page.locator("#tray")).to_be_visible()
    page.locator("#header-edits").click()
    expect(page.locator("#tray")).to_be_hidden()
    page.locator("#header-edits").click()
    page.locator("#tray-run").click()
    expect(page).to_have_url(re.compile("/ablation"))


def test_at_phone_width_the_tray_and_the_other_pages_come_up_when_asked_for(page: Page, app_url: str) -> None:
    page.set_viewport_size({"width": 420, "height": 860})
    ready(page, app_url, search="?model=toy&edits=zero:L0.z[head=1]")
    expect(page.locator("#tray")).to_be_hidden()
    page.locator("#header-edits").click()
    expect(page.locator("#tray .wb-edit-words")).to_have_text(["L0 h1"])
    page.locator("#tray-tray").click()
    expect(page.locator("#tray")).to_be_hidden()

    more, results = page.get_by_role("button", name="More", exact=True), page.locator("#nav-results")
    expect(results).to_be_hidden()
    assert page.evaluate("(nav => nav.scrollWidth <= nav.clientWidth)(document.querySelector('.wb-nav'))")
    more.press("Enter")
    expect(more).to_have_attribute("aria-expanded", "true")
    expect(page.locator("#nav-rest a").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(results).to_be_hidden()
    expect(more).to_be_focused()
    more.click()
    results.click()
    page.wait_for_url(lambda url: urlsplit(url).path == "/results")
    expect(results).to_be_hidden()


def test_a_theme_is_chosen_once_and_kept(page: Page, app_url: str) -> None:
    ready(page, app_url)
    root = page.locator("html")
    expect(root).to_have_attribute("data-mantine-color-scheme", "light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.keyboard.press("t")
    expect(root).to_have_attribute("data-mantine-color-scheme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.reload()
    expect(root).to_have_attribute("data-mantine-color-scheme", "dark")
    expect(page.locator("#header-parity")).to_have_text("exact parity")
    expect(root).to_have_attribute("data-mantine-color-scheme", "dark")
    page.locator("#header-theme").click()
    expect(root).to_have_attribute("data-mantine-color-scheme", "light")


def test_keys_are_letters_while_somebody_types(page: Page, app_url: str) -> None:
    ready(page, app_url)
    page.locator("#header-prompt").click()
    page.locator("#prompt-text").press("t")
    page.locator("#prompt-text").press("u")
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "light")
    expect(page.locator("#prompt-text")).to_have_value("tu")


def test_help_lists_the_keys_and_escape_gives_the_focus_back(page: Page, app_url: str) -> None:
    ready(page, app_url)
    page.locator("#header-help").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#flyout-help")).to_contain_text("undo the last edit")
    page.keyboard.press("Escape")
    expect(page.locator("#flyout-help")).to_be_hidden()
    expect(page.locator("#header-help")).to_be_focused()


def test_the_keyboard_reaches_everything_with_a_visible_focus(page: Page, app_url: str) -> None:
    ready(page, app_url)
    page.keyboard.press("Tab")
    expect(page.locator(".wb-skip")).to_be_focused()
    seen = set()
    for _ in range(18):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]"
        )
        seen.add(name)
        assert outline != "none", name
    assert {"nav-model", "header-model", "header-prompt", "header-edits", "header-theme"} <= seen


@pytest.mark.parametrize("path", ["/model", "/prompt"])
def test_at_phone_width_the_page_stacks_and_never_scrolls_sideways(page: Page, app_url: str, path: str) -> None:
    page.set_viewport_size({"width": 420, "height": 860})
    ready(page, app_url, path)
    page.locator("#page .wb-panel").first.wait_for()
    widths = page.evaluate(
        "[document.documentElement.scrollWidth, document.querySelector('.wb-main').scrollWidth, innerWidth]"
    )
    assert widths[0] <= widths[2] and widths[1] <= widths[2]
    nav = page.locator(".wb-nav").bounding_box()
    assert nav is not None and nav["y"] > 700 and nav["width"] == 420
    page.locator("#header-prompt").click()
    expect(page.locator("#flyout-prompt")).to_be_visible()
    box = page.locator("#flyout-prompt").bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 420


def test_hostile_text_is_shown_literally_everywhere(page: Page, app_url: str) -> None:
    text = HOSTILE
    images, scripts = (
        "document.querySelectorAll('img[src=x]').length",
        "document.querySelectorAll('#page script').length",
    )
    edit = text.replace(";", "")
    page.goto(f"{app_url}/prompt?model=toy&answer=&foil=&prompt={quote(text)}&edits={quote('zero:' + edit)}")
    expect(page.locator("#prompt-table table")).to_be_visible()
    expect(page.locator("#header-prompt")).to_contain_text(text[:25])
    assert text.replace(" ", "·") in "".join(page.locator("#prompt-chips bdi").all_text_contents())
    expect(page.locator("#tray")).to_contain_text(edit)
    page.locator("#prompt-chips button").first.hover()
    assert page.evaluate(images) == 0 and page.evaluate(scripts) == 0
    page.goto(f"{app_url}/model?model={quote(text)}")
    expect(page.locator("#wb-problem")).to_contain_text(f"{text} could not be opened")
    expect(page.locator("#header-model")).to_contain_text(text)
    assert page.evaluate(images) == 0 and page.evaluate(scripts) == 0
    page.goto(f"{app_url}/{quote(text, safe='')}?model=toy&open={quote(text)}&find={quote(text)}")
    expect(page.locator("#wb-empty")).to_contain_text("no page at this address")
    assert page.evaluate(images) == 0 and page.evaluate(scripts) == 0


def test_another_browser_sees_the_same_from_the_link(page: Page, app_url: str, browser: Browser) -> None:
    ready(
        page, app_url, "/prompt", "?model=toy&prompt=Mary+and&answer=&foil=&position=0&temperature=0.5&edits=zero:L0.z"
    )
    expect(page.locator("#prompt-table table")).to_be_visible()
    shown = page.locator("#prompt-table").inner_text()
    other = browser.new_context().new_page()
    other.goto(page.url)
    expect(other.locator("#prompt-table table")).to_be_visible()
    expect(other.locator("#prompt-table")).to_have_text(shown, use_inner_text=True)
    expect(other.locator("#edit-count")).to_have_text("1 edit")
    other.context.close()


def test_an_idle_page_asks_the_server_for_nothing_but_the_jobs(
    page: Page, app_url: str, serve: Callable[..., str]
) -> None:
    ready(page, app_url)
    page.locator("#model-proof .ag-row").first.wait_for()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.post_data or request.url))
    for _ in range(15):  # a page comes to rest when its own callbacks have been answered, which a slow machine delays
        asked.clear()
        page.wait_for_timeout(2000)
        if all("/wb/jobs?" in body for body in asked):
            break
    assert [body for body in asked if "/wb/jobs?" not in body] == []
    assert len(asked) <= 6
