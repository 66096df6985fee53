"""Experiments: one request, one id, through JSON and back."""

from __future__ import annotations

import json

import pytest

from analyses.analysis import catalogue, normalised, sentence
from analyses.experiment import Experiment, parse_experiment
from hooks.errors import InputError, SpecError

IOI = {
    "version": 1,
    "model": {"name": "smollm2-135m"},
    "inputs": {
        "clean": {"prompts": ["When Mary and John went"], "answers": [" Mary"], "foils": [" John"]},
        "corrupt": {"prompts": ["When Mary and John went"]},
    },
    "analysis": "ablation",
    "params": {"kind": "zero", "over": "head", "metric": "logit_diff"},
    "seed": 0,
    "note": "",
}


def changed(**fields):
    return normalised(parse_experiment(json.dumps({**IOI, **fields})))


def test_json_round_trip_keeps_the_id():
    first = changed()
    assert parse_experiment(json.dumps(first.to_json())).id == first.id


def test_defaults_left_out_or_written_out_and_notes_give_the_same_id():
    assert changed(params={}).id == changed().id == changed(note="remark").id
    assert changed(model="smollm2-135m").id == changed().id


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 1},
        {"params": {"kind": "mean"}},
        {"model": {"name": "toy"}},
        {"inputs": {"clean": {"prompts": ["x"], "answers": [" Mary"], "foils": [" John"]}}},
    ],
)
def test_whatever_can_change_a_number_changes_the_id(fields):
    assert changed(**fields).id != changed().id


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"analysis": "magic"}, "unknown analysis 'magic'"),
        ({"params": {"over": "heads"}}, "params.over"),
        ({"params": {"speed": 3}}, "params.speed"),
        ({"params": {"over": "head", "at": ["L0.z"]}}, "give over or at"),
        ({"params": {"at": ["L0.zz"]}}, "unknown site 'zz'"),
        ({"surprise": 1}, "surprise"),
        ({"version": 7}, "version"),
    ],
)
def test_a_malformed_experiment_names_the_wrong_field(fields, message):
    with pytest.raises(SpecError) as caught:
        changed(**fields)
    assert message in caught.value.message and caught.value.hint


def test_a_missing_prompt_set_is_asked_for_by_name():
    with pytest.raises(InputError, match=r"needs inputs\.clean"):
        changed(inputs={})


@pytest.mark.parametrize("text", ["", "{", "[]", "\ud800".encode("utf-8", "surrogatepass")])
def test_what_is_not_an_experiment_is_refused(text):
    with pytest.raises(SpecError):
        parse_experiment(text)


def test_every_analysis_has_a_source_and_describes_itself_in_a_sentence():
    for analysis in catalogue().values():
        assert analysis.source and analysis.summary and analysis.Params.__doc__
        inputs = {"clean": IOI["inputs"]["clean"]} if analysis.inputs else {}
        spec = {"model": "m", "inputs": inputs, "analysis": analysis.name, "params": dict(analysis.example)}
        words = sentence(Experiment.model_validate(spec))
        assert words[0].isupper() and words.endswith(".")


def test_sentences_name_parts_as_a_reader_would():
    params = {"at": ["L23.z[head=3]", "L5.mlp_out", {"kind": "mean", "at": "L2.attn_out[pos=last]"}]}
    assert sentence(changed(params=params)) == (
        "Zero head 23.3 and MLP 5, mean-ablate attention 2 at the last position on 1 prompt; "
        "measure logit(‘ Mary’) − logit(‘ John’)."
    )
