"""What an evaluation found: the scores before and after, calibration, groups, and the items that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dash import html

from analyses.evaluation_files import ItemSet
from analyses.grid import Grid
from analyses.result import Result
from hooks.prompts import PromptSet
from workbench.figures import evaluation as figures
from workbench.figures.intervals import bounds_of
from workbench.figures.numbers import UNIT_WORDS, number, whole
from workbench.figures.theme import ThemeName
from workbench.parts import table
from workbench.parts.ablation_saving import save_row
from workbench.parts.empty import sentence
from workbench.parts.graph import graph

SCORES = {
    "multiple_choice": ("accuracy", "acc_norm", "prob_right", "ece"),
    "minimal_pairs": ("accuracy", "logprob_diff"),
    "perplexity": ("perplexity", "loss"),
}
DRAWN = {"multiple_choice": ("accuracy", "acc_norm"), "minimal_pairs": ("accuracy",)}
OF_ITEM = {"multiple_choice": "prob_right", "minimal_pairs": "logprob_diff", "perplexity": "loss"}
MOST_GROUPS, GROUP_PIXELS, FEW_ITEMS, MOST_ITEMS, TEXT = 60, 34, 11, 2000, 240
TURNS = {"lost": "bad", "gained": "ok", "": "idle"}


def scores(result: Result, items: ItemSet, prefix: str, theme: ThemeName) -> list[Any]:
    """Everything that a finished evaluation says. prefix: of the panel, for its saving row."""
    grids = result.grids
    pictures = [_figure(name, title, drawn, height) for name, title, drawn, height in _pictures(grids, items, theme)]
    main = SCORES[items.kind][0]
    return [
        html.Div([_tile(name, grids) for name in SCORES[items.kind] if name in grids], className="abl-tiles"),
        html.Div(pictures, className="eva-pictures"),
        changed(grids, items),
        save_row(prefix, result.id, main),
    ]


def _tile(name: str, grids: Mapping[str, Grid]) -> Any:
    """One score before and after, and the change with its paired interval."""
    grid = grids[name]
    values = [float(value) for value in grid.values]
    title = sentence(figures.NAMES.get(name, name))
    shown = " → ".join(number(value) for value in values)
    value = html.P(
        [
            html.Span(shown, id=f"eva-{name.replace('_', '-')}"),
            html.Span(f" {UNIT_WORDS[grid.unit]}", className="abl-unit"),
        ],
        className="pat-value wb-mono",
    )
    change, bounds = grids.get(f"{name}_change"), bounds_of(grid, grids)
    lines = []
    if change is not None:
        paired = bounds_of(change, grids)
        interval = f" (95 % interval {paired.text()})" if paired and paired.text() else ""
        words = ["change ", html.Span(number(float(change.values), signed=True), className="wb-mono"), interval]
        lines.append(html.P(words, className="wb-muted", title=change.about))
    elif bounds is not None and bounds.text((0,)):
        lines.append(html.P(f"95 % interval {bounds.text((0,))}", className="wb-muted"))
    return html.Div([html.H4(title, title=grid.about), value, *lines], className="abl-tile eva-tile")


def _pictures(grids: Mapping[str, Grid], items: ItemSet, theme: ThemeName) -> list[tuple[str, str, Any, int]]:
    found: list[tuple[str, str, Any, int]] = []
    drawn = [name for name in DRAWN.get(items.kind, ()) if name in grids]
    if drawn:
        title = "Before and after" if len(grids[drawn[0]].coords["run"]) > 1 else "With intervals"
        found.append(("scores", title, figures.scores(grids, drawn, theme=theme), 120 + 48 * len(drawn)))
    if "reliability_accuracy" in grids:
        found.append(("reliability", "Reliability", figures.reliability(grids, theme=theme), 320))
    if "accuracy_by_template" in grids:
        groups = len(grids["accuracy_by_template"].coords["template"])
        if 1 < groups <= MOST_GROUPS:
            figure = figures.by_template(grids, "accuracy", theme=theme)
            found.append(("groups", "Accuracy by group", figure, 100 + GROUP_PIXELS * groups))
    return found


def _figure(name: str, title: str, drawn: Any, height: int) -> Any:
    return html.Section([html.H3(title), graph(f"eva-{name}", drawn, height=height)], className="eva-picture")


def changed(grids: Mapping[str, Grid], items: ItemSet) -> Any:
    """The items, those that changed most first; without edits, as they are numbered."""
    name, clean = OF_ITEM[items.kind], items.inputs["clean"]
    held = grids.get(f"{name}_by_prompt")
    if held is None:
        return None
    texts = _texts(clean)
    columns = _columns(held, name, bool(clean.templates))
    if len(held.coords["run"]) < len(figures.MARKS):
        rows = [_plain(at, texts, clean.templates, float(value)) for at, value in enumerate(held.values[:, 0])]
        about = f"{whole(len(rows))} items."
    else:
        moved = figures.item_changes(grids, name, texts, clean.templates)
        rows = [_row(change) for change in moved]
        turned = [sum(change.turned == word for change in moved) for word in ("lost", "gained")]
        about = f"{whole(len(rows))} items, largest change first"
        about += "." if "accuracy_by_prompt" not in grids else f": {turned[0]} lost, {turned[1]} gained."
    more = f" The first {whole(MOST_ITEMS)} are listed; the export has all." if len(rows) > MOST_ITEMS else ""
    return html.Section(
        [
            html.H3("Items"),
            html.P(about + more, className="wb-muted", id="eva-items-about"),
            table.table("eva-items", columns, rows[:MOST_ITEMS], height=420 if len(rows) > FEW_ITEMS else None),
        ]
    )


def _texts(clean: PromptSet) -> Sequence[str]:
    """Each prompt in one line, without the paragraph that all questions of a subject begin with."""
    texts = [" ".join(str(prompt).partition("\n\n")[2].split() or str(prompt).split()) for prompt in clean.prompts]
    return [text if len(text) <= TEXT else f"{text[: TEXT - 1]}…" for text in texts]


def _columns(held: Grid, name: str, grouped: bool) -> list[dict[str, Any]]:
    unit = UNIT_WORDS[held.unit]
    title = sentence(figures.NAMES.get(name, name))
    title = title if unit in title.lower() else f"{title} ({unit})"
    runs: list[dict[str, Any]] = [table.number("before", title, width=150, minWidth=120)]
    if len(held.coords["run"]) > 1:
        runs = [
            table.number("before", f"{title}, before", width=150, minWidth=120),
            table.number("after", "After", width=110, minWidth=80),
            table.number("change", "Change", width=110, minWidth=80),
            table.status("turned", "Hit", TURNS, width=100, minWidth=80),
        ]
    group = {"field": "template", "headerName": "Group", "width": 160, "minWidth": 120, "tooltipField": "template"}
    text = {"field": "text", "headerName": "Item", "flex": 1, "minWidth": 240, "tooltipField": "text"}
    at = {"field": "number", "headerName": "#", "width": 64, "minWidth": 56, "type": "rightAligned"}
    return [at, text, *([group] if grouped else []), *runs]


def _plain(at: int, texts: Sequence[str], templates: Sequence[str], value: float) -> dict[str, Any]:
    group = templates[at] if templates else ""
    return {"number": at + 1, "text": texts[at], "template": group, "before": value, "before_text": number(value)}


def _row(change: figures.ItemChange) -> dict[str, Any]:
    plain = {"number": change.prompt + 1, "text": change.text, "template": change.template, "turned": change.turned}
    values = {"before": change.before, "after": change.after, "change": change.change}
    texts = {f"{name}_text": number(value, signed=name == "change") for name, value in values.items()}
    return {**plain, **values, **texts}
