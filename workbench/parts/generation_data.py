"""What the Prompt page knows of a continuation: the experiment behind it, and what one step of its result says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analyses.analysis import normalised
from analyses.experiment import Experiment
from analyses.result import Result
from hooks.errors import InputError, ModelError
from hooks.prompts import IdsPrompt, PromptSet
from hooks.reference import ModelRef
from hooks.tokens import TokenBatch
from workbench.parts.given import inputs_for
from workbench.parts.next_token import inputs_of
from workbench.requests import ExperimentRequest
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

ALTERNATIVES = 10
MOST_STEPS = 200


@dataclass(frozen=True)
class Alternative:
    """A token that could have come at a step. sampled: its probability in the draw; taken: it is the one that came."""

    rank: int
    id: int
    token: str
    prob: float
    sampled: float
    logit: float
    taken: bool


@dataclass(frozen=True)
class Taken:
    """One generated token. step counts from 0; pos: its position; prob: by the model itself; sampled: in the draw."""

    step: int
    pos: int
    id: int
    token: str
    prob: float
    sampled: float
    entropy: float


@dataclass(frozen=True)
class AttentionRow:
    """Where the query of a step looked. weights [k_pos] over `tokens`; of: whose weights these are, in words."""

    weights: np.ndarray
    tokens: tuple[str, ...]
    of: str


def is_open(state: State) -> bool:
    """Whether the address looks at a generated token rather than at one of the prompt."""
    return state.steps > 0 and state.chosen is not None


def continuation_request(workspace: Workspace, state: State) -> ExperimentRequest:
    """The experiment that the address describes. Raises SpecError for an unreadable edit, ModelError.

    A greedy continuation depends on no seed and no temperature, so it is the same experiment for all of them.
    """
    tray = state.tray(alone=True)
    params: dict[str, Any] = {
        "steps": min(state.steps, MOST_STEPS),
        "greedy": not state.sampled,
        "edits": [edit.model_dump(mode="json") for edit in tray.edits],
        "alternatives": ALTERNATIVES,
        "attention": _shows_patterns(workspace, state),
    }
    if state.sampled:
        params |= {"temperature": state.temperature, "top_k": state.top_k, "top_p": state.top_p}
    experiment = Experiment(
        model=ModelRef.model_validate(state.model),
        inputs={**inputs_for(workspace, state, tray.inputs), "clean": inputs_of(state)},
        analysis="generation",
        params=params,
        vectors=dict(tray.vectors),
        seed=state.seed if state.sampled else 0,
    )
    return ExperimentRequest(experiment=normalised(experiment))


def _shows_patterns(workspace: Workspace, state: State) -> bool:
    summary = workspace.summary(state.model)
    if summary is None:
        raise ModelError(f"{state.model} is not open any more.", "Reload the page to open it again.")
    return any(row["site"] == "pattern" and row["readable"] for row in summary["sites"])


def taken(result: Result, length: int, *, clean: bool = False) -> list[Taken]:
    """The generated tokens. length: tokens of the prompt; clean: those of the continuation without the edits."""
    end = "_clean" if clean else ""
    if f"prob{end}" not in result.grids:
        return []
    prob, sampled, entropy = (result.grid(f"{name}{end}") for name in ("prob", "sampling_prob", "entropy"))
    ids, tokens = prob.coords["id"], prob.coords["token"]
    return [
        Taken(
            step, length + step, int(ids[step]), str(tokens[step]), float(prob.values[step]),
            float(sampled.values[step]), float(entropy.values[step]),
        )
        for step in range(len(ids))
    ]  # fmt: skip


def alternatives(result: Result, step: int) -> list[Alternative]:
    """The most probable tokens at a step, most probable first. Raises InputError for a step that was not taken."""
    prob, sampled, logit = (result.grid(f"alternative_{name}").values for name in ("prob", "sampling_prob", "logit"))
    if step >= prob.shape[0]:
        raise InputError(f"there is no step {step + 1}: {prob.shape[0]} tokens were generated.", "Click one of them.")
    labels = result.grid("alternative_prob").coords
    came, first = result.grid("prob").coords["id"][step], step * prob.shape[1]
    rows = []
    for rank in range(prob.shape[1]):
        token = labels["id"][first + rank]
        rows.append(
            Alternative(
                rank, int(token), str(labels["token"][first + rank]), float(prob[step, rank]),
                float(sampled[step, rank]), float(logit[step, rank]), token == came,
            )
        )  # fmt: skip
    return rows


def attention_row(result: Result, state: State, strings: tuple[str, ...], step: int) -> AttentionRow | None:
    """Where the query of a step looked: the head at `state.layer`, `state.head`, or the mean over what is left open.

    strings: the prompt's tokens. None for a model whose attention cannot be read.
    """
    if "attention" not in result.grids:
        return None
    grid = result.grid("attention")
    tokens = (*strings, *map(str, result.grid("prob").coords["token"][:step]))
    rows = np.asarray(grid.values[:, :, step, : len(tokens)], dtype=np.float64)
    layers = [int(layer) for layer in grid.coords["layer"]]
    layer = state.layer if state.layer in layers else None
    head = state.head if state.head is not None and state.head < rows.shape[1] else None
    if layer is not None:
        rows = rows[[layers.index(layer)]]
    if head is not None:
        rows = rows[:, [head]]
    if layer is not None and head is not None:
        return AttentionRow(rows.mean((0, 1)), tokens, f"Layer {layer}, head {head}")
    if head is not None:
        return AttentionRow(rows.mean((0, 1)), tokens, f"Mean of head {head} over all layers")
    of = "all layers and heads" if layer is None else f"the heads of layer {layer}"
    return AttentionRow(rows.mean((0, 1)), tokens, f"Mean over {of}")


def final_tokens(workspace: Workspace, state: State, ids: list[int]) -> TokenBatch:
    """Prompt and continuation as one sequence, for its display strings and shapes."""
    before = workspace.tokens(state.model, inputs_of(state)).id_lists()[0]
    return workspace.tokens(state.model, PromptSet(prompts=(IdsPrompt(ids=(*before, *ids)),)))
