"""The Ablate page without a browser: what it asks for; what it shows while it waits, after a failure or a cancel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyses.analysis import normalised
from analyses.bench import Bench
from analyses.catalogue.ablation import parts_of
from analyses.experiment import Experiment
from analyses.grid import Grid
from analyses.sweep import Measured
from hooks.errors import InputError, SpecError
from hooks.info import ModelInfo
from hooks.prompts import PromptSet
from hooks.sites import Part
from tests.workbench.components import all_of, text_of
from workbench.figures.numbers import number
from workbench.pages import ablation as page
from workbench.parts import ablation_request as asks
from workbench.parts import metric_field
from workbench.parts.ablation_effect import later, numbers
from workbench.parts.ablation_picker import picker_spec, position_chips
from workbench.parts.ablation_sweep import status
from workbench.parts.ablation_watch import heading, leave, start_sweep, watch_effect, watch_sweep
from workbench.requests import ExperimentRequest
from workbench.urls import State
from workbench.workspace import Workspace

PROMPT, ANSWER, FOIL = "When Mary and John went to", "!", "?"
INFO = {"n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_mlp": 48}
EDIT = "zero:L0.z[head=1]"


@pytest.fixture
def state(tiny_folder: Path) -> Callable[..., State]:
    """States of the page on the tiny model."""
    return lambda **fields: State(model=str(tiny_folder), prompt=PROMPT, answer=ANSWER, foil=FOIL, **fields)


def data_of(component: Any, name: str) -> list[str]:
    return [getattr(found, name) for found in all_of(component, lambda item: hasattr(item, name))]


# ---- What is asked for


def test_the_tray_becomes_the_experiment_that_any_other_door_would_send(state: Callable[..., State]) -> None:
    asked = asks.effect_experiment(given := state(edits=f"{EDIT};zero:L1.mlp_out"), asks.selection(given))
    by_hand = Experiment(
        model=given.model,
        inputs={"clean": PromptSet(prompts=(PROMPT,), answers=(ANSWER,), foils=(FOIL,))},
        analysis="ablation",
        params={"kind": "zero", "at": ["L0.z[head=1]", "L1.mlp_out"], "metric": "logit_diff"},
    )
    assert asked.id == normalised(by_hand).id


def test_a_tray_with_two_kinds_replaces_each_part_in_its_own_way(state: Callable[..., State]) -> None:
    given = state(edits=f"{EDIT};mean:L1.mlp_out")
    asked = asks.effect_experiment(given, asks.selection(given))
    zero, mean = asked.params["at"]
    assert (zero["kind"], zero["at"]) == ("zero", "L0.z[head=1]")
    assert (mean["kind"], mean["at"], mean["over"]) == ("mean", "L1.mlp_out", "positions")
    assert "mean-ablate MLP 1" in heading(given, INFO)


def test_a_mean_over_one_prompt_is_taken_over_its_positions(state: Callable[..., State]) -> None:
    given = state(edits="mean:L0.z[head=1]", kind="mean")
    assert asks.effect_experiment(given, asks.selection(given)).params["mean_over"] == "positions"
    assert asks.sweep_experiment(given).params["mean_over"] == "positions"


@pytest.mark.parametrize(
    ("over", "site"), [*((over, "z") for over in asks.SWEEPS), ("head", "q"), ("head", "k"), ("head", "v")]
)
def test_a_cell_stands_for_the_parts_that_the_sweep_removes(
    over: str, site: str, state: Callable[..., State], opened: Workspace
) -> None:
    summary = opened.summary(state().model)
    assert summary is not None
    info = ModelInfo.model_validate(summary["info"])
    coords = asks.sweep_coords(state(over=over, within=1, site=site), summary["info"], 5)
    cells = parts_of(over, info, tuple(coords["layer"]), 5, site)  # type: ignore[arg-type]
    for cell, parts in cells.items():
        assert asks.parts_at(over, dict(zip(coords, cell, strict=True)), site=site) == parts
    assert len(cells) == int(np.prod([len(labels) for labels in coords.values()]))


def test_a_position_goes_into_every_part_that_is_added() -> None:
    assert asks.parts_at("head", {"layer": 1, "head": 2}, 4) == (Part.parse("L1.z[head=2,pos=4]"),)
    assert asks.parts_at("neuron", {"layer": 1, "unit": 7}, 4) == (Part.parse("L1.mlp_post[pos=4,unit=7]"),)
    assert [str(part) for part in asks.parts_at("layer", {"layer": 1}, 4)] == [
        "L1.attn_out[pos=4]",
        "L1.mlp_out[pos=4]",
    ]


def test_templates_print_parts_as_parts_print_themselves() -> None:
    for over, at in {"head": {"layer": 1, "head": 2}, "neuron": {"layer": 1, "unit": 7}}.items():
        (text,) = [asks.template(over, 3).format(**at)]
        assert text == str(Part.parse(text))


def test_kind_position_and_parts_rewrite_the_tray(state: Callable[..., State]) -> None:
    given = state(edits=f"{EDIT};zero:L1.mlp_out")
    assert asks.with_kind(given, "mean") == "mean:L0.z[head=1];mean:L1.mlp_out"
    assert asks.with_where(given, 3) == "zero:L0.z[head=1,pos=3];zero:L1.mlp_out[pos=3]"
    back = state(edits=asks.with_where(given, 3))
    assert asks.with_where(back, None) == given.edits
    assert (
        asks.with_parts(given, (Part.parse("L0.z[head=1]"), Part.parse("L1.attn_out")))
        == given.edits + ";zero:L1.attn_out"
    )


def test_a_pattern_edit_has_no_one_position_and_keeps_its_own(state: Callable[..., State]) -> None:
    given = state(edits="zero:L0.pattern[head=1]")
    assert asks.with_where(given, 3) == given.edits


@pytest.mark.parametrize(
    ("metric", "answer", "foil", "lacks"),
    [
        ("logit_diff", "", "", "answer"),
        ("logit_diff", " a", "", "foil"),
        ("logprob", "", " b", "answer"),
        ("prob", "", "", "answer"),
    ],
)
def test_a_metric_says_what_the_prompt_lacks(metric: str, answer: str, foil: str, lacks: str) -> None:
    with pytest.raises(InputError, match=lacks) as raised:
        asks.check_metric(State(metric=metric, answer=answer, foil=foil))
    assert raised.value.hint


@pytest.mark.parametrize("metric", ["kl", "loss"])
def test_kl_and_loss_need_no_answer(metric: str) -> None:
    asks.check_metric(State(metric=metric, answer="", foil=""))


def test_an_expression_is_measured_as_it_is_written(state: Callable[..., State]) -> None:
    own = "logit('!') - max(logit('?'), logit(foil))"
    given = state(edits=EDIT, metric=own)
    assert asks.effect_experiment(given, asks.selection(given)).params["metric"] == {"expression": own}
    with pytest.raises(InputError, match="needs a foil"):
        asks.check_metric(given.model_copy(update={"foil": ""}))


@pytest.mark.parametrize(
    ("metric", "wrong"),
    [("kl", ""), ("logit('!')", ""), ("logit('!'", "character 10"), ("logit('two words')", "tokens"),
     ("logit('!') + prob('?')", "unit")],
)  # fmt: skip
def test_what_is_wrong_with_an_expression_is_said_before_it_runs(
    opened: Workspace, state: Callable[..., State], metric: str, wrong: str
) -> None:
    said = metric_field.what_is_wrong(opened, state(metric=metric))
    assert (wrong in said) if wrong else said == ""


def test_an_unknown_metric_or_sweep_from_an_address_is_named() -> None:
    with pytest.raises(SpecError, match="'luck' is not a metric"):
        asks.check_metric(State(metric="luck"))
    with pytest.raises(SpecError, match="'x' is not a sweep"):
        asks.sweep_experiment(State(over="x"))


# ---- The picker


def test_the_picker_offers_every_head_block_and_layer_as_parts_that_parse() -> None:
    spec = picker_spec(INFO, asks.Selection((), "zero", None))
    assert spec["cols"] == ["0", "1", "2", "3", "attn", "MLP", "layer"]
    assert len(spec["rows"]) == 2
    for col, target in enumerate(spec["target"]):
        for text in target.format(layer=1, head=spec["colKeys"][1][col]).split(";"):
            Part.parse(text)
    assert json.loads(json.dumps(spec)) == spec


@pytest.mark.parametrize(("site", "word"), [("k", "keys"), ("v", "values")])
def test_c19_the_picker_offers_keys_and_values_by_key_value_head_and_names_its_query_heads(
    site: str, word: str
) -> None:
    spec = picker_spec(INFO, asks.Selection((), "zero", None, site))
    assert spec["cols"] == ["0", "1", "attn", "MLP", "layer"] and spec["gap"] == 2
    assert (spec["colName"], spec["colDim"]) == ("key/value head", "kv_head")
    at = {"layer": 1, "kv_head": 1}
    assert spec["target"][1].format(**at) == f"L1.{site}[head=1]"
    assert spec["name"][1].format(**at) == f"{word} of key/value head 1.1 (query heads 2–3)"
    assert [text.format(layer=1) for text in spec["target"][2:]] == [
        "L1.attn_out",
        "L1.mlp_out",
        "L1.attn_out;L1.mlp_out",
    ]


def test_c19_a_sweep_of_values_draws_and_lists_key_value_heads(opened: Workspace, state: Callable[..., State]) -> None:
    given = state(over="head", site="v")
    before = watch_sweep(opened, given, "s")
    assert "4 parts, each ablated alone" in text_of(before.content)  # two layers of two
    opened.wait(start_sweep(opened, given, "s").id)
    after = watch_sweep(opened, given, "s")
    result = opened.result(before.job)
    assert result is not None and result.grid("effect").dims == ("layer", "kv_head")
    (drawn,) = data_of(after.content, "data-cells")
    spec = json.loads(drawn)
    assert spec["colName"] == "key/value head" and spec["cols"] == ["0", "1"]
    assert spec["name"][1].format(layer=0, kv_head=1) == "values of key/value head 0.1 (query heads 2–3)"
    assert set(data_of(after.content, "data-abl-toggle")) == {f"L{at}.v[head={j}]" for at in range(2) for j in range(2)}
    assert "values of key/value head 1.0 (query heads 0–1)" in text_of(after.content)


def test_c19_the_sentence_of_a_key_value_head_says_which_query_heads_read_it(state: Callable[..., State]) -> None:
    words = heading(state(edits="zero:L1.k[head=1];zero:L0.v[head=1]"), INFO)
    assert "keys of key/value head 1.1" in words and "values of key/value head 0.1" in words
    assert words.count("Key/value head 1 is read by query heads 2–3.") == 1


def test_an_unknown_site_from_an_address_is_the_output(state: Callable[..., State]) -> None:
    assert asks.sweep_experiment(state(site="luck")).id == asks.sweep_experiment(state()).id
    assert asks.sweep_experiment(state(site="k")).params["site"] == "k"
    assert "site" not in asks.sweep_experiment(state(site="k", over="mlp")).params


def test_positions_are_offered_as_the_tokens_that_are_fed(opened: Workspace, state: Callable[..., State]) -> None:
    batch = opened.tokens(state().model, state().inputs())
    chips = position_chips(batch, 2)
    assert data_of(chips, "data-abl-where") == ["", *map(str, range(batch.lengths[0]))]
    pressed = all_of(chips, lambda item: getattr(item, "aria-pressed", "") == "true")
    assert [getattr(chip, "data-abl-where") for chip in pressed] == ["2"]


# ---- The effect


def test_an_empty_tray_offers_the_one_next_step(opened: Workspace, state: Callable[..., State]) -> None:
    seen = watch_effect(opened, state(), "s")
    assert "Nothing is ablated yet" in text_of(seen.content)
    assert len(all_of(seen.content, lambda item: getattr(item, "_type", "") == "Button")) == 1
    assert opened.jobs(active=True) == []


def test_the_effect_runs_by_itself_and_shows_the_numbers_of_its_result(
    opened: Workspace, state: Callable[..., State]
) -> None:
    given = state(edits=EDIT)
    first = watch_effect(opened, given, "s")
    assert opened.wait(first.job).state == "done"
    seen = watch_effect(opened, given, "s")
    result = opened.result(first.job)
    assert result is not None and seen.key != first.key
    shown = text_of(seen.content)
    assert number(float(result.grid("effect").values), signed=True) in shown
    assert number(float(result.grid("kl").values)) in shown
    for grid in ("prob_clean", "prob_ablated"):
        assert number(float(result.grid(grid).values[0])) in shown
    assert "edited" in shown


def test_c31_what_is_shown_follows_the_controls_and_not_the_last_job(
    opened: Workspace, state: Callable[..., State]
) -> None:
    one, two = state(edits="zero:L0.z[head=0]"), state(edits="zero:L0.z[head=2]")
    for given in (one, two):
        opened.wait(watch_effect(opened, given, "s").job)
    for given in (one, two):
        experiment = asks.effect_experiment(given, asks.selection(given))
        saved = [
            getattr(row, "data-result", None)
            for row in all_of(watch_effect(opened, given, "s").content, lambda i: hasattr(i, "data-result"))
        ]
        assert saved == [experiment.id]


def test_C34_a_failed_ablation_says_why_and_can_be_run_again(opened: Workspace, state: Callable[..., State]) -> None:
    given = state(edits="zero:L9.z[head=0]")
    job = opened.wait(watch_effect(opened, given, "s").job)
    assert job.state == "failed" and job.error is not None
    seen = watch_effect(opened, given, "s")
    assert job.error["message"][1:] in text_of(seen.content)
    assert job.error["hint"] in text_of(seen.content)
    assert {"type": "abl-again", "of": "effect"} in [
        getattr(item, "id", None) for item in all_of(seen.content, lambda i: True)
    ]
    again = watch_effect(opened, given, "s", again=True)
    assert again.key != seen.key
    opened.wait(again.job)


def test_c31_a_job_that_is_not_shown_any_more_is_stopped_for_this_session_only(state: Callable[..., State]) -> None:
    cancelled: list[tuple[str, str]] = []

    class Asked:
        def job(self, job_id: str) -> Any:
            return type("Job", (), {"active": job_id == "runs"})()

        def cancel(self, job_id: str, *, session: str) -> None:
            cancelled.append((job_id, session))

    leave(Asked(), "runs", "s")  # type: ignore[arg-type]
    leave(Asked(), "ended", "s")  # type: ignore[arg-type]
    assert cancelled == [("runs", "s")]


def test_an_unreadable_tray_is_an_error_with_the_picker_still_there(
    opened: Workspace, state: Callable[..., State]
) -> None:
    given = state(edits="zero:L0.nothing")
    assert "Unknown site" in text_of(watch_effect(opened, given, "s").content)
    drawn = page.layout(opened, given)
    assert "nknown site" in text_of(drawn)
    assert all_of(drawn, lambda item: getattr(item, "id", "") == "abl-picker")


def test_a_missing_answer_leads_to_the_prompt(opened: Workspace, state: Callable[..., State]) -> None:
    given = state(edits=EDIT).model_copy(update={"answer": "", "foil": ""})
    for seen in (watch_effect(opened, given, "s"), watch_sweep(opened, given, "s")):
        assert "needs an answer" in text_of(seen.content)
        assert data_of(seen.content, "data-wb-action") == ["prompt"]


def test_attention_is_shown_from_the_first_layer_that_moved() -> None:
    coords = {"layer": (0, 1, 2), "head": (0, 1)}
    values = np.array([[0, 0], [0, 0.25], [0.5, 0]], np.float32)
    cut = later(Grid("pattern_shift", values, ("layer", "head"), coords, "fraction", 0.0))
    assert cut.coords["layer"] == (1, 2)
    assert cut.values.tolist() == [[0, 0.25], [0.5, 0]]


# ---- The sweep


def test_every_prompt_of_a_task_has_a_dot_and_the_mean_says_over_how_many(
    opened: Workspace, state: Callable[..., State]
) -> None:
    rows = [json.dumps({"prompt": f"{PROMPT}{end}", "answer": "!", "foil": "?"}) for end in (" a", " b")]
    data = opened.tables.put("two.jsonl", "jsonl", "\n".join(rows).encode())
    given = state(edits=EDIT, data=data)
    opened.wait(watch_effect(opened, given, "me").job)
    seen = watch_effect(opened, given, "me").content
    assert "mean over 2 prompts" in text_of(seen) and "95 % interval" in text_of(seen)
    (dots,) = all_of(seen, lambda part: getattr(part, "id", None) == "abl-prompts")
    assert len(dots.figure.data[0].x) == 2


def test_cells_inside_the_controls_range_are_grey_where_that_is_asked_for(
    opened: Workspace, state: Callable[..., State]
) -> None:
    opened.wait(start_sweep(opened, given := state(), "me").id)
    shown, hidden = (
        watch_sweep(opened, given.model_copy(update={"hide_inside": hide}), "me").content for hide in (False, True)
    )
    spec, grey = (json.loads(data_of(content, "data-cells")[0]) for content in (shown, hidden))
    assert spec["inside"] == grey["inside"] and sum(map(sum, grey["inside"])) > 0
    assert (spec["grey"], grey["grey"]) == (False, True)
    outside = 8 - sum(map(sum, grey["inside"]))
    assert f"{outside} of 8 cells lie outside it" in text_of(hidden)
    assert len(data_of(hidden, "data-abl-toggle")) == outside < len(data_of(shown, "data-abl-toggle"))


def test_a_sweep_waits_to_be_asked_and_then_measures_every_cell(opened: Workspace, state: Callable[..., State]) -> None:
    given = state(over="mlp", edits=EDIT)
    before = watch_sweep(opened, given, "s")
    assert opened.job(before.job) is None
    assert "2 parts, each ablated alone" in text_of(before.content)
    opened.wait(start_sweep(opened, given, "s").id)
    after = watch_sweep(opened, given, "s")
    assert "2 of 2 measured" in text_of(after.content)
    result = opened.result(before.job)
    assert result is not None
    values = [number(float(value), signed=True) for value in result.grid("effect").values]
    assert all(value in text_of(after.content) for value in values)
    assert set(data_of(after.content, "data-abl-toggle")) == {"L0.mlp_out", "L1.mlp_out"}


def test_cancelling_a_sweep_keeps_what_was_measured(
    opened: Workspace, state: Callable[..., State], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = state(over="head", metric="kl")
    step = Bench.step

    def cancel_after_the_first(self: Bench, done: int, total: int, message: str, partial: Grid | None = None) -> None:
        step(self, done, total, message, partial)
        if partial is not None and partial.valid is not None:
            opened.cancel(asks.sweep_experiment(given).id)
            step(self, done, total, message, None)

    def first_three(bench: Bench, inputs: str, worlds: Any, metrics: Any, *, on_chunk: Any = None) -> Any:
        measured = Measured(np.zeros((2, 1)), np.ones((2, len(worlds), 1)), np.arange(len(worlds)) < 3)
        on_chunk(measured)
        pytest.fail("the sweep went on after it was cancelled")

    monkeypatch.setattr(Bench, "step", cancel_after_the_first)
    monkeypatch.setattr("analyses.catalogue.ablation.sweep", first_three)
    job = opened.wait(start_sweep(opened, given, "s").id)
    assert job.state == "cancelled"
    shown = text_of(watch_sweep(opened, given, "s").content)
    assert "Cancelled: 3 of 8 measured" in shown


def test_a_sweep_under_way_says_how_far_and_how_long_and_can_be_cancelled(state: Callable[..., State]) -> None:
    job = type(
        "Job",
        (),
        {
            "active": True,
            "state": "running",
            "message": "ablating",
            "done": 3,
            "total": 8,
            "seconds_left": 12.0,
            "sessions": ("s",),
        },
    )()
    assert "3 of 8 measured · 12\u2009s left" in text_of(status(job, 3, 8, "s"))
    ours = all_of(status(job, 3, 8, "s"), lambda item: getattr(item, "id", "") == "abl-sweep-cancel")
    others = all_of(status(job, 3, 8, "t"), lambda item: getattr(item, "id", "") == "abl-sweep-cancel")
    assert (len(ours), len(others)) == (1, 0)


def test_probability_effects_carry_a_sign_on_the_page(opened: Workspace, state: Callable[..., State]) -> None:
    given = state(edits=EDIT, metric="prob")
    opened.wait(watch_effect(opened, given, "s").job)
    result = opened.result(asks.effect_experiment(given, asks.selection(given)).id)
    assert result is not None
    tile = all_of(numbers(result, None), lambda item: getattr(item, "id", "") == "abl-effect")
    assert text_of(tile)[0] in "+\u2212"


def test_the_request_that_the_page_sends_is_the_one_it_looks_up(opened: Workspace, state: Callable[..., State]) -> None:
    given = state(edits=EDIT)
    experiment = asks.effect_experiment(given, asks.selection(given))
    assert opened.submit(ExperimentRequest(experiment=experiment), session="s").id == experiment.id
    opened.wait(experiment.id)
