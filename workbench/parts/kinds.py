"""What a model is given and what it answers, in words: the one place that tells kinds of models apart for the pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analyses.metrics import DEFAULTS, METRICS, output_of
from hooks.errors import InputError, WorkbenchError
from hooks.info import ModelInfo
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

START = State()
"""What an address says that says nothing: a prompt for models that continue a text."""


@dataclass(frozen=True)
class Kind:
    """One kind of model. task: as in ModelInfo. classes: their names, where answers are classes.

    text, image, target: whether it reads a text, an image or sound, a target so far. grid, prefix: the image's patches
    and how many tokens come before them. pixels: the shape of an image or sound.
    """

    task: str
    classes: tuple[str, ...]
    text: bool
    image: bool
    target: bool
    output: str
    grid: tuple[int, int] | None = None
    prefix: int = 0
    pixels: tuple[int, ...] = ()
    heads: int = 0

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> Kind:
        """The kind of an opened model."""
        info = ModelInfo.model_validate(summary["info"])
        image = info.pixels is not None
        return cls(
            info.task,
            info.labels,
            text=not image or info.task == "pairs",
            image=image,
            target=info.task == "seq2seq",
            output=output_of(info),
            grid=info.grid,
            prefix=info.prefix,
            pixels=info.pixels or (),
            heads=info.n_heads,
        )

    @property
    def answered(self) -> bool:
        """Whether there are answers to choose: tokens or classes."""
        return self.output == "choice"

    @property
    def next_token(self) -> bool:
        """Whether it predicts the token after every position."""
        return self.task in ("causal", "seq2seq")

    @property
    def sound(self) -> bool:
        """Whether what it is given is sound, not a picture."""
        return self.image and len(self.pixels) == 2

    @property
    def given(self) -> str:
        """What the prompt is called."""
        return (
            "Text and image"
            if self.text and self.image
            else "Sound"
            if self.sound
            else "Image"
            if self.image
            else ("Prompt")
        )

    @property
    def noun(self) -> str:
        """What its probabilities are of."""
        return {"masked": "Token at the mask"}.get(self.task, "Next token" if self.next_token else "Class")


def kind_of(workspace: Workspace, state: State) -> Kind | None:
    """The kind of the model of an address; None while it is not open."""
    summary = workspace.summary(state.model)
    return None if summary is None else Kind.of(summary)


def fitted(workspace: Workspace, state: State, kind: Kind) -> State:
    """The state with what another kind of model was given taken out, and something of this kind in its place.

    Only what nobody chose for this model changes: defaults, images for models of text, tokens where classes are asked.
    """
    changes: dict[str, Any] = {}
    if not kind.target:
        changes["target"] = ""
    if not kind.image:
        changes["image"] = ""
    elif not state.image:
        changes["image"] = workspace.images.sample(kind.pixels)
    if kind.task == "pairs" and state.prompt == START.prompt:
        changes["prompt"] = "a photo of a house"
    state = state.model_copy(update=changes)
    state = _masked(workspace, state) if kind.task == "masked" else state
    return state.model_copy(update=_answers(workspace, state, kind) | _metric(state, kind))


def _masked(workspace: Workspace, state: State) -> State:
    """The worked prompt with a mask where the answer is; any other prompt is left as it is."""
    if state.prompt != START.prompt:
        return state
    mask = workspace.ask_tokenizer(state.model, lambda tokenizer, _: str(tokenizer.mask_token or ""))
    return state.model_copy(update={"prompt": f"{state.prompt} {mask}." if mask else state.prompt})


def _answers(workspace: Workspace, state: State, kind: Kind) -> dict[str, Any]:
    given = (state.answer, state.foil)
    if not kind.answered:
        return {"answer": "", "foil": ""}
    if kind.classes:
        known = {*kind.classes, *map(str, range(len(kind.classes))), ""}
        first = (kind.classes[0], kind.classes[1] if len(kind.classes) > 1 else "")
        chosen = [one if one in known else first[place] for place, one in enumerate(given)]
        return {"answer": chosen[0], "foil": chosen[1]}
    if given != (START.answer, START.foil) or kind.task == "causal":
        return {}
    for answer, foil in (given, ("Mary", "John")):
        try:
            workspace.tokens(state.model, state.model_copy(update={"answer": answer, "foil": foil}).inputs())
        except InputError:
            continue
        except WorkbenchError:
            return {}
        return {"answer": answer, "foil": foil}
    return {"answer": "", "foil": ""}


def _metric(state: State, kind: Kind) -> dict[str, Any]:
    metric = METRICS.get(state.metric)
    if not kind.heads and state.over == "head":
        return {"over": "layer"} | _metric(state.model_copy(update={"over": "layer"}), kind)
    if metric is None or metric.of == kind.output:
        return {}
    return {"metric": next(name for output, name in DEFAULTS.items() if output == kind.output)}
