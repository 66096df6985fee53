"""The Lens page before anything is read: the sentence, the controls, the places of what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from workbench.figures.lens import QUANTITIES
from workbench.parts.given import is_many
from workbench.parts.glossary import term
from workbench.parts.lens_request import stream_of, streams_of
from workbench.parts.panel import page_head, panel
from workbench.parts.switch_field import switch_field
from workbench.parts.task_picker import picker_button
from workbench.urls import State

ABOUT = ("What the model would answer if it stopped after each layer, by the ", "logit lens",
         ", and which parts wrote the answer.")  # fmt: skip
DIRECT_ABOUT = (
    "each part’s own addition to the answer, through the unembedding alone and with the final norm’s scale held as it "
    "was. What later layers make of a part is not in it: ablate or patch to measure that."
)
SHOWN_CHARACTERS = 60
MOST_LISTED = 200


def page(state: State, summary: Mapping[str, Any], prompts: Sequence[str], *, answers: bool, foils: bool) -> list[Any]:
    """The whole page. prompts: how they begin; answers, foils: whether they have such."""
    offered = offered_by(state, len(prompts), foils=foils, answers=answers)
    name = term("direct logit attribution", "Direct logit attribution")
    return [
        *(dcc.Store(id=f"lens-{name}") for name in ("sink", "shown", "controls-shown")),
        dcc.Store(id="direct-shown"),
        page_head("Lens", [ABOUT[0], term(ABOUT[1], ABOUT[1]), ABOUT[2]], picker_button(state)),
        panel(
            "Layer by layer",
            html.Div(controls(state, summary, prompts, offered), id="lens-controls", className="pat-fields"),
            html.Div(id="lens-place", className="lens-place"),
            id="lens-panel",
        ),
        html.Div(id="lens-edited", className="wb-stack"),
        panel(
            "What wrote the answer",
            html.P([name, ": ", DIRECT_ABOUT], className="wb-muted"),
            html.Div(id="direct-place", className="direct-place"),
            id="direct-panel",
        ),
        html.Div(id="direct-edited", className="wb-stack"),
    ]


def offered_by(state: State, count: int, *, answers: bool, foils: bool) -> dict[str, str]:
    """What the cells can be coloured by, before there is a result: the same as `figures.lens.quantities`."""
    one = count == 1 or (state.lens_prompt is not None and state.lens_prompt < count)
    of = "the answer" if answers else "the model’s own top token"
    lacks = {"top": not one, "logit_diff": not (answers and foils)}
    return {name: words.replace("the answer", of) for name, words in QUANTITIES.items() if not lacks.get(name)}


def quantity_in(state: State, offered: Mapping[str, str]) -> str:
    """The quantity of a state, or the usual one."""
    return state.lens_by if state.lens_by in offered else next(iter(offered))


def controls_key(state: State, prompts: Sequence[str], offered: Mapping[str, str]) -> str:
    """What decides which controls there are, and what they offer."""
    return repr((state.model, state.task, state.data, state.n, len(prompts), prompts[:1], list(offered.items())))


def controls(state: State, summary: Mapping[str, Any], prompts: Sequence[str], offered: Mapping[str, str]) -> list[Any]:
    """The stream, what colours the cells, which prompt."""
    streams = streams_of(summary)
    fields = [switch_field("lens-set", "lens_at", "Read", streams, stream_of(state, summary))]
    fields.append(_select("lens_by", "Colour by", offered, quantity_in(state, offered), w=260))
    if is_many(state) and len(prompts) > 1:
        shown = {str(n): f"{n}: {text[:SHOWN_CHARACTERS]}" for n, text in enumerate(prompts[:MOST_LISTED])}
        listed = {"mean": f"Mean over {len(prompts)} prompts", **shown}
        chosen = "mean" if state.lens_prompt is None else str(state.lens_prompt)
        fields.append(_select("lens_prompt", "Prompt", listed, chosen if chosen in listed else "mean", w=320))
    return fields


def _select(name: str, label: str, data: Mapping[str, str], value: str, *, w: int) -> Any:
    items = [{"value": key, "label": words} for key, words in data.items()]
    given = {"label": label, "data": items, "value": value, "allowDeselect": False, "w": w}
    return dmc.Select(id={"type": "lens-set", "name": name}, **given)
