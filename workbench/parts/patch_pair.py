"""The prompts of the Patch page: two boxes, and both prompts token by token, one above the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import html

from hooks.errors import WorkbenchError
from hooks.tokens import TokenBatch
from workbench.figures.numbers import whole
from workbench.figures.patching import Pairing, aligned
from workbench.parts.empty import inline_problem
from workbench.parts.given import inputs_of, is_many
from workbench.parts.patch_request import check_lengths
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

LISTED = 6


def pair(workspace: Workspace, state: State) -> list[Any]:
    """The boxes where there is one pair, the tokens of the (first) pair, and what is wrong with it."""
    return [
        *([] if is_many(state) or state.image else [boxes(state)]),
        html.Div(tokens(workspace, state), id="pat-tokens"),
    ]


def pair_key(state: State) -> str:
    """What decides what the panel of prompts shows."""
    given = (
        state.model,
        state.prompt,
        state.corrupt,
        state.answer,
        state.foil,
        state.special,
        state.plain,
        state.target,
    )
    return repr((*given, state.task, state.n, state.seed, state.variant, state.data, state.columns))


def boxes(state: State) -> Any:
    """The two prompts, the answer and the foil, and the button that takes them."""
    look = {"classNames": {"input": "wb-mono"}, "spellCheck": False}
    return html.Div(
        [
            dmc.Textarea(id="pat-clean", label="Clean", value=state.prompt, autosize=True, maxRows=5, **look),
            dmc.Textarea(id="pat-corrupt", label="Corrupt", value=state.corrupt, autosize=True, maxRows=5, **look),
            html.Div(
                [
                    dmc.TextInput(id="pat-answer", label="Answer", value=state.answer, w=140, **look),
                    dmc.TextInput(id="pat-foil", label="Foil", value=state.foil, w=140, **look),
                    dmc.Button("Use this pair", id="pat-use", variant="default"),
                ],
                className="pat-answers",
            ),
        ],
        className="pat-boxes",
    )


def tokens(workspace: Workspace, state: State) -> list[Any]:
    """Both prompts of the (first) pair aligned, how long they are and where they differ; why it cannot be used."""
    try:
        inputs = inputs_of(workspace, state)
        clean = workspace.tokens(state.model, inputs["clean"])
        corrupt = workspace.tokens(state.model, inputs["corrupt"]) if "corrupt" in inputs else None
    except WorkbenchError as error:
        return [inline_problem(error)]
    if clean.inputs:
        return [html.P("An image has no other prompt here; choose a table with pairs.", className="wb-muted")]
    if corrupt is None:
        return [
            _strip(_alone(clean)),
            html.P(f"{whole(clean.lengths[0])} tokens, no corrupt prompt.", className="wb-muted"),
        ]
    rows = aligned(clean.strings[0], corrupt.strings[0], clean.id_lists()[0], corrupt.id_lists()[0])
    count = len(inputs["clean"].prompts)
    return [_strip(rows), html.P(_words(rows, clean, corrupt, count), className="wb-muted"), _refusal(clean, corrupt)]


def _alone(clean: TokenBatch) -> tuple[Pairing, ...]:
    return tuple(Pairing(at, text, "", False) for at, text in enumerate(clean.strings[0]))


def _words(rows: tuple[Pairing, ...], clean: TokenBatch, corrupt: TokenBatch, count: int) -> str:
    which = f"Pair 1 of {whole(count)}: " if count > 1 else ""
    here, there = clean.lengths[0], corrupt.lengths[0]
    size = f"{whole(here)} tokens each" if here == there else f"{whole(here)} and {whole(there)} tokens"
    apart = [str(row.at) for row in rows if row.differs]
    if not apart:
        return f"{which}{size}; the two prompts are the same."
    more = f" and {len(apart) - LISTED} more" if len(apart) > LISTED else ""
    return f"{which}{size}; they differ at position{'s' * (len(apart) > 1)} {', '.join(apart[:LISTED])}{more}."


def _refusal(clean: TokenBatch, corrupt: TokenBatch) -> Any:
    try:
        check_lengths(clean, corrupt)
    except WorkbenchError as error:
        return html.Div(inline_problem(error), id="pat-lengths")
    return None


def _strip(rows: tuple[Pairing, ...]) -> Any:
    """Columns of a position and its two tokens."""
    columns = [
        html.Li(
            [
                html.Span(str(row.at), className="pat-at", **{"aria-hidden": "true"}),
                html.Bdi(row.clean, dir="auto", className="pat-token"),
                html.Bdi(row.corrupt, dir="auto", className="pat-token"),
            ],
            className="pat-place pat-differs" if row.differs else "pat-place",
            **({"aria-label": f"position {row.at}: “{row.clean}”, corrupt “{row.corrupt}”"} if row.differs else {}),
        )
        for row in rows
    ]
    return html.Ol(columns, className="pat-strip", dir="ltr")
