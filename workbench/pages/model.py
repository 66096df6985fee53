"""The Model page: what is open, how it is built, and the proof of every site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dash import Dash, html

from workbench.figures.architecture import block_diagram, describe
from workbench.figures.numbers import number, short, whole
from workbench.figures.theme import THEMES
from workbench.pages.base import Page
from workbench.parts.empty import empty, sentence
from workbench.parts.glossary import term
from workbench.parts.header import parity
from workbench.parts.icons import icon
from workbench.parts.panel import page_head, panel
from workbench.parts.table import number as number_column
from workbench.parts.table import status, table
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

READ_TONES = {"proved": "ok", "absent": "idle"}
EDIT_TONES = {"editable": "ok", "read-only": "idle", "absent": "idle"}


def layout(workspace: Workspace, state: State) -> Any:
    """The page for the model of the state."""
    summary = workspace.summary(state.model)
    if summary is None:
        return empty("This model is not open", "Choose a model under its name above.")
    info = summary["info"]
    choose = html.Button("Open another model", className="wb-button", type="button", **{"data-wb-action": "model"})
    return [
        page_head(
            state.model,
            f"{info['family']} · {short(info['n_params'])} parameters · {info['dtype']} on {info['device']}",
            choose,
        ),
        *_warnings(summary),
        html.Div(
            [html.Div([_verdict(summary), _sizes(info), _provenance(summary)], className="wb-stack"), _diagram(info)],
            className="wb-model-top",
        ),
        _proof(summary),
    ]


def _warnings(summary: Mapping[str, Any]) -> list[Any]:
    notes = [html.Li(sentence(warning)) for warning in summary.get("warnings", ())]
    if not notes:
        return []
    return [
        html.Div([icon("warning", size=18), html.Ul(notes)], className="wb-warning", role="note", id="model-warnings")
    ]


def _verdict(summary: Mapping[str, Any]) -> Any:
    facts = summary["parity"]
    against = facts.get("reference", "the unhooked model")
    if facts["exact"]:
        words = (
            "With every site captured and nothing edited, the logits equal those of "
            f"{against} bit for bit: the largest difference is 0."
        )
    else:
        words = (
            f"The logits differ from those of {against} by up to {number(facts['error'])}. "
            "Edits are refused: their effect could not be told from this difference."
        )
    return panel(
        term("parity", "Parity"),
        html.P(words, className="wb-about"),
        tools=parity(summary, "open", id="model-verdict"),
        id="model-parity",
    )


def _sizes(info: Mapping[str, Any]) -> Any:
    grouped = info["n_heads"] != info["n_kv_heads"]
    windows = [window for window in info["windows"] if window is not None]
    window = (
        f"{whole(min(windows))} tokens back in {len(windows)} of {info['n_layers']} layers"
        if windows
        else "all earlier tokens"
    )
    tiles: list[tuple[Any, str, str]] = [
        ("layers", whole(info["n_layers"]), ""),
        (
            term("head", "heads per layer"),
            whole(info["n_heads"]),
            f"over {info['n_kv_heads']} key/value heads" if grouped else "",
        ),
        ("dimensions per head", whole(info["d_head"]), ""),
        (term("residual stream"), whole(info["d_model"]), "dimensions"),
        (term("MLP", "MLP neurons per layer"), whole(info["d_mlp"]), "gated" if info["gated"] else ""),
        ("vocabulary", whole(info["d_vocab"]), "tokens"),
        ("context", whole(info["n_ctx"]) if info["n_ctx"] else "–", "tokens" if info["n_ctx"] else "not stated"),
        ("parameters", short(info["n_params"]), f"{whole(info['n_params'])}"),
    ]
    cells = [
        html.Div(
            [html.Dt(name), html.Dd([html.Span(value, className="wb-stat"), html.Span(note, className="wb-muted")])],
            className="wb-stat-cell",
        )
        for name, value, note in tiles
    ]
    return panel(
        "Sizes",
        html.Dl(cells, className="wb-stats"),
        html.P(["Attention looks at ", window, "."], className="wb-about"),
        id="model-sizes",
    )


def _facts(facts: list[tuple[Any, Any]]) -> Any:
    rows = [cell for name, value in facts for cell in (html.Dt(name), html.Dd(value, className="wb-number"))]
    return html.Dl(rows, className="wb-facts-list")


def _diagram(info: Mapping[str, Any]) -> Any:
    words = describe(info)
    drawings = [
        html.Img(
            src="data:image/svg+xml," + quote(block_diagram(info, theme)),
            alt=words if theme == "light" else "",
            className=f"wb-only-{theme}",
        )
        for theme in THEMES
    ]
    return panel("Architecture", html.Div(drawings, className="wb-diagram"), about=words, id="model-diagram")


def _provenance(summary: Mapping[str, Any]) -> Any:
    versions = ", ".join(f"{name} {version}" for name, version in summary.get("versions", {}).items())
    files = summary.get("files") or {}
    facts = [
        ("Source", summary.get("source") or "–"),
        ("Weights", html.Span(summary["hash"], className="wb-mono")),
        (
            "Tokenizer",
            [summary.get("tokenizer") or "–", " ", html.Span(summary["tokenizer_hash"], className="wb-mono wb-muted")],
        ),
        *([("Tokenizer from", summary["tokenizer_source"])] if summary.get("tokenizer_source") else []),
        *(
            [
                (
                    "Files",
                    html.Span(
                        [
                            html.Div([name, " ", html.Span(str(value), className="wb-mono wb-muted")])
                            for name, value in files.items()
                        ]
                    ),
                )
            ]
            if files
            else []
        ),
        ("Attention", summary.get("attention") or "–"),
        ("Versions", versions or "–"),
    ]
    return panel("Where it comes from", _facts(facts), id="model-provenance")


def proof_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The proof as rows of words and numbers: what the table shows."""
    return [
        {
            "site": row["site"].removeprefix("L*."),
            "meaning": row["meaning"],
            "axes": " ".join(row["axes"]),
            "read": "proved" if row["readable"] else "absent",
            "edit": "editable" if row["writable"] else "read-only" if row["readable"] else "absent",
            "error": row["error"],
            "error_text": "–"
            if row["error"] is None
            else "0 (exact)"
            if row["error"] == 0
            else number(row["error"], digits=2),
            "check": row["reason"]
            if not row["readable"] and row["reason"]
            else f"{row['check']}; {row['reason']}"
            if row["reason"]
            else row["check"],
        }
        for row in summary["sites"]
    ]


