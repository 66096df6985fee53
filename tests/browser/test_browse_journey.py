"""Journey 1: browse. From the worked prompt to one head and its text, and the same thing through a link elsewhere."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

pytestmark = pytest.mark.browser

WORDS = ("store", "Tom", "garden", "Mary", "house", "John")
REPEATED = "".join(f" {word}" for word in WORDS * 2)
HOSTILE = "<script>alert(1)</script> <b>x</b> <img src=x onerror=alert(1)> &lt;"
COLOURS_PER_TILE = """() => {
  const { plan } = window.wbAttention.shown, ratio = window.devicePixelRatio;
  const pen = document.getElementById("attn-canvas").getContext("2d");
  return plan.cells.map((cell) => {
    const { data } = pen.getImageData(cell.x * ratio, cell.y * ratio, plan.wide * ratio, plan.high * ratio);
    return new Set(new Uint32Array(data.buffer)).size;
  });
}"""
FRAMED = """(cell) => document.querySelector("#attn-map .js-plotly-plot").layout.shapes
  .some(({ x0, x1, y0, y1 }) => JSON.stringify([x0, x1, y0, y1]) === JSON.stringify(cell))"""


def address(url: str, **state: str | int) -> str:
    return f"{url}/attention?{urlencode({'model': 'toy', **state})}"


def ready(page: Page) -> None:
    """Waits until the overview is drawn, the scores are there and a head is open."""
    page.set_default_timeout(120_000)
    page.wait_for_function(
        "() => window.wbAttention && window.wbAttention.shown.plan && window.wbAttention.shown.scores"
    )
    page.wait_for_selector("#attn-map .heatmaplayer image")
    page.wait_for_function("() => window.wbAttention.view.values !== null")


def chip(page: Page, place: int) -> Locator:
    return page.locator(f".attn-token[data-place='{place}']")


def values(page: Page, *, other_than: list[float] | None = None) -> list[float]:
    """The numbers of the open view, row by row, once they are there (and are not those that were there before)."""
    shown = page.wait_for_function(
        """(before) => {
          const now = window.wbAttention.view.values && [...window.wbAttention.view.values];
          return now && JSON.stringify(now) !== JSON.stringify(before) && now;
        }""",
        arg=other_than,
    )
    return list(shown.json_value())


def in_address(page: Page, name: str) -> str | None:
    return parse_qs(urlsplit(page.url).query).get(name, [None])[0]


def test_the_app_opens_on_a_worked_prompt_with_every_head_drawn(page: Page, app_url: str) -> None:
    page.goto(app_url)
    ready(page)
    strings = page.locator(".attn-token bdi").all_inner_texts()
    assert "".join(strings).replace("·", " ") == "When Mary and John went to the store, John gave a drink to"
    colours = page.evaluate(COLOURS_PER_TILE)
    layers, heads = page.evaluate(
        "() => [window.wbAttention.shown.header.layers, window.wbAttention.shown.header.heads]"
    )
    assert len(colours) == layers * heads > 0
    assert min(colours) > 1


def test_journey_from_the_ranking_to_the_repeated_token_and_through_a_link(
    page: Page, app_url: str, browser: Browser
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(address(app_url, prompt=REPEATED))
    ready(page)

    page.get_by_text("By score").click()
    first = page.locator("#attn-ranking button").first
    expect(first).to_have_attribute("aria-current", "true")
    best = page.evaluate(
        "() => { const [one] = window.wbAttention.ranking(); return [one.layer, one.head, one.score]; }"
    )
    assert best[2] > 0.4
    page.wait_for_function(
        "([layer, head]) => new URLSearchParams(location.search).get('head') === String(head)", arg=best
    )
    expect(page.locator("#attn-title")).to_have_text(f"Layer {best[0]} · head {best[1]}")

    # The second "Tom": an induction head looks at the token after the first one.
    again, after_first = len(WORDS) + 1, 2
    chip(page, again).hover()
    expect(chip(page, after_first)).to_have_class("attn-token attn-on-dark attn-lit")
    expect(page.locator("#attn-readout")).to_contain_text(f"{again} ·Tom attends to {after_first} ·garden")
    cell = [after_first - 0.5, after_first + 0.5, again - 0.5, again + 0.5]
    page.wait_for_function(FRAMED, arg=cell)
    assert page.evaluate("() => window.wbAttention.shown.cross") == {"query": again, "key": after_first}

    page.wait_for_function("() => new URLSearchParams(location.search).get('token') === '7'")
    page.keyboard.press("c")
    expect(page.locator("#wb-toast")).to_have_text("Link copied")
    link = page.evaluate("() => navigator.clipboard.readText()")
    seen = page.locator("#attn-readout").inner_text()

    context = browser.new_context(viewport={"width": 1440, "height": 900})
    other = context.new_page()
    other.goto(link)
    ready(other)
    expect(other.locator("#attn-title")).to_have_text(f"Layer {best[0]} · head {best[1]}")
    expect(other.locator("#attn-readout")).to_have_text(seen)
    expect(chip(other, after_first)).to_have_class("attn-token attn-on-dark attn-lit")
    expect(other.locator("#attn-ranking button").first).to_have_attribute("aria-current", "true")
    other.wait_for_function("() => window.wbAttention.shown.plan.ranked")
    context.close()


def test_the_number_is_the_same_in_the_map_the_text_and_the_list(page: Page, app_url: str) -> None:
    page.goto(address(app_url, prompt=REPEATED, layer=1, head=0, token=6))
    ready(page)
    everything = values(page)
    row = everything[6 * 12 : 7 * 12]
    best = max(range(12), key=lambda place: row[place])
    box = page.locator("#attn-map .nsewdrag").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * (best + 0.5) / 12, box["y"] + box["height"] * 6.5 / 12)
    tip = page.locator("#attn-tip")
    expect(tip).to_contain_text("query 6 ·store → key")
    shown = tip.inner_text().rsplit(" · ", 1)[1]
    assert float(shown) == pytest.approx(row[best], rel=0.01)
    expect(chip(page, best).locator(".attn-weight")).to_have_text(shown)
    page.locator(".attn-details summary").click()
    largest = page.evaluate("(value) => window.wbAttention.number(value)", max(everything))
    expect(page.locator("#attn-top li .attn-top-number").first).to_have_text(largest)


def test_shift_turns_from_what_a_token_attends_to_to_what_attends_to_it(page: Page, app_url: str) -> None:
    page.goto(address(app_url, prompt=REPEATED, layer=1, head=0))
    ready(page)
    page.keyboard.down("Shift")
    chip(page, 1).hover()
    expect(page.locator("#attn-readout")).to_contain_text("1 ·Tom is attended to by")
    column = values(page)[1::12]
    best = max(range(12), key=lambda place: column[place])
    expect(page.locator("#attn-readout")).to_contain_text(f"attended to by {best} ")
    page.keyboard.up("Shift")


def test_every_head_can_be_reached_and_opened_by_keyboard(page: Page, app_url: str) -> None:
    page.goto(address(app_url, prompt=REPEATED, layer=0, head=0))
    ready(page)
    page.locator("#attn-canvas").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    expect(page.locator("#attn-live")).to_contain_text("L1 h2")
    page.keyboard.press("Enter")
    expect(page.locator("#attn-title")).to_have_text("Layer 1 · head 2")
    chip(page, 0).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#attn-readout")).to_contain_text("1 ·Tom attends to")


def test_a_threshold_dims_heads_and_says_how_many_are_left(page: Page, app_url: str) -> None:
    page.goto(address(app_url, prompt=REPEATED, least="0.4"))
    ready(page)
    scores = page.evaluate("() => window.wbAttention.ranking().map((cell) => cell.score)")
    left = sum(score >= 0.4 for score in scores)
    expect(page.locator("#attn-least-text")).to_have_text(f"0.40 · {left} of {len(scores)}")
    expect(page.locator("#attn-ranking button")).to_have_count(min(left, 12))


def test_ablating_from_the_head_puts_it_in_the_tray_and_opens_the_difference(page: Page, app_url: str) -> None:
    page.goto(address(app_url, prompt=REPEATED, layer=0, head=1))
    ready(page)
    expect(page.locator("#attn-tab-difference")).to_be_disabled()
    page.keyboard.press("a")
    page.wait_for_function("() => new URLSearchParams(location.search).get('edits') === 'zero:L0.z[head=1]'")
    page.locator("#attn-canvas").focus()
    page.goto(address(app_url, prompt=REPEATED, layer=1, head=0, edits="zero:L0.z[head=1]"))
    ready(page)
    page.locator("#attn-tab-difference").click()
    expect(page.locator("#attn-head")).to_have_class("wb-panel attn-head wb-edited")
    page.wait_for_function("() => window.wbAttention.view.data && window.wbAttention.view.data.scale === 'difference'")
    changes = values(page)
    assert min(changes) < 0 < max(changes)


def test_positions_alone_stand_beside_the_attention_that_the_head_has(page: Page, app_url: str) -> None:
    page.goto(address(app_url, prompt=REPEATED, layer=0, head=1))
    ready(page)
    before = values(page)
    page.locator("#attn-tab-positions").click()
    expect(page.locator("#attn-share")).to_contain_text("is what positions alone give")
    page.wait_for_function("() => document.querySelector('#attn-curve .js-plotly-plot .scatterlayer')")
    assert len(values(page, other_than=before)) == len(before)
    page.locator("#attn-tab-pattern").click()
    expect(page.locator("#attn-share")).to_have_count(0)


def test_c44_a_prompt_of_markup_shows_literally_everywhere(page: Page, app_url: str) -> None:
    page.goto(address(app_url, prompt=HOSTILE, layer=0, head=0))
    ready(page)
    strings = page.locator(".attn-token bdi").all_inner_texts()
    assert "".join(strings).replace("·", " ") == HOSTILE
    places = page.evaluate("() => document.querySelector('#attn-map .js-plotly-plot').layout.xaxis.tickvals")
    expect(page.locator("#attn-map .xtick text")).to_have_text([strings[place] for place in places])
    chip(page, 1).hover()
    expect(page.locator("#attn-readout")).to_contain_text(strings[1])
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("() => document.querySelectorAll('.attn-page script, .attn-page b').length") == 0


def test_a_one_token_prompt_is_one_cell(page: Page, app_url: str) -> None:
    page.goto(address(app_url, prompt=" store", answer="", foil="", layer=0, head=0))
    ready(page)
    expect(page.locator(".attn-token")).to_have_count(1)
    chip(page, 0).hover()
    expect(page.locator("#attn-readout")).to_have_text("0 ·store attends to 0 ·store 1.00")


def test_c33_a_long_prompt_says_that_the_overview_is_reduced_and_answers_stay_small(page: Page, app_url: str) -> None:
    sizes: list[int] = []
    page.on("response", lambda answer: sizes.append(int(answer.headers.get("content-length", 0))))
    page.goto(address(app_url, prompt=" store Tom garden Mary house" * 50, answer="", foil="", layer=0, head=0))
    ready(page)
    expect(page.locator("#attn-overview-note")).to_contain_text("250 × 250 cells drawn as 32 × 32")
    assert len(values(page)) == 250 * 250
    assert max(sizes) < 5_000_000


def test_the_page_never_scrolls_sideways(page: Page, app_url: str) -> None:
    page.goto(address(app_url, prompt=REPEATED, layer=1, head=0))
    ready(page)
    for width in (1440, 420):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function("(width) => document.documentElement.scrollWidth <= width", arg=width)
        page.wait_for_function(
            "() => { const main = document.querySelector('.wb-main'); return main.scrollWidth <= main.clientWidth; }"
        )
