"""The Evaluate page before anything is measured: the test set, the edits, the place of the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import dcc, html

from analyses.edit_words import edits_in_words
from analyses.evaluation_files import ItemSet
from hooks.errors import WorkbenchError
from hooks.prompts import PromptSet
from workbench.figures.numbers import whole
from workbench.parts import run_panel
from workbench.parts.empty import inline_problem, sentence
from workbench.parts.evaluate_request import items_of
from workbench.parts.panel import page_head, panel
from workbench.test_files import MOST_BYTES
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

PREFIX = "eva"
SHOWN_ITEMS, SHOWN_CHARACTERS = 3, 200
KINDS = {"multiple_choice": "questions with choices", "minimal_pairs": "minimal pairs", "perplexity": "texts"}
ONE = {"multiple_choice": "question with choices", "minimal_pairs": "minimal pair", "perplexity": "text"}
FORMATS = (
    ("BLiMP", "sentence_good, sentence_bad"),
    ("MMLU", "question, choices, answer"),
    ("HellaSwag", "ctx, endings, label"),
    ("TruthfulQA", "question, best_answer, correct_answers, incorrect_answers"),
    ("your own choices", "prompt, choices, right"),
    ("texts for perplexity", "text"),
)
PLACEHOLDER = '{"sentence_good": "The cats sleep.", "sentence_bad": "The cats sleeps."}'


def page(workspace: Workspace, state: State, heading: Any) -> list[Any]:
    """The whole page. heading: the experiment in words."""
    return [
        *run_panel.stores(PREFIX),
        *(dcc.Store(id=name) for name in ("eva-followed", "pat-sink")),
        page_head("Evaluate", html.Span(heading, id="eva-sentence")),
        html.Div(
            [
                panel("Test set", html.Div(chosen(workspace, state), id="eva-chosen"), giver(), id="eva-set-panel"),
                panel("Edits", html.Div(edits(state), id="eva-edits"), id="eva-edits-panel"),
            ],
            className="eva-given",
        ),
        panel(
            "Scores",
            html.Div(id="eva-place", className="abl-sweep"),
            tools=run_panel.tools(PREFIX),
            id="eva-scores-panel",
        ),
    ]


def giver() -> Any:
    """Where a test set is given: a file or pasted lines; the formats that can be read."""
    drop = ["Drop a file here, or ", html.Span("choose one", className="wb-link"), " (JSON lines, or a plain text)"]
    rows = [html.Tr([html.Th(name, scope="row"), html.Td(fields, className="wb-mono")]) for name, fields in FORMATS]
    formats = html.Details(
        [
            html.Summary("Formats: one JSON object per line"),
            html.Table(html.Tbody(rows), className="eva-formats"),
            html.P("Any other text counts as one text, whose perplexity is measured.", className="wb-muted"),
        ],
        className="pat-more",
    )
    return html.Div(
        [
            dcc.Upload(drop, id="eva-upload", className="prompt-upload", max_size=MOST_BYTES),
            dmc.Textarea(
                id="eva-paste", label="Or paste lines, or a text", placeholder=PLACEHOLDER, autosize=True, minRows=2,
                maxRows=8, spellCheck=False, classNames={"input": "wb-mono"},
            ),
            dmc.Button("Use these lines", id="eva-read", variant="default"),
            html.Div(id="eva-note", className="wb-error-slot", **{"aria-live": "polite"}),
            formats,
        ],
        className="eva-giver",
    )  # fmt: skip


def chosen(workspace: Workspace, state: State) -> Any:
    """What the test set of a state is: its name, its size, its first items; what to do where there is none."""
    if not state.items:
        return html.P(
            "None yet. Choose a file, or paste its lines: multiple choice, minimal pairs or a text.",
            className="wb-muted",
        )
    try:
        name, items = workspace.tests.get(state.items).name, items_of(workspace, state)
    except WorkbenchError as error:
        return inline_problem(error)
    clean = items.inputs["clean"]
    groups = len(set(clean.templates))
    count = len(clean.prompts)
    facts = f"{name}: {whole(count)} {(ONE if count == 1 else KINDS)[items.kind]}, format {items.format}"
    facts += f", {whole(groups)} groups" if groups > 1 else ""
    every = dmc.Switch(
        id={"type": "pat-set", "name": "every"}, label="All correct answers count (MC2), not the best one alone (MC1)",
        checked=state.every,
    )  # fmt: skip
    truthful = [html.Div(every)] if items.format == "TruthfulQA" else []
    windows = [_windows(state)] if items.kind == "perplexity" else []
    return [html.P(facts, id="eva-facts"), *truthful, *windows, _preview(items)]


def _windows(state: State) -> Any:
    """How a long text is read: tokens at once, and how far apart the windows begin."""
    window = state.text_window
    usual = "half the window" if window is None else str(max(1, window // 2))
    fields = (
        ("text_window", "Window (tokens)", window, 2, "the model’s length", "Tokens read at once; 1,024 at most"),
        ("stride", "Stride (tokens)", state.stride, 1, usual, "From one window’s start to the next; below the window"),
    )
    inputs = [
        dmc.NumberInput(
            id={"type": "pat-set", "name": name}, label=label, value="" if value is None else value, min=low,
            allowDecimal=False, placeholder=words, description=about, debounce=400,
            inputWrapperOrder=["label", "input", "description"],
        )
        for name, label, value, low, words, about in fields
    ]  # fmt: skip
    return html.Div(inputs, className="wb-field-pair")


def _preview(items: ItemSet) -> Any:
    """The first items: what is asked, and what may follow or stands against it."""
    clean, corrupt = items.inputs["clean"], items.inputs.get("corrupt")
    heads = {"multiple_choice": ("Prompt", "Right choice"), "minimal_pairs": ("Good", "Bad"), "perplexity": ("Text",)}
    rows = [html.Tr([html.Td(text) for text in _row(at, clean, corrupt)]) for at in range(min(len(clean.prompts), 3))]
    head = html.Thead(html.Tr([html.Th(title, scope="col") for title in heads[items.kind]]))
    return html.Table([head, html.Tbody(rows[:SHOWN_ITEMS])], className="eva-preview wb-mono")


def _row(at: int, clean: PromptSet, corrupt: PromptSet | None) -> list[str]:
    texts = [str(clean.prompts[at])]
    if corrupt is not None:
        texts.append(str(corrupt.prompts[at]))
    elif clean.choices:
        texts.append(" | ".join(clean.choices[at][number] for number in clean.right[at]))
    return [text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…" for text in texts]


def edits(state: State) -> Any:
    """The edits of the tray in words."""
    try:
        tray = state.tray().edits
    except WorkbenchError as error:
        return inline_problem(error)
    if tray:
        words = sentence(edits_in_words(tray))
        return [
            html.P(f"{words}."),
            html.P("Everything is measured before and after, on the same items.", className="wb-muted"),
        ]
    return html.P(
        "None: the model is measured as it is. Edits from any page join the tray, and are then compared with it.",
        className="wb-muted",
    )
