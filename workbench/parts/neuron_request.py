"""From the state of the Neurons page to its experiments: the ranking, one neuron, clean and edited, and without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyses.analysis import normalised
from analyses.experiment import Experiment
from analyses.result import Result
from hooks.errors import WorkbenchError
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from hooks.sites import MAIN, Part
from workbench.parts.ablation_request import effect_experiment, selection
from workbench.parts.given import inputs_for, inputs_of
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

PER_LAYER, OF_ONE = 24, 240
"""How many neurons are shown of each layer, and of a layer that is chosen alone."""
RANKS = {"peak": "Peak activation", "at": "Activation at a token", "direct": "Direct effect on the answer"}
LAST = "last"


def rank_of(state: State) -> str:
    """What ranks neurons; an unknown name is the peak."""
    return state.rank_by if state.rank_by in RANKS else "peak"


def stack_of(state: State) -> str:
    """The stack whose neurons are shown; cross-attention has none of its own."""
    return MAIN if state.stack in ("", "cross") else state.stack


def clean_inputs(workspace: Workspace, state: State) -> PromptSet:
    """The prompts that neurons are read on. Raises as `given.inputs_of`."""
    return inputs_of(workspace, state)["clean"]


def ranking_of(workspace: Workspace, state: State) -> Experiment:
    """The ranking that the state asks for. Raises WorkbenchError."""
    by, one = rank_of(state), state.within is not None
    params: dict[str, Any] = {"per_layer": True, "top": OF_ONE if one else PER_LAYER}
    params |= {"layers": [state.within]} if one else {}
    if by == "direct":
        params |= {"score": "direct"}
    else:
        params |= {"stack": stack_of(state)}
        params |= {"at": LAST if state.position is None else state.position} if by == "at" else {}
        params |= {"skip_first": state.hide_first} if by == "peak" else {}
    inputs = clean_inputs(workspace, state)
    # Activations do not depend on answers: what is asked without them is found again whatever they are.
    return _experiment(state, inputs if by == "direct" else _bare(inputs), params)


def neuron_of(workspace: Workspace, state: State, part: str, *, edited: bool = False) -> Experiment:
    """One neuron, clean or under the edits in the tray. Raises WorkbenchError."""
    params: dict[str, Any] = {"neuron": part, "top": 0, "per_prompt": True}
    if not edited:
        return _experiment(state, clean_inputs(workspace, state), params)
    tray, inputs = state.tray(), inputs_of(workspace, state)
    named = {name: given for name, given in inputs.items() if name == "clean" or name in tray.inputs}
    whole = Experiment(
        model=ModelRef.model_validate(state.model), inputs=named, analysis="neuron_view",
        params={**params, "edits": tray.edits}, vectors=dict(tray.vectors),
    )  # fmt: skip
    return normalised(whole)


def zeroed_of(workspace: Workspace, state: State, part: str) -> Experiment:
    """The neuron's zero ablation, the very experiment that the Ablate page would make of it. Raises WorkbenchError."""
    alone = state.model_copy(update={"edits": f"zero:{part}"})
    return effect_experiment(alone, selection(alone), inputs_for(workspace, alone))


def _experiment(state: State, inputs: PromptSet, params: dict[str, Any]) -> Experiment:
    model = ModelRef.model_validate(state.model)
    return normalised(Experiment(model=model, inputs={"clean": inputs}, analysis="neuron_view", params=params))


def _bare(inputs: PromptSet) -> PromptSet:
    return inputs.model_copy(update={"answers": (), "foils": ()})


def ranked(workspace: Workspace, state: State) -> Result | None:
    """The ranking, where it is there. Raises WorkbenchError."""
    return workspace.result(ranking_of(workspace, state).id)


def open_part(workspace: Workspace, state: State) -> str:
    """The neuron that is shown: the chosen one, else the strongest of the ranking; "" while there is none."""
    if state.neuron:
        return str(Part.parse(state.neuron))
    try:
        result = ranked(workspace, state)
    except WorkbenchError:  # told where the ranking would be
        return ""
    return strongest(result, 1)[0][0] if result is not None else ""


def strongest(result: Result, count: int) -> list[tuple[str, float]]:
    """The neurons of a ranking that are strongest of all layers, with their scores."""
    grid = result.grid("score")
    names = [str(name) for name in grid.coords["neuron"]]
    pairs = zip(names, grid.values.ravel().tolist(), strict=True)
    return sorted(pairs, key=lambda pair: -abs(pair[1]))[:count]
