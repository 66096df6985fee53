"""One journey for every kind of model that is no decoder: open, see attention, ablate, save, export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.kinds import save_kind

pytestmark = pytest.mark.browser
# One of each shape of page; the other kinds go the same way in tests/workbench/test_other_kinds.py.
KINDS = {
    "t5": "zero:encoder.L0.z[head=0]",
    "vit": "zero:L0.z[head=1]",
}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that saves the tiny model of a kind, once."""
    base, made = tmp_path_factory.mktemp("kinds"), {}

    def save(kind: str) -> Path:
        if kind not in made:
            size = {"image_size": 16} if kind == "vit" else {}
            made[kind] = save_kind(kind, base / kind, **size)
        return made[kind]

    return save


def go(page: Page, url: str, path: str, model: Path, more: str = "") -> None:
    page.goto(f"{url}{path}?model={quote(str(model))}{more}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_another_kind_is_browsed_ablated_saved_and_exported(
    page: Page, app_url: str, folder_of: Callable[[str], Path], kind: str
) -> None:
    model, metric = folder_of(kind), "" if kind in ("bert-features", "clip", "vit", "bert-classifier") else "&metric=kl"
    go(page, app_url, "/attention", model)
    expect(page.locator("#attn-text .attn-token").first).to_be_visible()
    expect(page.locator("#attn-map .heatmaplayer").first).to_be_attached()
    go(page, app_url, "/ablation", model, f"&edits={quote(KINDS[kind])}{metric}")
    expect(page.locator("#abl-effect")).not_to_be_empty()
    expect(page.locator("#tray-list .wb-edit")).to_have_count(1)
    page.locator("#abl-numbers").get_by_role("button", name="Save result").click()
    expect(page.locator("#abl-numbers .abl-saved")).to_contain_text("Saved to the results")
    result = page.locator("#abl-numbers [data-result]").get_attribute("data-result")
    answer = page.request.get(f"{app_url}/export/{result}/html")
    assert answer.ok and b"<html" in answer.body()
    page.get_by_role("navigation").get_by_role("link", name="Prompt").click()
    expect(page.locator("#ans-edited-panel #abl-ablated-table tbody tr").first).to_be_visible()
    expect(page.locator("#wb-notice")).to_have_count(0)


def test_the_prompt_page_never_speaks_of_a_next_token_where_there_is_none(
    page: Page, app_url: str, folder_of: Callable[[str], Path]
) -> None:
    go(page, app_url, "/prompt", folder_of("bert-features"))
    expect(page.locator("#ans-answer")).to_contain_text("no next token and no class")
    page.get_by_label("Compare with").fill("the store is open")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#ans-cosine")).not_to_have_text("–")
    assert "other=the+store" in page.url
    expect(page.locator("#page")).not_to_contain_text("Next token")


def test_a_link_that_lacks_only_the_models_own_metric_opens_its_page(
    page: Page, app_url: str, folder_of: Callable[[str], Path]
) -> None:
    go(page, app_url, "/model", folder_of("bert-features"), "&prompt=the%20store&answer=&foil=")
    expect(page.locator("#model-proof-panel")).to_be_visible()
    assert "metric=embedding_cosine" in page.url


def test_the_mask_is_what_a_masked_model_is_asked_for(
    page: Page, app_url: str, folder_of: Callable[[str], Path]
) -> None:
    go(page, app_url, "/prompt", folder_of("bert"))
    expect(page.locator("#ans-table tbody tr")).to_have_count(10)
    expect(page.locator("#ans-title")).to_contain_text("“[MASK]”")
    page.locator("#prompt-chips [data-wb-token='3']").click()
    expect(page.locator("#ans-title")).to_contain_text("Token at position 3")
    page.locator("#header-prompt").click()
    expect(page.get_by_text("Write [MASK] where the model is to fill in a token.")).to_be_visible()


def test_an_image_is_uploaded_shown_and_classified(
    page: Page, app_url: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    from PIL import Image

    go(page, app_url, "/prompt", folder_of("vit"))
    expect(page.locator("#ans-table tbody tr")).to_have_count(3)
    sample = page.url
    page.locator("#header-prompt").click()
    file = tmp_path / "red.png"
    Image.new("RGB", (30, 20), "red").save(file)
    page.locator("#prompt-upload input[type=file]").set_input_files(file)
    page.wait_for_url(lambda url: url != sample)
    assert ".png" in page.url and "red" not in page.url
    picture = page.locator("#ans-given .img-picture")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 16
    expect(page.locator("#ans-table tbody tr")).to_have_count(3)


def test_c45_a_file_that_is_no_image_is_refused_beside_the_field(
    page: Page, app_url: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    go(page, app_url, "/prompt", folder_of("vit"))
    expect(page.locator("#ans-table tbody tr")).to_have_count(3)
    page.locator("#header-prompt").click()
    file = tmp_path / "evil.npy"
    file.write_bytes(b"\x80\x04\x95 no array")
    page.locator("#prompt-upload input[type=file]").set_input_files(file)
    expect(page.locator("#prompt-error")).to_contain_text("no picture that can be read")


def test_a_patch_is_chosen_on_the_image(page: Page, app_url: str, folder_of: Callable[[str], Path]) -> None:
    go(page, app_url, "/attention", folder_of("vit"), "&layer=0&head=1")
    cells = page.locator("#attn-patches button")
    expect(cells).to_have_count(16)
    expect(page.locator("#attn-image-of")).to_contain_text("[class]")
    cells.nth(5).click()
    expect(page.locator("#attn-image-of")).to_contain_text("patch 1,1")
    expect(cells.nth(5)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#attn-readout")).to_contain_text("1,1 attends to")
    page.wait_for_url("**token=6**")


def test_a_stack_is_chosen_and_the_link_keeps_it(page: Page, app_url: str, folder_of: Callable[[str], Path]) -> None:
    go(page, app_url, "/attention", folder_of("t5"), "&target=the%20store")
    page.get_by_role("button", name="Cross-attention").click()
    expect(page.locator("#attn-keys .attn-token").first).to_be_visible()
    expect(page.locator("#attn-map .ytitle")).to_have_text("query: target token")
    expect(page.locator("#attn-map .xtitle")).to_have_text("key: source token")
    assert "stack=cross" in page.url
    page.reload()
    expect(page.locator("#attn-keys .attn-token").first).to_be_visible()
    page.locator("#attn-ablate").click()
    expect(page.locator("#tray-list")).to_contain_text("cross-attention h0")
    assert "cross_z" in page.url


def test_layers_without_attention_are_hatched_with_the_reason(
    page: Page, app_url: str, folder_of: Callable[[str], Path]
) -> None:
    go(page, app_url, "/attention", folder_of("jamba"))
    expect(page.locator("#attn-title")).to_contain_text("Layer 1")
    canvas = page.locator("#attn-canvas")
    expect(canvas).to_be_visible()
    page.wait_for_function("() => window.wbAttention.shown.tiles && window.wbAttention.shown.plan")
    canvas.hover(position={"x": 60, "y": 70})
    expect(page.locator("#attn-tip")).to_contain_text("mixer is mamba")
