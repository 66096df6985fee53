"""One dot per prompt, with the mean, its interval, and the range of a control: what a mean over prompts hides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from workbench.figures import theme as themes
from workbench.figures import tokens as token_text
from workbench.figures.numbers import number

LABELLED = 40


def dots(
    values: np.ndarray,
    *,
    unit: str,
    mean: float,
    interval: tuple[float, float] | None = None,
    control: tuple[float, float] | None = None,
    baseline: float | None = 0.0,
    labels: Sequence[str] = (),
    title: str = "",
    theme: themes.ThemeName = "light",
) -> go.Figure:
    """The value of each prompt along x, prompts downwards; NaN where a prompt has none.

    interval: of the mean, a band about its line. control: the range of parts drawn at random, a wide grey band behind.
    labels: what each prompt is called; by number without them.
    """
    names = list(labels) or [f"prompt {number}" for number in range(len(values))]
    texts = [token_text.label(name) for name in names]
    drawn = go.Figure(
        go.Scatter(
            x=np.asarray(values, np.float64),
            y=np.arange(len(values)),
            mode="markers",
            marker={"color": themes.role("accent", theme), "size": 8},
            hovertext=[f"{text}<br><b>{number(float(at), signed=True)}</b> {token_text.text(unit)}"
                       for text, at in zip(texts, values, strict=True)],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    )  # fmt: skip
    if control is not None:
        _band(drawn, control, "missing", 0.45, "control", theme)
    if interval is not None:
        _band(drawn, interval, "accent", 0.2, "95 % interval", theme)
    drawn.add_vline(x=mean, line={"color": themes.role("accent", theme), "width": 2})
    if baseline is not None:
        drawn.add_vline(x=baseline, line={"color": themes.role("muted", theme), "width": 1, "dash": "dot"})
    drawn.update_layout(template=themes.template(theme), title_text=token_text.text(title), showlegend=False)
    drawn.update_xaxes(title_text=token_text.text(unit))
    shown = {"tickmode": "array", "tickvals": list(range(len(values))), "ticktext": texts}
    ticks = shown if len(values) <= LABELLED else {"title_text": "prompt"}
    drawn.update_yaxes(autorange="reversed", showgrid=False, zeroline=False, **ticks)
    return drawn


def _band(
    figure: go.Figure, ends: tuple[float, float], role: str, opacity: float, name: str, theme: themes.ThemeName
) -> None:
    """A band over all prompts, with its name at the top."""
    figure.add_vrect(
        x0=ends[0], x1=ends[1], fillcolor=themes.role(role, theme), opacity=opacity, line_width=0, layer="below",
        annotation={"text": name, "font": {"size": 11, "color": themes.role("muted", theme)}},
        annotation_position="top left" if role == "missing" else "bottom left",
    )  # fmt: skip
