"""The proof of a model as a table: one line per site that can be read, one line per reason why others cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dash import html

from workbench.figures.numbers import number
from workbench.figures.plan import MAIN, TITLES, runs
from workbench.parts.glossary import term
from workbench.parts.panel import panel
from workbench.parts.table import number as number_column
from workbench.parts.table import status, table

READ_TONES = {"proved": "ok", "failed": "bad", "absent": "idle"}
EDIT_TONES = {"editable": "ok", "read-only": "idle", "refused": "bad", "absent": "idle"}
FAILED = ": off by "
"""What stands in the reason of a site whose equation did not hold."""


def proof_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The proof as rows of words and numbers: sites in their order, then what is missing, grouped by reason.

    Where parity fails nothing can be edited, whatever the single sites allow.
    """
    several, exact = bool(summary["info"].get("stacks")), summary["parity"]["exact"]
    there = [_there(row, several, exact) for row in summary["sites"] if row["readable"]]
    return [*there, *_absent(summary["sites"], several)]


def _there(row: Mapping[str, Any], several: bool, exact: bool) -> dict[str, Any]:
    edit = ("editable" if exact else "refused") if row["writable"] else "read-only"
    error = row["error"]
    text = "–" if error is None else "0 (exact)" if error == 0 else number(error, digits=2)
    return {
        "site": site_name(row, several),
        "layers": "all" if row["layers"] is None else runs(row["layers"]),
        "meaning": row["meaning"],
        "axes": " ".join(row["axes"]),
        "read": "proved",
        "edit": edit,
        "error": error,
        "error_text": text,
        "check": f"{row['check']}; {row['reason']}" if row["reason"] else row["check"],
    }


def _absent(rows: list[Mapping[str, Any]], several: bool) -> list[dict[str, Any]]:
    """Sites that cannot be read: a line for each reason, those that failed their check first."""
    groups: dict[tuple[bool, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if not row["readable"]:
            reason = row["reason"] or "its check failed"
            groups.setdefault((FAILED not in reason, row["stack"], reason), []).append(row)
    return [_missing(reason, found, several) for (_, _, reason), found in sorted(groups.items(), key=_first)]


def _first(group: tuple[tuple[bool, str, str], list[Mapping[str, Any]]]) -> bool:
    return group[0][0]


def _missing(reason: str, rows: list[Mapping[str, Any]], several: bool) -> dict[str, Any]:
    failed = FAILED in reason
    return {
        "site": ", ".join(site_name(row, several) for row in rows),
        "layers": "–",
        "meaning": rows[0]["meaning"] if len(rows) == 1 else "",
        "axes": " ".join(rows[0]["axes"]) if len(rows) == 1 else "",
        "read": "failed" if failed else "absent",
        "edit": "absent",
        "error": None,
        "error_text": "–",
        "check": f"{rows[0]['check']}; {reason}" if failed else reason,
    }


def site_name(row: Mapping[str, Any], several: bool) -> str:
    """A site as addresses write it, with its stack where the model has several and it is not the main one."""
    name = str(row["site"]).removeprefix("L*.")
    return f"{row['stack']}.{name}" if several and row["stack"] != MAIN else name


def proof_panel(summary: Mapping[str, Any]) -> Any:
    """The table, how much was proved, and the same as a list at phone width."""
    rows, sites = proof_rows(summary), summary["sites"]
    proved = sum(row["readable"] for row in sites)
    stacks = ["decoder", *summary["info"].get("stacks", {})]
    where = f", over {len(stacks)} stacks ({', '.join(TITLES.get(n, n).lower() for n in stacks)})" if stacks[1:] else ""
    about = [
        f"{proved} of {len(sites)} kinds of ",
        term("site"),
        f" were proved when this model opened{where}. ",
        "One that the model does not have, or that fails its check, does not exist here: its reason is in the last "
        "lines.",
    ]
    wide = html.Div(table("model-proof", _columns(rows), rows, columnSize=None), className="wb-not-narrow")
    return panel("Proof", wide, _list(rows), about=about, id="model-proof-panel")


def _columns(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    wrapped = {"wrapText": True, "autoHeight": True}
    layers = {"field": "layers", "headerName": "Layers", "width": 92, "cellClass": "wb-mono wb-small"}
    return [
        {"field": "site", "headerName": "Site", "width": 168, "cellClass": "wb-mono wb-cell-wrap", "pinned": "left"}
        | wrapped,
        status("read", "Read", READ_TONES, width=100),
        status("edit", "Edit", EDIT_TONES, width=108),
        number_column("error", "Largest error", width=116),
        *([layers] if any(row["layers"] not in ("all", "–") for row in rows) else []),
        {"field": "check", "headerName": "Checked by, or why not", "flex": 3, "minWidth": 260}
        | wrapped
        | {"cellClass": "wb-cell-wrap"},
        {"field": "meaning", "headerName": "Meaning", "flex": 3, "minWidth": 240}
        | wrapped
        | {"cellClass": "wb-cell-wrap"},
        {"field": "axes", "headerName": "Axes", "width": 208, "cellClass": "wb-mono wb-muted wb-small"},
    ]


def _list(rows: list[dict[str, Any]]) -> Any:
    """The same at phone width, where a table would have to be pushed sideways."""
    items = [
        html.Li(
            [
                html.Span(row["site"], className="wb-mono"),
                html.Span([html.Span(className=f"wb-dot wb-dot-{READ_TONES[row['read']]}"), _verdict(row)]),
                html.Span(row["error_text"], className="wb-mono wb-muted"),
                html.P(row["check"], className="wb-muted"),
            ]
        )
        for row in rows
    ]
    return html.Ul(items, className="model-proof-list wb-only-narrow")


def _verdict(row: dict[str, Any]) -> str:
    layers = "" if row["layers"] in ("all", "–") else f", layers {row['layers']}"
    return row["read"] if row["read"] != "proved" else f"proved, {row['edit']}{layers}"
