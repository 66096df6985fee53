"""What the Prompt page shows of a continuation: its chips and controls, the alternatives and attention of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import html

from workbench.figures.numbers import number, percent
from workbench.parts.chips import Chip
from workbench.parts.generation_data import MOST_STEPS, Alternative, AttentionRow, Taken, is_open
from workbench.parts.glossary import term
from workbench.parts.icons import icon
from workbench.parts.panel import panel
from workbench.parts.token_rows import titles, token_row
from workbench.urls import State

MANY = 10
EVERY = "all"
STRONGEST = 5
# From this share of the darkest colour on, text on it needs the light ink.
DARK = 0.55


def continuation(state: State) -> Any:
    """The panel of the generated tokens before they are known."""
    return panel(
        html.Span(["Continuation", html.Span("edited", className="wb-edited-word wb-only-edits")]),
        html.Div(reserved(state), id="gen-strip", className="gen-strip"),
        html.P(id="gen-status", className="prompt-readout", **{"aria-live": "polite"}),
        tools=_tools(state),
        id="gen-panel",
    )


def _tools(state: State) -> Any:
    mode = dmc.SegmentedControl(
        id="gen-mode",
        value=mode_of(state),
        data=[{"value": "greedy", "label": "Greedy"}, {"value": "drawn", "label": "Sample"}],
        size="xs",
        **{"aria-label": "How a token is chosen"},
    )
    seed = dmc.NumberInput(
        id="gen-seed", value=state.seed, min=0, allowDecimal=False, allowNegative=False, leftSection="seed",
        leftSectionWidth=44, w=112, size="xs", debounce=300, disabled=not state.sampled, **{"aria-label": "Seed"},
    )  # fmt: skip
    quiet, at_zero = "wb-button wb-quiet", state.steps == 0
    return [
        mode,
        seed,
        _button("step", [icon("step", size=16), "Step"], "Take one more token", "wb-button wb-primary"),
        _button("many", [icon("run", size=16), f"Generate {MANY}"], f"Take up to {MANY} more tokens", "wb-button"),
        _button("undo", [icon("undo", size=16), "Undo step"], "Take the last token back", quiet, disabled=at_zero),
        _button("reset", "Reset", "Remove the whole continuation", quiet, disabled=at_zero),
        html.Button(
            "Keep as prompt", id="gen-keep", className=quiet, type="button", disabled=at_zero,
            title="Make the continuation part of the prompt, so that every page shows it",
        ),
    ]  # fmt: skip


def _button(action: str, shown: Any, title: str, look: str, *, disabled: bool = False) -> Any:
    return html.Button(
        shown, id=f"gen-{action}", className=look, type="button", title=title, disabled=disabled,
        **{"data-gen": action, "data-gen-many": str(MANY), "data-gen-most": str(MOST_STEPS)},
    )  # fmt: skip


def mode_of(state: State) -> str:
    """Which way of choosing tokens is on."""
    return "drawn" if state.sampled else "greedy"


def reserved(state: State) -> Any:
    """The room of the chips before they are there."""
    if state.steps == 0:
        words = "Nothing generated yet. Step takes the most probable next token, or draws one with the sliders below."
    else:
        words = f"Generating {_tokens(state.steps)}…"
    return html.P(words, className="wb-muted gen-words")


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count} tokens"


def strips(
    chips: Sequence[Chip], taken: Sequence[Taken], clean: tuple[Sequence[Chip], Sequence[Taken]] | None, state: State
) -> Any:
    """The generated chips; with edits, those of the clean run under them."""
    ended = len(taken) < state.steps
    chosen = min(state.chosen, len(taken) - 1) if state.chosen is not None else None
    row = html.Div(
        [_chip(chip, step, state.sampled, step.step == chosen) for chip, step in zip(chips, taken, strict=True)],
        id="gen-chips", className="wb-chips", dir="ltr", role="group",
        **{"aria-label": "Generated tokens", "data-taken": str(len(taken)), "data-ended": "1" if ended else ""},
    )  # fmt: skip
    if clean is None:
        return row
    other = [_plain(chip, step) for chip, step in zip(*clean, strict=True)]
    beside = html.Div(other, id="gen-clean", className="wb-chips", dir="ltr", role="group",
                      **{"aria-label": "Tokens generated without the edits"})  # fmt: skip
    return [
        html.P("Under the edits", className="gen-row-name gen-row-edited"),
        row,
        html.P("Clean run" + (", same random numbers" if state.sampled else ""), className="gen-row-name"),
        beside,
    ]


def _facts(chip: Chip, step: Taken, sampled: bool) -> list[str]:
    facts = [f"position {chip.index}", f"id {chip.id}", f"probability {number(step.prob)}"]
    facts += [f"drawn with {number(step.sampled)}"] if sampled else []
    return [*facts, f"entropy {number(step.entropy)} nats"]


def _chip(chip: Chip, step: Taken, sampled: bool, open: bool) -> Any:
    facts = _facts(chip, step, sampled)
    look = "wb-chip gen-chip" + (" wb-chip-special" if chip.special else "")
    return html.Button(
        html.Bdi(chip.shown, dir="ltr"), className=look, type="button",
        **{
            "aria-label": f"{chip.shown}, generated: {', '.join(facts)}",
            "aria-pressed": "true" if open else "false",
            "data-gen-step": str(step.step),
            "data-wb-facts": " · ".join(facts),
            "data-wb-shown": chip.shown,
        },
    )  # fmt: skip


def _plain(chip: Chip, step: Taken) -> Any:
    facts = ", ".join(_facts(chip, step, False))
    return html.Span(html.Bdi(chip.shown, dir="ltr"), className="wb-chip gen-plain", title=facts)


def status(taken: Sequence[Taken], state: State) -> str:
    """One line about the continuation as a whole."""
    how = f"drawn with seed {state.seed}" if state.sampled else "greedy"
    mean = sum(step.entropy for step in taken) / len(taken)
    words = [f"{_tokens(len(taken))}, {how}; mean entropy {number(mean)} nats."]
    if len(taken) < state.steps:
        words.append("The model ended the text here.")
    elif not is_open(state):
        words.append("Click one to see what else could have come.")
    return " ".join(words)


def heading(step: Taken, *, edited: bool) -> list[Any]:
    """The table's title while a generated token is open."""
    mark = [html.Span("edited", className="wb-edited-word")] if edited else []
    token = html.Bdi(f"“{step.token}”", dir="ltr", className="wb-mono")
    return [f"Alternatives at step {step.step + 1}, where ", token, " came", *mark]


