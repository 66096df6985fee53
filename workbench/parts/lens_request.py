"""From the state of the Lens page to its experiments, clean and under the edits of the tray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analyses.analysis import normalised
from analyses.experiment import Experiment
from hooks.errors import InputError
from hooks.reference import ModelRef
from hooks.sites import Part, Site
from hooks.tokens import TokenBatch
from workbench.edit_text import Edits
from workbench.parts.given import inputs_for, inputs_of, is_many
from workbench.parts.kinds import Kind
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

STREAMS = {"resid_pre": "Before block", "resid_mid": "After attention", "resid_post": "After block"}
TOP_K = 10


@dataclass(frozen=True)
class Place:
    """Which cell is open. layer: an entry of the lens; part: the address of its stream."""

    layer: int
    position: int
    part: str


def streams_of(summary: Mapping[str, Any]) -> dict[str, str]:
    """The streams that a model's blocks have, by name, with their titles."""
    there = {row["site"] for row in summary["sites"] if row["readable"] and row["stack"] == "decoder"}
    return {name: words for name, words in STREAMS.items() if name in there}


def stream_of(state: State, summary: Mapping[str, Any]) -> str:
    """The stream of a state, or the model's first."""
    offered = streams_of(summary)
    return state.lens_at if state.lens_at in offered else next(iter(offered), "resid_pre")


def prompt_of(state: State, batch: TokenBatch) -> int | None:
    """The prompt that is looked at; None for the mean over several."""
    if len(batch) == 1:
        return 0
    return state.lens_prompt if state.lens_prompt is not None and state.lens_prompt < len(batch) else None


def lens_experiment(
    workspace: Workspace, state: State, summary: Mapping[str, Any], *, edited: bool = False
) -> Experiment:
    """The logit lens of a state. Raises WorkbenchError."""
    params = {"at": stream_of(state, summary), "top_k": TOP_K, "per_prompt": is_many(state)}
    return _experiment(workspace, state, "logit_lens", params, edited)


def direct_experiment(
    workspace: Workspace, state: State, summary: Mapping[str, Any], *, edited: bool = False
) -> Experiment:
    """The direct logit attribution of a state. Raises InputError where there is no answer, and what else is wrong."""
    if not inputs_of(workspace, state)["clean"].answers:
        raise InputError(
            "there is no answer to attribute.", "Give the answer with the prompt, and a foil to compare it with."
        )
    by = "head" if summary["info"]["n_heads"] else "component"
    return _experiment(workspace, state, "direct_logit_attribution", {"by": by, "per_prompt": is_many(state)}, edited)


def _experiment(
    workspace: Workspace, state: State, analysis: str, params: Mapping[str, Any], edited: bool
) -> Experiment:
    # An edit that cannot be read is no hindrance to the clean run.
    tray = state.tray() if edited else Edits((), {})
    edits = {"edits": [edit.model_dump(mode="json") for edit in tray.edits]} if edited else {}
    return normalised(
        Experiment(
            model=ModelRef.model_validate(state.model),
            inputs=inputs_for(workspace, state, tray.inputs),
            analysis=analysis,
            params={**params, **edits},
            vectors=dict(tray.vectors),
        )
    )


def refusal(kind: Kind, name: str) -> str:
    """Why a kind of model has no lens; "" where it has one."""
    if kind.answered:
        return ""
    gives = "a vector" if kind.output == "embedding" else "a number"
    return (
        f"The lens reads each layer with the model’s own output head, as scores of tokens or classes. {name} has no "
        f"such head: it gives {gives}, and nothing that a layer could rank."
    )


def place_of(state: State, batch: TokenBatch, at: str, layers: tuple[int, ...], width: int, n_layers: int) -> Place:
    """The open cell: the last entry at the answer position, unless the state says another that there is."""
    prompt = prompt_of(state, batch) or 0
    layer = state.lens_layer if state.lens_layer in layers else layers[-1]
    position = batch.answer_at[prompt] if state.position is None else state.position
    position = min(position, width - 1)
    return Place(int(layer or 0), position, part_at(at, int(layer or 0), position, n_layers, whole=width == 1))


def part_at(at: str, layer: int, position: int, n_layers: int, *, whole: bool = False) -> str:
    """The address of the stream of a cell. whole: the lens has one column for all positions."""
    site = Site("resid_post", layer - 1) if at == "resid_pre" and layer == n_layers else Site(at, layer)
    return str(Part(site, pos=None if whole else position))
