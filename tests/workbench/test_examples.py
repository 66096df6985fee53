"""A worked experiment fits the model that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyses.experiment import Experiment
from hooks.prompts import IdAnswer, ImagePrompt
from hooks.tiny import build
from workbench import api


def saved(variant: str, folder: Path) -> str:
    build(variant).save_pretrained(folder / variant)
    return str(folder / variant)


def ablation(model: str) -> Experiment:
    return api.example("ablation", model=model)


def test_a_language_model_is_given_the_indirect_object_task():
    experiment = ablation("toy")
    assert experiment.inputs["clean"].answers == (" Mary",) and experiment.params["metric"] == "logit_diff"


@pytest.mark.parametrize(
    ("variant", "metric"),
    [("bert-features", "embedding_cosine"), ("bert-classifier", "logit_diff"), ("t5", "kl"), ("vit", "logit_diff")],
)
def test_a_metric_that_the_model_has_is_chosen(variant: str, metric: str, tmp_path: Path):
    assert ablation(saved(variant, tmp_path)).params["metric"] == metric


def test_a_classifier_is_asked_for_one_class_against_another_and_an_encoder_for_nothing(tmp_path: Path):
    classifier = ablation(saved("bert-classifier", tmp_path)).inputs["clean"]
    assert (classifier.answers, classifier.foils) == ((IdAnswer(id=0),), (IdAnswer(id=1),))
    assert ablation(saved("bert-features", tmp_path)).inputs["clean"].answers == ()


def test_an_image_model_is_given_the_path_of_an_image_to_fill_in(tmp_path: Path):
    (prompt,) = ablation(saved("vit", tmp_path)).inputs["clean"].prompts
    assert isinstance(prompt, ImagePrompt) and prompt.image == "image.png"


def test_a_model_that_is_not_here_is_taken_for_a_language_model():
    assert ablation("nobody/nothing").inputs["clean"].answers == (" Mary",)
