"""The table of all families: every one opens with exact parity, and the page in docs/ says what was proved."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench import families

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return families.check_families()


def test_every_family_opens_with_the_logits_of_the_unhooked_model(rows):
    assert len(rows) >= 54
    assert {row["name"]: row["error"] or (row["parity"], row["identity"]) for row in rows} == {
        row["name"]: (0.0, 0.0) for row in rows
    }


def test_every_refusal_has_a_reason_and_none_is_a_failed_check(rows):
    reasons = [reason for row in rows for reason in row["refused"]]
    assert reasons and all(reasons)
    assert not [reason for reason in reasons if "off by" in reason or "not found" in reason]


def test_the_page_of_architectures_is_current(rows):
    assert (ROOT / "docs" / "architectures.md").read_text("utf-8") == families.markdown(rows)


def test_a_part_that_a_model_does_not_have_is_no_refusal():
    rows = [
        {"site": "cross_q", "stack": "decoder", "reason": "no cross-attention in this stack"},
        {"site": "scores", "stack": "decoder", "reason": families.READ_ONLY["scores"]},
        {"site": "q_rot", "stack": "encoder", "reason": "this family computes attention in its own code"},
    ]
    assert families.refused(rows) == {"this family computes attention in its own code": ["encoder.q_rot"]}
