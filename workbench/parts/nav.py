"""The navigation rail; at phone width a bar at the bottom, with the pages that have no room in a sheet above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from workbench.pages.base import Page
from workbench.parts.icons import icon

PLACES = 5
"""Pages that have a place of their own in the bar of a phone."""
REST = "nav-rest"


def nav(pages: Sequence[Page]) -> Any:
    """Links to the pages, in their order. The browser carries the state of the address along (assets/wb.js)."""
    links = [_link(page) for page in sorted(pages, key=lambda page: page.order)]
    more = html.Button(
        [icon("down"), html.Span("More")],
        id="nav-more",
        type="button",
        className="wb-nav-link wb-nav-more",
        **{"aria-expanded": "false", "aria-controls": REST},
    )
    rest = html.Div(links[PLACES:], id=REST, className="wb-nav-rest")
    return html.Nav([*links[:PLACES], more, rest], className="wb-nav", **{"aria-label": "Pages"})


def _link(page: Page) -> Any:
    return html.A(
        [icon(page.icon), html.Span(page.title)],
        href=page.path,
        className="wb-nav-link",
        id=f"nav-{page.path.strip('/')}",
        **{"data-wb-nav": page.path},
    )
