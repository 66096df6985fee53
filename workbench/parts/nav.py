"""The navigation rail; a bar at the bottom at phone width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from workbench.pages.base import Page
from workbench.parts.icons import icon


def nav(pages: Sequence[Page]) -> Any:
    """Links to the pages, in their order. The browser carries the state of the address along (assets/wb.js)."""
    links = [
        html.A(
            [icon(page.icon), html.Span(page.title)],
            href=page.path,
            className="wb-nav-link",
            id=f"nav-{page.path.strip('/')}",
            **{"data-wb-nav": page.path},
        )
        for page in sorted(pages, key=lambda page: page.order)
    ]
    return html.Nav(links, className="wb-nav", **{"aria-label": "Pages"})
