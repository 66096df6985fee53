"""The block diagram says what the model is: in shapes and in words."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from workbench.figures.architecture import block_diagram
from workbench.figures.architecture_words import describe
from workbench.figures.theme import role

SVG = "{http://www.w3.org/2000/svg}"


def info(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "n_layers": 30, "n_heads": 9, "n_kv_heads": 3, "d_model": 576, "d_head": 64, "d_mlp": 1536, "d_vocab": 49152,
        "n_ctx": 8192, "norm": "pre", "norm_kind": "RMSNorm", "positions": "rotary", "parallel": False, "gated": True,
    }  # fmt: skip
    return {**base, **changes}


def shapes(spec: dict[str, Any]) -> ElementTree.Element:
    return ElementTree.fromstring(block_diagram(spec))


def words(spec: dict[str, Any]) -> list[str]:
    return [node.text or "" for node in shapes(spec).iter(f"{SVG}text")]


def test_each_query_head_is_a_square_over_its_shared_key_value_head() -> None:
    squares = [node for node in shapes(info()).iter(f"{SVG}rect") if node.get("rx") == "2"]
    heads = [node for node in squares if node.get("fill") == role("accent")]
    shared = [node for node in squares if node.get("fill") == role("line-strong")]
    assert (len(heads), len(shared)) == (9, 3)
    first = shared[0]
    left, width = float(first.get("x", 0)), float(first.get("width", 0))
    over = [node for node in heads if left <= float(node.get("x", 0)) < left + width]
    assert len(over) == 3


def test_heads_with_their_own_keys_share_nothing() -> None:
    squares = [node for node in shapes(info(n_kv_heads=9)).iter(f"{SVG}rect") if node.get("rx") == "2"]
    assert len(squares) == 9
    assert "9 heads" in words(info(n_kv_heads=9))


@pytest.mark.parametrize(("norm", "count"), [("pre", 2), ("sandwich", 4), ("post", 2)])
def test_norms_stand_where_the_model_has_them(norm: str, count: int) -> None:
    labels = words(info(norm=norm))
    assert labels.count("Norm") == count
    assert ("Final norm" in labels) == (norm != "post")


def test_a_sequential_block_writes_twice_and_a_parallel_block_once() -> None:
    def writes(spec: dict[str, Any]) -> int:
        return len(list(shapes(spec).iter(f"{SVG}circle")))

    assert writes(info()) == 2
    assert writes(info(parallel=True)) == 1


def test_learned_positions_and_the_gate_are_named() -> None:
    assert "+ learned positions" in words(info(positions="learned"))
    assert "Gated MLP" in words(info())
    assert "MLP" in words(info(gated=False))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"parallel": True},
        {"norm": "sandwich"},
        {"norm": "post"},
        {"n_heads": 64, "n_kv_heads": 8},
        {"n_heads": 32, "n_kv_heads": 1},
    ],
)
def test_nothing_is_drawn_outside_the_sheet(changes: dict[str, Any]) -> None:
    sheet = shapes(info(**changes))
    width, height = float(sheet.get("width", 0)), float(sheet.get("height", 0))
    for node in sheet.iter(f"{SVG}rect"):
        x, y = float(node.get("x", 0)), float(node.get("y", 0))
        assert x >= 0 and x + float(node.get("width", 0)) <= width
        assert y >= 0 and y + float(node.get("height", 0)) <= height


def test_the_same_in_words_for_those_who_do_not_see_it() -> None:
    text = describe(info())
    assert "30 layers, each with RMSNorm before attention and before the MLP" in text
    assert "9 query heads over 3 key/value heads" in text
    assert "1536 neurons behind a gate" in text
    assert "side by side" in describe(info(parallel=True))
