"""The Prompt page on the real model: tokens as fed, numbers as the unobserved model gives them."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import numpy as np
import pytest
import torch
from playwright.sync_api import Locator, Page, expect
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


def cells(page: Page, number: int) -> Locator:
    return page.locator(f".prompt-rows tbody td:nth-child({number})")


def column(page: Page, number: int) -> list[str]:
    return cells(page, number).all_text_contents()


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


@pytest.mark.parametrize("text", ["هذا اختبار", "سلام means hi 每个人都有他的作战策略"])
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
    expect(cells(page, 6)).to_have_text([str(token) for token in order])
    expect(cells(page, 4)).to_have_text([number(float(np.float32(probs[token]))) for token in order])
    expect(cells(page, 5)).to_have_text([number(float(last[token])) for token in order])
    expect(cells(page, 1)).to_have_text([str(rank) for rank in range(10)])


def test_a_click_on_a_token_shows_what_was_expected_after_it(
    page: Page, app_url: str, toy: tuple[object, object]
) -> None:
    show(page, app_url)
    page.locator("#prompt-chips [data-wb-token='2']").click()
    expect(page.locator("#prompt-heading")).to_contain_text("after position 2")
    assert "position=2" in page.url
    row = logits(toy, IOI)[2]
    expect(cells(page, 6).first).to_have_text(str(int(row.argmax())))
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
    expect(cells(page, 4).first).to_have_text(number(float(np.float32(probs.max()))))
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


def test_a_row_appends_its_own_token_to_the_prompt(page: Page, app_url: str) -> None:
    show(page, app_url, "The king saw the")
    third, count = column(page, 2)[2], page.locator("#prompt-chips bdi").count()
    page.locator(".prompt-append").nth(2).click()
    expect(page.locator("#prompt-chips bdi")).to_have_count(count + 1)
    expect(page.locator("#prompt-chips bdi").last).to_have_text(third)


def test_step_takes_the_top_token_and_its_chip_opens_what_else_could_have_come(
    page: Page, app_url: str, toy: tuple[object, object]
) -> None:
    show(page, app_url, "The king saw the")
    tops = column(page, 6)
    page.locator("#gen-step").click()
    made = page.locator("#gen-chips [data-gen-step]")
    expect(made).to_have_count(1)
    expect(page.locator("#prompt-heading")).to_contain_text("Alternatives at step 1")
    expect(cells(page, 6)).to_have_text(tops)
    expect(page.locator(".prompt-rows .wb-tag")).to_have_text("taken")
    expect(page.locator("#gen-attention-row .gen-weight")).to_have_count(page.locator("#prompt-chips bdi").count())
    page.locator("#gen-many").click()
    expect(made).to_have_count(11)
    made.nth(1).click()
    expect(page.locator("#prompt-heading")).to_contain_text("Alternatives at step 2")
    ids = toy[1]("The king saw the")["input_ids"]  # type: ignore[operator]
    with torch.inference_mode():
        row = toy[0](torch.tensor([[*ids, int(tops[0])]])).logits[0, -1]  # type: ignore[operator]
    expect(cells(page, 6).first).to_have_text(str(int(row.argmax())))
    page.locator("#prompt-chips [data-wb-token='2']").click()
    expect(page.locator("#prompt-heading")).to_contain_text("after position 2")
    expect(page.locator("#gen-attention")).to_be_hidden()


def test_a_link_makes_the_same_drawn_continuation_and_undo_and_reset_take_it_back(page: Page, app_url: str) -> None:
    show(page, app_url, "The queen saw the", "&sampled=1&seed=4&temperature=1.5&steps=6&chosen=5")
    made = page.locator("#gen-chips [data-gen-step]")
    expect(made).to_have_count(6)
    texts = made.all_text_contents()
    page.reload()
    expect(made).to_have_text(texts)
    page.locator("#gen-undo").click()
    expect(made).to_have_text(texts[:5])
    assert "steps=5" in page.url
    page.get_by_text("Greedy", exact=True).click()
    expect(page.locator("#gen-status")).to_contain_text("greedy")
    page.locator("#gen-reset").click()
    expect(page.locator("#gen-strip")).to_contain_text("Nothing generated yet")
    expect(page.locator("#gen-undo")).to_be_disabled()
    assert "steps" not in page.url and "chosen" not in page.url


def test_edits_act_on_the_continuation_which_says_so_beside_the_clean_one(page: Page, app_url: str) -> None:
    show(page, app_url, "The queen saw the", "&steps=3&edits=zero:L0.mlp_out")
    expect(page.locator("#gen-chips [data-gen-step]")).to_have_count(3)
    expect(page.locator("#gen-clean > *")).to_have_count(3)
    expect(page.locator("#gen-panel .wb-edited-word")).to_be_visible()
    page.locator("#gen-chips [data-gen-step]").first.click()
    expect(page.locator("#prompt-heading .wb-edited-word")).to_be_visible()
    page.locator("[data-wb-action='clear-edits']").click()
    expect(page.locator("#gen-clean")).to_have_count(0)
    expect(page.locator("#gen-panel .wb-edited-word")).to_be_hidden()


def test_the_continuation_can_be_kept_as_the_prompt(page: Page, app_url: str) -> None:
    show(page, app_url, "The queen saw the", "&steps=2&chosen=1")
    made = page.locator("#gen-chips [data-gen-step]")
    expect(made).to_have_count(2)
    texts, count = made.all_text_contents(), page.locator("#prompt-chips bdi").count()
    page.locator("#gen-keep").click()
    chips = page.locator("#prompt-chips bdi")
    expect(chips).to_have_count(count + 2)
    expect(chips.nth(count)).to_have_text(texts[0])
    expect(chips.nth(count + 1)).to_have_text(texts[1])
    expect(page.locator("#gen-strip")).to_contain_text("Nothing generated yet")


def test_the_head_of_a_steps_attention_can_be_picked_and_stands_in_the_address(page: Page, app_url: str) -> None:
    show(page, app_url, "The queen saw the", "&steps=2&chosen=1&layer=1&head=2")
    words = page.locator("#gen-attention-words")
    expect(words).to_contain_text("Layer 1, head 2")
    page.locator("#gen-head").click()
    page.get_by_role("option", name="Mean of all heads").click()
    expect(words).to_contain_text("Mean over the heads of layer 1")
    assert "head=" not in page.url.replace("layer", "")


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
