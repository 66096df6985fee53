"""The Neurons page without a browser: what it asks for, what its cells stand for, what it says of one neuron."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analyses.analysis import normalised
from analyses.experiment import Experiment
from analyses.grid import Grid
from hooks.prompts import PromptSet
from tests.workbench.components import all_of, text_of
from workbench.figures.neurons import name_of, strips
from workbench.parts import neuron_watch
from workbench.parts.neuron_request import neuron_of, open_part, ranking_of, zeroed_of
from workbench.parts.results_links import page_link
from workbench.urls import State, read
from workbench.workspace import Workspace

PROMPT = "When Mary and John went to"


@pytest.fixture
def state(tiny_folder: Path) -> Callable[..., State]:
    """States of the page on the tiny model."""
    given = {"model": str(tiny_folder), "prompt": PROMPT, "answer": "!", "foil": "?"}
    return lambda **fields: State(**{**given, **fields})


def finished(workspace: Workspace, watch: Callable[..., neuron_watch.Seen], state: State, again: str = "") -> object:
    """What a panel shows when the jobs that it asks for have ended."""
    watch(workspace, state, "me", "light", again)
    for job in workspace.jobs(active=True):
        workspace.wait(job.id)
    return watch(workspace, state, "me", "light")[1]


def attributes(content: object, name: str) -> list[str]:
    return [getattr(item, name) for item in all_of(content, lambda item: hasattr(item, name))]


def test_the_ranking_is_the_experiment_that_any_other_door_would_send(
    opened: Workspace, state: Callable[..., State]
) -> None:
    given = state(rank_by="direct", within=1)
    by_hand = Experiment(
        model=given.model,
        inputs={"clean": PromptSet(prompts=(PROMPT,), answers=("!",), foils=("?",))},
        analysis="neuron_view",
        params={"score": "direct", "per_layer": True, "top": 240, "layers": [1]},
    )
    assert ranking_of(opened, given).id == normalised(by_hand).id
    # Activations do not depend on the answer, so another answer finds the same ranking.
    assert ranking_of(opened, state()).id == ranking_of(opened, state(answer="?", foil="!")).id
    assert ranking_of(opened, state(rank_by="at")).params["at"] == "last"
    assert ranking_of(opened, state(rank_by="at", position=2)).params["at"] == 2


def test_every_cell_opens_the_neuron_whose_number_it_shows(opened: Workspace, state: Callable[..., State]) -> None:
    content = finished(opened, neuron_watch.ranking, state())
    spec = json.loads(attributes(content, "data-cells")[0])
    result = opened.result(ranking_of(opened, state()).id)
    assert result is not None
    grid = result.grid("score")
    flat = [target for row in spec["targets"] for target in row]
    assert flat == list(grid.coords["neuron"]) and len(flat) == 2 * 24
    for target, text in zip(flat, (text for row in spec["texts"] for text in row), strict=True):
        assert f"neuron {name_of(target)} at “" in text
    listed = attributes(content, "data-neuron")
    assert np.abs(grid.values).max() == pytest.approx(abs(grid.values.ravel()[flat.index(listed[0])]))


def test_the_strongest_neuron_is_open_until_another_is_chosen(opened: Workspace, state: Callable[..., State]) -> None:
    finished(opened, neuron_watch.ranking, state())
    strongest = open_part(opened, state())
    assert strongest.startswith("L") and open_part(opened, state(neuron="L1.mlp_post[unit=5]")) == "L1.mlp_post[unit=5]"
    content = finished(opened, neuron_watch.neuron, state())
    assert attributes(content, "data-nrn-part") == [strongest]


def test_a_neuron_shows_its_number_at_every_token_with_gate_and_branch(
    opened: Workspace, state: Callable[..., State]
) -> None:
    given = state(neuron="L1.mlp_post[unit=5]")
    content = finished(opened, neuron_watch.neuron, given)
    facts = attributes(content, "data-nrn-facts")
    result = opened.result(neuron_of(opened, given, given.neuron).id)
    assert result is not None and len(facts) == result.grid("activation").values.size
    assert all("gate" in fact and "linear branch" in fact for fact in facts)
    words = text_of(content)
    assert "Tokens it raises" in words and "Direct effect" in words and "Weights only, no run" in words


def test_edits_and_zeroing_are_measured_apart_and_marked(opened: Workspace, state: Callable[..., State]) -> None:
    given = state(neuron="L1.mlp_post[unit=5]", edits="zero:L0.z[head=1]")
    shown = finished(opened, neuron_watch.edited, given)
    assert "edited" in text_of(shown) and "wb-edited" in getattr(shown, "className", "")
    assert neuron_watch.edited(opened, state(neuron=given.neuron), "me", "light")[1] is None
    # Zeroing is not measured before somebody asks, and then it is the Ablate page's own experiment.
    alone = state(neuron=given.neuron)
    assert neuron_watch.zeroed(opened, alone, "me", "light")[1] is None
    text = text_of(finished(opened, neuron_watch.zeroed, alone, again="neuron-zeroed"))
    result = opened.result(zeroed_of(opened, alone, alone.neuron).id)
    assert result is not None and result.experiment.params["at"] == ["L1.mlp_post[unit=5]"]
    assert "without neuron 1.5" in text


@pytest.mark.parametrize(("fields", "words"), [
    ({"rank_by": "direct", "answer": "", "foil": ""}, "need answers"),
    ({"rank_by": "at", "position": 99}, "osition 99 is not in every prompt"),
])  # fmt: skip
def test_what_cannot_be_ranked_is_said_where_the_ranking_would_be(
    fields: dict[str, object], words: str, opened: Workspace, state: Callable[..., State]
) -> None:
    given = state(**fields)
    assert words in text_of(finished(opened, neuron_watch.ranking, given))


def test_a_neuron_that_there_is_not_is_refused_in_its_panel(opened: Workspace, state: Callable[..., State]) -> None:
    given = state(neuron="L1.mlp_post[unit=4800]")
    assert "has 48 units" in text_of(finished(opened, neuron_watch.neuron, given))
    assert "is not a part" in text_of(neuron_watch.neuron(opened, state(neuron="[["), "me", "light")[1])


def test_a_result_leads_back_to_the_page_that_asks_for_it(opened: Workspace, state: Callable[..., State]) -> None:
    given = state(neuron="L1.mlp_post[unit=5]")
    link = page_link(neuron_of(opened, given, given.neuron))
    assert link is not None and link[0].startswith("/neurons?")
    assert read(link[0].partition("?")[2]).neuron == given.neuron
    ranked = ranking_of(opened, state(rank_by="at", position=2, within=1))
    link = page_link(ranked)
    assert link is not None and ranking_of(opened, read(link[0].partition("?")[2])).id == ranked.id


def test_one_layer_comes_in_rows_of_24_and_a_few_huge_values_do_not_pale_the_rest() -> None:
    values = np.concatenate([[1000.0], np.linspace(10, 1, 59)])[None]
    names = tuple(f"L3.mlp_post[unit={unit}]" for unit in range(60))
    coords = {"layer": (3,), "rank": tuple(range(60)), "neuron": names}
    picture, targets = strips(Grid("score", values, ("layer", "rank"), coords, "activation", 0.0))
    assert [len(row) for row in targets] == [24, 24, 12] and picture.rows == ("1", "25", "49")
    assert targets[1][0] == names[24] and "neuron 3.24" in picture.texts[1][0]
    assert picture.levels[0][0] == 1.0 and (picture.levels[0][1] or 0) > 0.5
    assert name_of("encoder.L1.expert_post[expert=2,unit=4]") == "encoder.1.2.4"
