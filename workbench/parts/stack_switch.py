"""The switch between a model's stacks: decoder, encoder, the attention between them, towers of text and image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dash import html

from workbench.parts.ablation_scope import names_of, title_of


def stack_switch(summary: Mapping[str, Any], name: str, id: str) -> Any:
    """Buttons that put the stack into the address; nothing where there is only one. name: the one that is shown."""
    names = names_of(summary)
    buttons = [
        html.Button(
            title_of(summary, one),
            type="button",
            className="wb-button stack-button",
            **{"data-wb-stack": one, "aria-pressed": "true" if one == name else "false"},
        )
        for one in names
    ]
    label = {"aria-label": "Which stack is shown"}
    return html.Div(buttons, id=id, className="stack-switch", role="group", hidden=len(names) < 2, **label)
