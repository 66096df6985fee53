"""What the Prompt page knows of a model that continues no text: its answers, read from the stored logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from analyses.catalogue.next_token import distribution
from analyses.experiment import Experiment
from hooks.errors import InputError
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from hooks.tokens import TokenBatch
from workbench.parts.kinds import Kind
from workbench.parts.next_token import token_strings
from workbench.requests import CaptureRequest, ExperimentRequest
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

MOST_CLASSES = 50
MARKS = ("answer", "foil")


@dataclass(frozen=True)
class Choice:
    """A token or class that the model chooses among. mark: `answer`, `foil` or nothing."""

    rank: int
    id: int
    name: str
    prob: float
    logit: float
    mark: str = ""


@dataclass(frozen=True)
class Embedding:
    """The embedding of a prompt: its length and size, and the cosine with that of the other text, None without one."""

    norm: float
    size: int
    cosine: float | None


def inputs_of(state: State) -> PromptSet:
    """The prompt without its answers, and behind it the text that it is compared with."""
    inputs = state.inputs().model_copy(update={"answers": (), "foils": ()})
    return inputs.model_copy(update={"prompts": (*inputs.prompts, state.other)}) if state.other else inputs


def request_of(state: State, kind: Kind) -> CaptureRequest:
    """The capture that the page reads."""
    given = state if kind.task == "features" else state.model_copy(update={"other": ""})
    return CaptureRequest(model=ModelRef.model_validate(state.model), inputs=inputs_of(given), sites=("logits",))


def experiment_of(state: State) -> ExperimentRequest:
    """The same choices as a result: what *Save as result* submits."""
    params: dict[str, Any] = {"top_k": state.top_k, "position": "answer" if state.position is None else state.position}
    model, inputs = ModelRef.model_validate(state.model), {"clean": state.inputs()}
    return ExperimentRequest(experiment=Experiment(model=model, inputs=inputs, analysis="next_token", params=params))


def position_of(state: State, batch: TokenBatch) -> int:
    """The position that the state looks at: the answer's, unless it says another. Raises InputError."""
    if state.position is None or batch.single:
        return batch.answer_at[0]
    if state.position >= batch.lengths[0]:
        raise InputError(
            f"position {state.position} does not exist: there are {batch.lengths[0]} tokens.", "Click a token above."
        )
    return state.position


def choices(
    workspace: Workspace, state: State, kind: Kind, logits: np.ndarray, marks: Sequence[Sequence[int]]
) -> list[Choice]:
    """The most probable tokens, or every class, for logits [d_vocab]. marks: ids of the answer and of the foil."""
    most = min(len(kind.classes), MOST_CLASSES) if kind.classes else state.top_k
    ids, probs, scores = distribution(torch.from_numpy(logits), 1.0, most)
    chosen = [int(token) for token in ids]
    rows = zip(chosen, names_of(workspace, state, kind, chosen), probs.tolist(), scores.tolist(), strict=True)
    return [Choice(rank, *row, mark=_mark(row[0], marks)) for rank, row in enumerate(rows)]


def names_of(workspace: Workspace, state: State, kind: Kind, ids: Sequence[int]) -> list[str]:
    """What tokens or classes are called."""
    return [kind.classes[n] for n in ids] if kind.classes else token_strings(workspace, state.model, list(ids))


def marks_of(workspace: Workspace, state: State) -> list[Sequence[int]]:
    """The ids of the answer and of the foil: one sequence for each of `MARKS`. Raises InputError."""
    given = workspace.tokens(state.model, state.inputs())
    return [ids[0] if ids else () for ids in (given.answers, given.foils)]


def _mark(id: int, marks: Sequence[Sequence[int]]) -> str:
    return next((word for word, ids in zip(MARKS, marks, strict=False) if id in ids), "")


def embedding_of(logits: np.ndarray) -> Embedding:
    """What is said of embeddings [prompt 1 d_model]: of the first, and its cosine with the second."""
    vectors = logits[:, 0].astype(np.float64)
    norms = np.linalg.norm(vectors, axis=-1)
    cosine = float(vectors[0] @ vectors[1] / (norms[0] * norms[1])) if len(vectors) > 1 and norms.all() else None
    return Embedding(float(norms[0]), vectors.shape[-1], cosine)
