"""The Prompt page on the real model: tokens as fed, numbers as the unobserved model gives them."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench.figures.numbers import number
from workbench.settings import Settings
from workbench.urls import State
from workbench.workspace import Workspace

pytestmark = pytest.mark.browser
IOI = State().prompt
TAGS = "a <s> <b>x</b><br> &lt; \n\t  end"


@pytest.fixture(scope="module")
def toy() -> Iterator[tuple[object, object]]:
    """The bundled model and its tokenizer, opened with transformers alone."""
    folder = Settings.load().assets_dir / "models" / "toy"
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    yield model, AutoTokenizer.from_pretrained(folder)


def logits(toy: tuple[object, object], text: str) -> np.ndarray:
    model, tokenizer = toy
    with torch.inference_mode():
        return np.asarray(model(**tokenizer(text, return_tensors="pt")).logits[0])  # type: ignore[operator]


def softmax(values: np.ndarray) -> np.ndarray:
    grown = np.exp(values.astype(np.float64) - values.max())
    return np.asarray(grown / grown.sum())


def show(page: Page, url: str, prompt: str = IOI, more: str = "") -> None:
    page.goto(f"{url}/prompt?model=toy&answer=&foil=&prompt={quote(prompt)}{more}")
    expect(page.locator("#prompt-table table")).to_be_visible()


def column(page: Page, number: int) -> list[str]:
    return page.locator(f".prompt-rows tbody td:nth-child({number})").all_text_contents()


def test_the_chips_are_the_tokens_exactly_as_fed(page: Page, app_url: str, toy: tuple[object, object]) -> None:
    show(page, app_url, TAGS)
    _, tokenizer = toy
    ids = tokenizer(TAGS)["input_ids"]  # type: ignore[operator]
    facts = page.locator("#prompt-chips [data-wb-token]").evaluate_all(
        "chips => chips.map(chip => chip.dataset.wbFacts)"
    )
    assert len(facts) == len(ids)
    for index, (fact, token) in enumerate(zip(facts, ids, strict=True)):
        assert fact.startswith(f"position {index} · id {token}")
    shown = page.locator("#prompt-chips bdi").all_text_contents()
    assert "".join(shown) == TAGS.replace(" ", "·").replace("\n", "↵").replace("\t", "⇥")
    assert all(text.strip() for text in shown)


@pytest.mark.parametrize("text", ["هذا اختبار", "The word سلام means hi", "每个人都有他的作战策略"])
def test_any_script_stands_in_logical_order_without_byte_alphabet(page: Page, app_url: str, text: str) -> None:
    show(page, app_url, text)
    page.set_viewport_size({"width": 2400, "height": 900})
    shown = page.locator("#prompt-chips bdi").all_text_contents()
    assert not [char for token in shown for char in token if "\u0100" <= char <= "\u0143"]
    lefts = page.locator("#prompt-chips [data-wb-token]").evaluate_all(
        "chips => chips.map(c => c.getBoundingClientRect().x)"
    )
    assert lefts == sorted(lefts)
    whole = "".join(token for token in shown if not token[0].isdigit())
    assert whole == text.replace(" ", "·")


def test_pieces_of_one_character_are_joined(page: Page, app_url: str) -> None:
    show(page, app_url, "hi 😊")
    pieces = page.locator("#prompt-chips .wb-chip-first, #prompt-chips .wb-chip-more").all_text_contents()
    assert pieces[0].endswith("😊")
    assert pieces[1:] == [f"{n}/{len(pieces)}" for n in range(2, len(pieces) + 1)]


def test_special_tokens_have_their_own_shape_unless_read_as_plain_text(page: Page, app_url: str) -> None:
    show(page, app_url, "Mary <|endoftext|> John")
    expect(page.locator("#prompt-chips .wb-chip-special")).to_have_text("<|endoftext|>")
    expect(page.locator("#prompt-count")).to_contain_text("1 special")
    show(page, app_url, "Mary <|endoftext|> John", "&plain=1")
    expect(page.locator("#prompt-chips .wb-chip-special")).to_have_count(0)
    assert "".join(page.locator("#prompt-chips bdi").all_text_contents()) == "Mary·<|endoftext|>·John"


def test_pointing_at_a_token_tells_its_position_id_and_surprisal(
    page: Page, app_url: str, toy: tuple[object, object]
) -> None:
    show(page, app_url)
    rows = logits(toy, IOI)
    ids = toy[1](IOI)["input_ids"]  # type: ignore[operator]
    expected = number(float(-np.log(softmax(rows[3])[ids[4]])))
    page.locator("#prompt-chips [data-wb-token='4']").hover()
    expect(page.locator("#prompt-readout")).to_contain_text(f"position 4 · id {ids[4]} · surprisal {expected} nats")


def test_the_table_holds_the_numbers_of_the_unobserved_model(
    page: Page, app_url: str, toy: tuple[object, object]
) -> None:
    show(page, app_url)
    last = logits(toy, IOI)[-1]
    probs = softmax(last)
    order = np.argsort(-probs, kind="stable")[:10]
    assert column(page, 6) == [str(token) for token in order]
    assert column(page, 4) == [number(float(np.float32(probs[token]))) for token in order]
    assert column(page, 5) == [number(float(last[token])) for token in order]
    assert column(page, 1) == [str(rank) for rank in range(10)]


def test_a_click_on_a_token_shows_what_was_expected_after_it(
    page: Page, app_url: str, toy: tuple[object, object]
) -> None:
    show(page, app_url)
    page.locator("#prompt-chips [data-wb-token='2']").click()
    expect(page.locator("#prompt-heading")).to_contain_text("after position 2")
    assert "position=2" in page.url
    row = logits(toy, IOI)[2]
    assert column(page, 6)[0] == str(int(row.argmax()))
    actual = toy[1](IOI)["input_ids"][3]  # type: ignore[operator]
    expect(page.locator("#prompt-footer")).to_contain_text(f"has rank {int((row > row[actual]).sum())}")
    expect(page.locator("#prompt-chips [aria-pressed=true]")).to_have_count(1)
    page.reload()
    expect(page.locator("#prompt-heading")).to_contain_text("after position 2")


def test_the_sliders_redraw_without_running_the_model_again(
    page: Page, app_url: str, workspace: Workspace, toy: tuple[object, object]
) -> None:
    show(page, app_url)
    jobs = [(job.id, job.created) for job in workspace.jobs()]
    page.locator("#prompt-temperature [role=slider]").focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#prompt-temperature-value")).to_have_text("0.5")
    expect(page.locator("#prompt-footer")).to_contain_text("at temperature 0.5")
    last = logits(toy, IOI)[-1]
    probs = softmax(last / 0.5)
    assert column(page, 4)[0] == number(float(np.float32(probs.max())))
    page.locator("#prompt-top_k [role=slider]").focus()
    for _ in range(7):
        page.keyboard.press("ArrowLeft")
    expect(page.locator(".prompt-rows tbody tr")).to_have_count(3)
    assert "temperature=0.5" in page.url and "top_k=3" in page.url
    assert [(job.id, job.created) for job in workspace.jobs()] == jobs


def test_a_second_look_is_read_from_the_cache_and_says_so(page: Page, app_url: str) -> None:
    show(page, app_url, "The king saw the queen")
    expect(page.locator("#prompt-source")).to_have_text("computed just now")
    page.reload()
    expect(page.locator("#prompt-source")).to_have_text("from the cache")


def test_step_appends_the_top_token_and_a_row_appends_its_own(page: Page, app_url: str) -> None:
    show(page, app_url, "The king saw the")
    first = column(page, 2)[0]
    count = page.locator("#prompt-chips bdi").count()
    page.locator("#prompt-step").click()
    expect(page.locator("#prompt-chips bdi").last).to_have_text(first)
    expect(page.locator("#prompt-heading")).to_contain_text(first)
    expect(page.locator("#prompt-table table")).to_be_visible()
    third = column(page, 2)[2]
    page.locator(".prompt-append").nth(2).click()
    expect(page.locator("#prompt-chips bdi").last).to_have_text(third)
    assert page.locator("#prompt-chips bdi").count() == count + 2


def test_save_puts_the_shown_numbers_among_the_results(page: Page, app_url: str, workspace: Workspace) -> None:
    show(page, app_url, "The queen saw the", "&temperature=0.8")
    shown = column(page, 4)
    page.locator("#prompt-save").click()
    link = page.locator("#prompt-action-note a")
    expect(link).to_have_text("Open it")
    result = workspace.result((link.get_attribute("href") or "").partition("open=")[2])
    assert result is not None
    assert [number(float(value)) for value in result.grid("prob").values] == shown
    (card,) = [card for card in workspace.results() if card.id == result.id]
    assert card.saved


def test_one_token_has_no_surprisal_and_still_a_next_token(page: Page, app_url: str) -> None:
    show(page, app_url, "The")
    expect(page.locator("#prompt-count")).to_have_text("1 token")
    expect(page.locator("#prompt-mean")).to_have_count(0)
    expect(page.locator(".prompt-rows tbody tr")).to_have_count(10)


def test_nothing_jumps_when_the_numbers_arrive(page: Page, app_url: str) -> None:
    page.goto(f"{app_url}/prompt?model=toy&answer=&foil=&prompt={quote('The horse saw the bird and the fish')}")
    page.locator("#prompt-chips").wait_for()
    before = page.locator("#prompt-next-panel").bounding_box()
    expect(page.locator("#prompt-table table")).to_be_visible()
    after = page.locator("#prompt-next-panel").bounding_box()
    assert before is not None and after is not None
    assert before["y"] == after["y"]
