"""Line drawings, 20 × 20, drawn in the colour of the text beside them. Nothing is fetched."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from dash import html

# Paths on a 20 × 20 field, stroke 1.5, no fill.
DRAWINGS: dict[str, str] = {
    "model": "M3 5.5 10 2l7 3.5L10 9zM3 10l7 3.5 7-3.5M3 14.5 10 18l7-3.5",
    "prompt": "M3 4h14M3 8h9M3 12h14M3 16h6",
    "tokenizer": "M2.5 6.5h5v7h-5zM12.5 6.5h5v7h-5zM10 3v3M10 8.5v3M10 14v3",
    "attention": "M3 3h5v5H3zM12 3h5v5h-5zM3 12h5v5H3zM12 12h5v5h-5zM3 3l5 5M12 12l5 5",
    "ablate": "M5.5 5.5A2.5 2.5 0 1 1 5.5 5.4M5.5 14.5a2.5 2.5 0 1 1 0 .1M7.5 7 17 15.5M7.5 13 17 4.5",
    "results": "M3 3h6v6H3zM11 3h6v6h-6zM3 11h6v6H3zM11 11h6v6h-6z",
    "patch": "M3 7h11l-3-3M17 13H6l3 3",
    "lens": "M8.5 3a5.5 5.5 0 1 0 .1 0M12.5 12.5 17 17",
    "circuits": (
        "M5 15.5a1.5 1.5 0 1 0 .1 0M15 15.5a1.5 1.5 0 1 0 .1 0M10 2.5a1.5 1.5 0 1 0 .1 0"
        "M9.3 5.3 5.8 15.3M10.7 5.3l3.5 10"
    ),
    "neurons": "M10 7a3 3 0 1 0 .1 0M10 2v5M10 13v5M2 10h5M13 10h5M4.5 4.5l3.4 3.4M12.1 12.1l3.4 3.4",
    "close": "M5 5l10 10M15 5 5 15",
    "undo": "M4 8h8a4 4 0 0 1 0 8H8M4 8l4-4M4 8l4 4",
    "redo": "M16 8H8a4 4 0 0 0 0 8h4M16 8l-4-4M16 8l-4 4",
    "run": "M6 3.5v13l10-6.5z",
    "search": "M8.5 3a5.5 5.5 0 1 0 .1 0M12.5 12.5 17 17",
    "theme": "M10 3a7 7 0 1 0 7 7 5.5 5.5 0 0 1-7-7z",
    "help": "M7.5 7.5a2.5 2.5 0 1 1 3.6 2.2c-.7.4-1.1.9-1.1 1.8M10 14.6v.4M10 2a8 8 0 1 0 .1 0",
    "down": "M5 8l5 5 5-5",
    "right": "M8 5l5 5-5 5",
    "check": "M4 10.5 8 15l8-10",
    "warning": "M10 3 18 17H2zM10 8v4M10 14.4v.4",
    "info": "M10 2a8 8 0 1 0 .1 0M10 9v5M10 6v.4",
    "link": "M8 12l4-4M7 9l-2.5 2.5a2.8 2.8 0 0 0 4 4L11 13M13 11l2.5-2.5a2.8 2.8 0 0 0-4-4L9 7",
    "export": "M10 12V3M6.5 6.5 10 3l3.5 3.5M4 11v5h12v-5",
    "delete": "M4 5h12M8 5V3h4v2M6 5l.7 12h6.6L14 5",
    "plus": "M10 4v12M4 10h12",
    "step": "M4 4v12M7.5 10H16M12.5 6.5 16 10l-3.5 3.5",
    "edit": "M4 16l.7-3.5L13 4.2l2.8 2.8-8.3 8.3zM11.5 5.7l2.8 2.8",
    "save": "M4 3.5h9.5L16.5 6v10.5H4zM7 3.5V8h5V3.5M7 16.5V12h6v4.5",
    "flip": "M6 16V4M6 4 3 7M6 4l3 3M14 4v12M14 16l-3-3M14 16l3-3",
    "eye": "M2 10s3-5.5 8-5.5S18 10 18 10s-3 5.5-8 5.5S2 10 2 10zM10 7.7a2.3 2.3 0 1 0 .1 0",
    "clock": "M10 2.5a7.5 7.5 0 1 0 .1 0M10 6v4.2l3 1.8",
    "dot": "M10 7a3 3 0 1 0 .1 0",
}
_SVG = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 20 20' fill='none' stroke='black' stroke-width='1.5' "
    "stroke-linecap='round' stroke-linejoin='round'><path d='{path}'/></svg>"
)


def icon(name: str, *, size: int = 20, label: str = "") -> Any:
    """The drawing called `name`, `size` pixels square. Without a `label` it is hidden from screen readers."""
    source = f'url("data:image/svg+xml,{quote(_SVG.format(path=DRAWINGS[name]))}")'
    spoken = {"role": "img", "aria-label": label} if label else {"aria-hidden": "true"}
    style = {"maskImage": source, "WebkitMaskImage": source, "width": size, "height": size}
    return html.Span(className="wb-icon", style=style, **spoken)
