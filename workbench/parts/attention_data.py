"""What the Attention page shows of a head: which captures each view needs, and the numbers it makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from analyses.analysis import normalised
from analyses.experiment import Experiment
from analyses.grid import Grid, Unit
from analyses.positions import MASKED
from hooks.errors import InputError, SiteMissing
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from hooks.sites import MAIN
from workbench.figures.attention import Scale
from workbench.parts.given import under_edits
from workbench.requests import CaptureRequest, ExperimentRequest
from workbench.urls import State


class Stored(Protocol):
    """What is asked of a stored capture."""

    @property
    def sites(self) -> Any: ...

    def read(self, site: str, *, head: int | None = None, prompt: int | None = None) -> np.ndarray: ...


@dataclass(frozen=True)
class View:
    """One tab of the head panel. averages: whether a mean over heads has a meaning."""

    name: str
    title: str
    scale: Scale
    unit: Unit
    meaning: str
    averages: bool = True


VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        View(
            "pattern",
            "Pattern",
            "attention",
            "attention",
            "Attention weight A[q, k]: the share that query q takes of key k's value. A row sums to 1.",
        ),
        View(
            "weighted",
            "Value-weighted",
            "weighted",
            "activation",
            "A[q, k] · ‖v_k‖: the weight times the length of the value that it reads, before the output projection. "
            "A large weight on a short value moves little.",
        ),
        View(
            "scores",
            "Query–key",
            "scores",
            "activation",
            "Scaled products of query and key before the softmax. Masked cells are blank.",
            averages=False,
        ),
        View(
            "positions",
            "Position only",
            "attention",
            "attention",
            "What positions alone would make of this head’s attention, with the same content everywhere.",
            averages=False,
        ),
        View(
            "difference",
            "Difference to edited",
            "difference",
            "attention",
            "Weight with the edits in the tray minus the clean weight, on the same tokens.",
        ),
    )
}
CROSS = "cross"
AVERAGES = {"none": "This head", "layer": "Layer mean", "all": "All heads' mean"}


@dataclass(frozen=True)
class Sizes:
    """How many layers, query heads and key/value heads the attention that is shown has.

    stack: which it is, as `State.stack` has it. there: the layers that have it, None for all. reason: why the others
    do not. scored: whether heads can be scored on repeated random tokens.
    """

    layers: int
    heads: int
    kv_heads: int
    stack: str = ""
    there: tuple[int, ...] | None = None
    reason: str = ""
    scored: bool = True

    @classmethod
    def of(cls, summary: Mapping[str, Any], stack: str = "") -> Sizes:
        """The sizes of a stack of an opened model; one that it does not have is its main stack."""
        info, cross = summary["info"], stack == CROSS
        name = stack if stack in info.get("stacks", {}) else MAIN
        sizes = info if name == MAIN else info["stacks"][name]
        site = "cross_pattern" if cross else "pattern"
        row = next((r for r in summary.get("sites", ()) if r["site"] == site and r["stack"] == name), None)
        there = None if row is None or (row["readable"] and row["layers"] is None) else tuple(row["layers"] or ())
        shown = CROSS if cross else "" if name == MAIN else name
        reason = "" if row is None else row["reason"].partition("; read-only")[0]
        layers, heads, kv_heads = (int(sizes[key]) for key in ("n_layers", "n_heads", "n_kv_heads"))
        scored = not info.get("stacks") and info.get("pixels") is None
        return cls(layers, heads, kv_heads, shown, there, reason.rpartition("elsewhere: ")[2], scored)

    @property
    def attends(self) -> tuple[int, ...]:
        """The layers that have this attention."""
        return tuple(range(self.layers)) if self.there is None else self.there

    def address(self, layer: int | str, site: str) -> str:
        """The address of a site of this attention; layer `*` stands for every layer."""
        prefix = "" if self.stack in ("", CROSS) else f"{self.stack}."
        return f"{prefix}L{layer}.{'cross_' if self.stack == CROSS else ''}{site}"

    def everywhere(self, site: str) -> tuple[str, ...]:
        """The addresses of a site in every layer that has it."""
        if self.there is None:
            return (self.address("*", site),)
        return tuple(self.address(layer, site) for layer in self.there)

    def check(self, layer: int, head: int) -> None:
        """Raises SiteMissing for a head that the model does not have."""
        for given, count, word in ((layer, self.layers, "layer"), (head, self.heads, "head")):
            if given >= count:
                raise SiteMissing(
                    f"{word} {given} does not exist: this model has {count} {word}s (0–{count - 1}).",
                    "Choose a map in the overview.",
                )
        if layer not in self.attends:
            raise SiteMissing(f"layer {layer} has no such attention: {self.reason}.", "Choose a map in the overview.")

    def sharing(self, head: int) -> str:
        """In words, which key/value head a query head reads and which heads share it."""
        group = self.heads // self.kv_heads
        if group == 1:
            return f"query head {head} · its own keys and values"
        kv_head = head // group
        others = ", ".join(str(other) for other in range(kv_head * group, (kv_head + 1) * group))
        return f"query head {head} · key/value head {kv_head} (shared by heads {others})"


MAIN_STACK = Sizes(1, 1, 1)
"""Where the sizes do not matter: every layer of the main stack has attention."""


def view_of(state: State) -> View:
    """The view that an address names; an unknown name is the pattern."""
    return VIEWS.get(state.tab, VIEWS["pattern"])


def average_of(state: State) -> str:
    """`none`, `layer` or `all`: what is averaged in the head panel."""
    return state.average if view_of(state).averages and state.average in AVERAGES else "none"


def prompt_of(state: State) -> PromptSet:
    """The prompt without its answers: a pattern does not depend on them."""
    return state.inputs().model_copy(update={"answers": (), "foils": ()})


def capture_of(state: State, *sites: str) -> CaptureRequest:
    """The request for some sites on the prompt of an address."""
    return CaptureRequest(model=ModelRef(name=state.model), inputs=prompt_of(state), sites=sites)


def patterns_of(state: State, sizes: Sizes = MAIN_STACK) -> CaptureRequest:
    """The capture behind the overview: every pattern of the clean run."""
    return capture_of(state, *sizes.everywhere("pattern"))


def needed(
    state: State, layer: int, sizes: Sizes = MAIN_STACK, inputs: Mapping[str, PromptSet] | None = None
) -> tuple[CaptureRequest | ExperimentRequest, ...]:
    """What the open view of a head reads: captures, or a result. inputs: those that edits may copy from, by name.

    Raises SpecError for edits that cannot be read.

    Scores are as large as patterns, so one layer is asked for; values are small, so all layers come at once.
    """
    name = view_of(state).name
    if name == "weighted":
        return (patterns_of(state, sizes), capture_of(state, *sizes.everywhere("v")))
    if name == "scores":
        return (capture_of(state, sizes.address(layer, "scores")),)
    if name == "positions":
        return (_asked(state, "position_patterns", {"layers": [layer], **_stack(state)}),)
    if name == "difference":
        if not state.edits:
            raise InputError("no edit is in the tray.", "Press Ablate head, then this tab shows what changes.")
        clean = patterns_of(state, sizes)
        return (clean, under_edits(clean, state, inputs or {}))
    return (patterns_of(state, sizes),)


def scores_of(state: State) -> ExperimentRequest:
    """The request for head scores on repeated random tokens, with its usual settings."""
    return ExperimentRequest(
        experiment=normalised(Experiment(model=ModelRef(name=state.model), analysis="head_scores"))
    )


def export_of(state: State, layer: int, head: int) -> ExperimentRequest:
    """The experiment that stores the pattern of one head, beside that of positions alone where this is shown."""
    params = {"layers": [layer], "heads": [head]}
    if view_of(state).name == "positions":
        return _asked(state, "position_patterns", {**params, **_stack(state)})
    which: dict[str, Any] = {"cross": True} if state.stack == CROSS else _stack(state)
    return _asked(state, "attention_patterns", {**params, **which})


def _stack(state: State) -> dict[str, str]:
    """The stack whose positions are shown. Raises InputError for attention between two stacks."""
    if state.stack == "cross":
        raise InputError(
            "attention between two stacks has no positions of its own: the two count different things.",
            "Choose the encoder or the decoder.",
        )
    return {"stack": state.stack} if state.stack else {}


def _asked(state: State, analysis: str, params: dict[str, Any]) -> ExperimentRequest:
    inputs = {"clean": prompt_of(state)}
    experiment = Experiment(model=ModelRef(name=state.model), inputs=inputs, analysis=analysis, params=params)
    return ExperimentRequest(experiment=normalised(experiment))


def pattern_layers(stored: Stored, sizes: Sizes) -> Iterator[np.ndarray]:
    """The patterns of the first prompt, layer by layer: [head q k], square; empty where a layer has none.

    Attention between two stacks is filled up with zeros to the longer of its sides.
    """
    first = stored.read(sizes.address(sizes.attends[0], "pattern"), prompt=0)
    side = max(first.shape[-2:])
    for layer in range(sizes.layers):
        if layer not in sizes.attends:
            yield np.zeros((sizes.heads, side, side), dtype=np.float32)
            continue
        pattern = stored.read(sizes.address(layer, "pattern"), prompt=0)
        yield np.pad(pattern, ((0, 0), (0, side - pattern.shape[-2]), (0, side - pattern.shape[-1])))


def head_grid(view: View, captures: Sequence[Any], sizes: Sizes, layer: int, head: int, average: str) -> Grid:
    """The values of a view: dims (q_pos, k_pos). captures: `Stored` ones or results, in the order of `needed`."""
    if view.name == "positions":
        grid: Grid = captures[0].grid("position_pattern").select(layer=layer, head=head)
        return grid
    if average == "all":
        values = np.mean([_cells(view, captures, sizes, n, None).mean(axis=0) for n in sizes.attends], axis=0)
    elif average == "layer":
        values = _cells(view, captures, sizes, layer, None).mean(axis=0)
    else:
        values = _cells(view, captures, sizes, layer, head)
    values = np.asarray(values, dtype=np.float32)
    queries, keys = (tuple(range(count)) for count in values.shape)
    valid = None
    if view.name == "scores":
        valid = np.isfinite(values) & (values > MASKED)
        values = np.where(valid, values, 0.0)
    baseline = 0.0 if view.name == "difference" else None
    coords = {"q_pos": queries, "k_pos": keys}
    return Grid(view.name, values, ("q_pos", "k_pos"), coords, view.unit, baseline, about=view.meaning, valid=valid)


def _cells(view: View, captures: Sequence[Stored], sizes: Sizes, layer: int, head: int | None) -> np.ndarray:
    """[q k] of one head, or [head q k] of a layer when `head` is None."""
    if view.name == "scores":
        return captures[0].read(sizes.address(layer, "scores"), head=head, prompt=0)
    pattern = captures[0].read(sizes.address(layer, "pattern"), head=head, prompt=0)
    if view.name == "weighted":
        lengths = np.linalg.norm(captures[1].read(sizes.address(layer, "v"), prompt=0).astype(np.float32), axis=-1)
        per_head = np.repeat(lengths.T, sizes.heads // sizes.kv_heads, axis=0)
        return pattern * (per_head[:, None, :] if head is None else per_head[head])
    if view.name == "difference":
        return captures[1].read(sizes.address(layer, "pattern"), head=head, prompt=0) - pattern
    return pattern