def _proof(summary: Mapping[str, Any]) -> Any:
    columns = [
        {"field": "site", "headerName": "Site", "width": 112, "cellClass": "wb-mono", "pinned": "left"},
        status("read", "Read", READ_TONES, width=100),
        status("edit", "Edit", EDIT_TONES, width=108),
        number_column("error", "Largest error", width=116),
        {
            "field": "check",
            "headerName": "Checked by, or why not",
            "flex": 3,
            "minWidth": 260,
            "wrapText": True,
            "autoHeight": True,
            "cellClass": "wb-cell-wrap",
        },
        {
            "field": "meaning",
            "headerName": "Meaning",
            "flex": 3,
            "minWidth": 260,
            "wrapText": True,
            "autoHeight": True,
            "cellClass": "wb-cell-wrap",
        },
        {"field": "axes", "headerName": "Axes", "width": 208, "cellClass": "wb-mono wb-muted wb-small"},
    ]
    proved = sum(row["readable"] for row in summary["sites"])
    about = [
        f"{proved} of {len(summary['sites'])} kinds of ",
        term("site"),
        " were proved in every layer of this model when it opened. ",
        "One that fails its check does not exist here, and the reason is shown.",
    ]
    rows = proof_rows(summary)
    wide = html.Div(table("model-proof", columns, rows, columnSize=None), className="wb-not-narrow")
    return panel("Proof", wide, _proof_list(rows), about=about, id="model-proof-panel")


def _proof_list(rows: list[dict[str, Any]]) -> Any:
    """The same at phone width, where a table would have to be pushed sideways."""
    items = [
        html.Li(
            [
                html.Span(row["site"], className="wb-mono"),
                html.Span([html.Span(className=f"wb-dot wb-dot-{READ_TONES[row['read']]}"), _verdict_of(row)]),
                html.Span(row["error_text"], className="wb-mono wb-muted"),
                html.P(row["check"], className="wb-muted"),
            ]
        )
        for row in rows
    ]
    return html.Ul(items, className="model-proof-list wb-only-narrow")


def _verdict_of(row: dict[str, Any]) -> str:
    return "absent" if row["read"] == "absent" else f"{row['read']}, {row['edit']}"


def register(app: Dash, workspace: Workspace) -> None:
    """The page has no callbacks of its own."""


PAGE = Page("/model", "Model", 0, "model", layout, register, needs_prompt=False)
