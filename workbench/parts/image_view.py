"""An image as its model gets it, with the grid of patches over it."""

from __future__ import annotations

from typing import Any

from dash import html

from workbench import urls
from workbench.figures.pictures import channel_hues
from workbench.parts.kinds import Kind

FIELDS = ("model", "image", "prompt", "special", "plain")
"""What decides which pixels a model gets."""


def image_url(state: urls.State) -> str:
    """Where the picture of what the model gets is served."""
    kept = {name: getattr(state, name) for name in FIELDS}
    return f"/data/image{urls.write(urls.State.model_validate(kept)) or '?'}"


def preview(state: urls.State, kind: Kind) -> Any:
    """The picture with its patch grid; no interaction."""
    words = "The sound’s features, time from left to right" if kind.sound else "The image as the model gets it"
    picture = html.Img(src=image_url(state), alt=words, className="img-picture", draggable="false")
    lines = html.Div(className="img-lines", **{"aria-hidden": "true"}) if kind.grid else None
    return html.Div([picture, lines], className="img-frame", style=frame_style(kind))


def overlay(state: urls.State, kind: Kind) -> Any:
    """The image under its patches, which `assets/attention_image.js` fills with the weights of one row of attention."""
    picture = html.Img(src=image_url(state), alt="", className="img-picture", draggable="false")
    cells = html.Div(id="attn-patches", className="img-cells", role="group", **{"aria-label": "Patches of the image"})
    bar = [html.Span("0"), html.Div(id="attn-image-ramp", className="attn-bar-ramp"), html.Span(id="attn-image-high")]
    words = "weight on each patch, from 0 to the largest of this row"
    return html.Div(
        [
            html.P(id="attn-image-of", className="attn-note"),
            html.Div([picture, cells], className="img-frame", style=frame_style(kind)),
            html.Div(id="attn-prefix", className="img-prefix"),
            html.Div([*bar, html.Span(words, className="attn-bar-name")], className="attn-bar"),
            legend(kind),
        ],
        id="attn-image",
        className="attn-image attn-image-square" if kind.pixels[-1] <= 3 * kind.pixels[-2] else "attn-image",
    )


def frame_style(kind: Kind) -> dict[str, Any]:
    """The frame's own variables: the image's shape, and how many patches lie along each side."""
    rows, columns = kind.grid or (1, 1)
    height, width = kind.pixels[-2:]
    return {"--img-width": width, "--img-height": height, "--img-rows": rows, "--img-columns": columns}


def legend(kind: Kind) -> Any:
    """Which hue is which channel, where channels are drawn as hues."""
    hues = channel_hues(kind.pixels[0]) if len(kind.pixels) == 3 else []
    marks = [
        html.Span([html.I(style={"background": hue}), f"channel {number}"], className="img-channel")
        for number, hue in enumerate(hues)
    ]
    return html.P(["The largest channel of each place: ", *marks], className="img-legend wb-muted") if marks else None
