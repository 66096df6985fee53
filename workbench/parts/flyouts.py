"""What opens over the page. The fields in it are made when it is first opened: pages load in half the time without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dash import Dash, Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate

from workbench import urls
from workbench.parts import model_picker, prompt_box, task_picker

if TYPE_CHECKING:
    from workbench.workspace import Workspace


@dataclass(frozen=True)
class Flyout:
    """name: as `wb.flyout` in assets/wb.js calls it. content: what is in it, for the address of its first opening."""

    name: str
    title: str
    content: Callable[[Workspace, urls.State], list[Any]]


FLYOUTS = (
    Flyout("model", "Open a model", lambda workspace, state: model_picker.content()),
    Flyout("prompt", "Prompt", prompt_box.content),
    Flyout("task", "Prompts", task_picker.content),
)


def shells() -> list[Any]:
    """The flyouts, empty."""
    return [part for flyout in FLYOUTS for part in _shell(flyout)]


def _shell(flyout: Flyout) -> list[Any]:
    about = {"aria-label": flyout.title, "data-wb-flyout": flyout.name}
    return [
        dcc.Store(id=f"flyout-{flyout.name}-wanted"),
        html.Div(className="wb-flyout", id=f"flyout-{flyout.name}", role="dialog", **about),
    ]


def register(app: Dash, workspace: Workspace) -> None:
    """Fill each when it is first wanted, and attach what its fields do."""
    prompt_box.register(app, workspace)
    task_picker.register(app, workspace)
    model_picker.register(app)
    for flyout in FLYOUTS:
        _fill(app, workspace, flyout)


def _fill(app: Dash, workspace: Workspace, flyout: Flyout) -> None:
    @app.callback(
        Output(f"flyout-{flyout.name}", "children"),
        Input(f"flyout-{flyout.name}-wanted", "data"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def fill(wanted: bool | None, search: str | None) -> list[Any]:
        if not wanted:
            raise PreventUpdate
        return flyout.content(workspace, urls.read(search))
