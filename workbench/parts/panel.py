"""Panel: the card that everything on a page stands in."""

from __future__ import annotations

from typing import Any

from dash import html


def panel(
    title: Any, *children: Any, tools: Any = None, about: Any = None, id: str = "", edited: bool = False, **kw: Any
) -> Any:
    """A titled card. tools: controls at the right of the title. about: one muted line under it.

    edited: its numbers come from an edited run: a coloured edge and the word *edited*.
    """
    mark = [html.Span("edited", className="wb-edited-word")] if edited else []
    head = html.Div(
        [html.H2([title, *mark]), html.Div(tools, className="wb-tools") if tools is not None else None],
        className="wb-panel-head",
    )
    line = [html.P(about, className="wb-about")] if about is not None else []
    name = f"wb-panel {'wb-edited' if edited else ''} {kw.pop('className', '')}".strip()
    return html.Section([head, *line, *children], className=name, **({"id": id} if id else {}), **kw)


def page_head(title: str, about: Any = None, tools: Any = None) -> Any:
    """The first line of a page: its name, one sentence, the page's own controls at the right."""
    return html.Header(
        [
            html.Div([html.H1(title), html.P(about, className="wb-about") if about is not None else None]),
            html.Div(tools, className="wb-tools") if tools is not None else None,
        ],
        className="wb-page-head",
    )