def table(rows: Sequence[Alternative], step: Taken, *, sampled: bool) -> list[Any]:
    """The alternatives of a step, most probable first, and how the token taken did."""
    body = html.Tbody([_row(row, sampled) for row in rows])
    held = percent(min(sum(row.prob for row in rows), 1.0))
    words = f"These {len(rows)} tokens hold {held} of the model's probability."
    if not any(row.taken for row in rows):
        words += f" The token that came, “{step.token}”, had probability {number(step.prob)}."
    foot = html.P(words, className="wb-muted prompt-footer", id="gen-footer")
    return [
        html.Table(
            [titles(after_probability=["Drawn with"] if sampled else []), body], className="prompt-rows gen-rows"
        ),
        foot,
    ]


def _row(row: Alternative, sampled: bool) -> Any:
    return token_row(row, mark="taken" if row.taken else "", after_probability=[row.sampled] if sampled else [])


def attention_place(state: State, summary: Mapping[str, Any] | None) -> Any:
    """Where the attention of a step comes to, with its pickers; hidden while no generated token is open."""
    info = summary["info"] if summary is not None else {"n_layers": 0, "n_heads": 0}
    pickers = [
        _picker("layer", "Layer", int(info["n_layers"]), state.layer),
        _picker("head", "Head", int(info["n_heads"]), state.head),
        dmc.Switch(id="gen-hide", label="Hide first token", checked=state.hide_first, size="xs"),
    ]
    head = html.Div(
        [html.H3(["Where this step looked: ", term("attention weight")]), html.Div(pickers, className="wb-tools")],
        className="wb-panel-head",
    )
    return html.Div(
        [head, html.Div(id="gen-attention-row")], id="gen-attention", className="gen-attention", hidden=True
    )


def _picker(name: str, title: str, count: int, value: int | None) -> Any:
    choices = [{"value": EVERY, "label": f"Mean of all {name}s"}]
    choices += [{"value": str(index), "label": f"{title} {index}"} for index in range(count)]
    shown = EVERY if value is None or value >= count else str(value)
    return dmc.Select(
        id=f"gen-{name}", data=choices, value=shown, allowDeselect=False, size="xs", w=184, **{"aria-label": title}
    )


def attention(row: AttentionRow | None, *, hide_first: bool) -> Any:
    """The tokens that a step's query saw, darker the more weight they got, and the strongest in words."""
    if row is None:
        return html.P("This model's attention cannot be read: the Model page says why.", className="wb-muted")
    hidden = hide_first and len(row.weights) > 1
    top = max(float(row.weights[1 if hidden else 0 :].max()), 1e-9)
    cells = [
        _weight(index, token, float(weight), min(float(weight) / top, 1.0), muted=hidden and index == 0)
        for index, (token, weight) in enumerate(zip(row.tokens, row.weights, strict=True))
    ]
    order = [index for index in row.weights.argsort()[::-1].tolist() if not (hidden and index == 0)][:STRONGEST]
    most = ", ".join(f"“{row.tokens[index]}” {number(float(row.weights[index]))}" for index in order)
    scale = f"Colours run from 0 to {number(top)}" + (", the first token left out." if hidden else ".")
    return [
        html.Div(cells, className="wb-chips gen-weights", dir="ltr", role="img", **{"aria-label": f"{row.of}: {most}"}),
        html.P(f"{row.of}. Most weight: {most}. {scale}", className="wb-muted prompt-small", id="gen-attention-words"),
    ]


def _weight(index: int, token: str, weight: float, share: float, *, muted: bool) -> Any:
    look = "gen-weight" + (" gen-weight-dark" if share > DARK and not muted else "")
    return html.Span(
        [html.Bdi(token, dir="ltr"), html.Small(number(weight, digits=2))],
        className=look,
        title=f"position {index} · attention weight {number(weight)}",
        style={"--share": "0%" if muted else f"{100 * share:.3g}%"},
    )
