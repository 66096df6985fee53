"""What the Prompt page knows of the next token: read from the stored logits, without another forward pass."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from analyses.catalogue.next_token import distribution, surprisal
from analyses.experiment import Experiment
from hooks.errors import InputError, ModelError, StoreError
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from hooks.token_text import display
from workbench.requests import CaptureRequest, ExperimentRequest
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

INVISIBLE = {"·": " ", "↵": "\n", "⇥": "\t"}
KEPT_ROWS = 64


class Stored(Protocol):
    """What is asked of a stored capture."""

    @property
    def key(self) -> str: ...

    def read(self, site: str, *, prompt: int | None = None) -> np.ndarray: ...


@dataclass(frozen=True)
class Candidate:
    """A token that may come next. rank: tokens with a larger logit; prob: at the chosen temperature."""

    rank: int
    id: int
    token: str
    prob: float
    logit: float


class RecentRows:
    """The logits of the positions looked at last, so that a slider does not read the whole file again."""

    def __init__(self, size: int = KEPT_ROWS) -> None:
        self._size = size
        self._rows: OrderedDict[tuple[str, int], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, stored: Stored, position: int) -> np.ndarray:
        """Logits [d_vocab] at a position of the capture's only prompt."""
        name = (stored.key, position)
        with self._lock:
            if name in self._rows:
                self._rows.move_to_end(name)
                return self._rows[name]
        row = np.array(stored.read("logits", prompt=0)[position])
        with self._lock:
            self._rows[name] = row
            while len(self._rows) > self._size:
                self._rows.popitem(last=False)
        return row


def stored_logits(workspace: Workspace, state: State) -> Stored:
    """The capture of the state's prompt. Raises StoreError when it has been removed since."""
    stored = workspace.capture(capture_request(state))
    if stored is None:
        raise StoreError(
            "the stored logits are gone: they were removed to make room.", "Reload the page to run the model again."
        )
    return stored


def inputs_of(state: State) -> PromptSet:
    """The prompt alone: answers change nothing about the next token."""
    return PromptSet(prompts=(state.prompt,), special=state.special, plain_text=state.plain)


def capture_request(state: State) -> CaptureRequest:
    """The capture that the page reads: the logits at every position."""
    return CaptureRequest(model=ModelRef.model_validate(state.model), inputs=inputs_of(state), sites=("logits",))


def experiment_request(state: State) -> ExperimentRequest:
    """The same numbers as a result: what *Save as result* submits."""
    params: dict[str, Any] = {"top_k": state.top_k, "temperature": state.temperature}
    params["position"] = "answer" if state.position is None else state.position
    experiment = Experiment(
        model=ModelRef.model_validate(state.model),
        inputs={"clean": inputs_of(state)},
        analysis="next_token",
        params=params,
    )
    return ExperimentRequest(experiment=experiment)


def position_of(state: State, length: int) -> int:
    """The position that the state looks at, the last one unless it says otherwise. Raises InputError."""
    if state.position is None:
        return length - 1
    if state.position >= length:
        raise InputError(
            f"position {state.position} does not exist: the prompt has {length} tokens.", "Click a token above."
        )
    return state.position


def surprisals(logits: np.ndarray, ids: Sequence[int]) -> list[float]:
    """Nats per token from position 1 on; empty for a single token. logits [pos d_vocab]."""
    if len(ids) < 2:
        return []
    return [float(value) for value in surprisal(torch.from_numpy(logits), torch.tensor(ids))]


def candidates(workspace: Workspace, state: State, logits: np.ndarray) -> list[Candidate]:
    """The most probable next tokens for logits [d_vocab]: top-k, then the smallest set that holds top-p."""
    ids, probs, scores = distribution(torch.from_numpy(logits), state.temperature, state.top_k)
    before = torch.cat([torch.zeros(1), probs.double().cumsum(0)[:-1]])
    # The token that reaches p belongs to the set; 1 keeps all in spite of rounding.
    keep = int((before < state.top_p).sum()) if state.top_p < 1 else len(ids)
    names = token_strings(workspace, state.model, ids[:keep].tolist())
    rows = zip(ids.tolist(), names, probs.tolist(), scores.tolist(), strict=False)
    return [Candidate(rank, *row) for rank, row in enumerate(rows)]


def place_of(logits: np.ndarray, token: int, temperature: float) -> tuple[int, float]:
    """Rank (0 is the top) and probability of one token."""
    values = torch.from_numpy(logits)
    probs = (values / temperature).softmax(-1)
    return int((values > values[token]).sum()), float(probs[token])


def token_strings(workspace: Workspace, model: str, ids: Sequence[int]) -> list[str]:
    """The display form of token ids; their numbers where the model came without a tokenizer."""
    try:
        return list(workspace.ask_tokenizer(model, lambda tokenizer, _: display(tokenizer, ids)))
    except ModelError:
        return list(display(None, ids))


def appended(workspace: Workspace, state: State, *tokens: int) -> str:
    """The prompt's text followed by tokens, such that it is split into the same tokens and those.

    Raises InputError where no text does that: a piece of a character, or a token that joins the one before it.
    """
    shown = "".join(token_strings(workspace, state.model, tokens))
    before = workspace.tokens(state.model, inputs_of(state)).id_lists()[0]
    plain = "".join(INVISIBLE.get(char, char) for char in shown)
    for text in dict.fromkeys((plain, shown)):
        prompt = state.prompt + text
        after = workspace.tokens(state.model, inputs_of(state.model_copy(update={"prompt": prompt}))).id_lists()[0]
        if after == (*before, *tokens):
            return prompt
    raise InputError(
        f"“{shown}” cannot be appended as text: the prompt would be split into other tokens.",
        "Choose another row." if len(tokens) == 1 else "Undo the last steps, or go on from here.",
    )
