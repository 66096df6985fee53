"""The header's word on what the pages work on: the one prompt of the address, a task's prompts, or a table's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dash import Dash, Input, Output, State, html
from dash.exceptions import PreventUpdate

from analyses.datasets import task_named
from hooks.errors import WorkbenchError
from hooks.prompts import Prompt
from workbench import urls
from workbench.figures.numbers import whole
from workbench.parts.given import inputs_of, is_many
from workbench.parts.icons import icon
from workbench.parts.kinds import Kind, kind_of

if TYPE_CHECKING:
    from workbench.workspace import Workspace

SHOWN_CHARACTERS, SHOWN_PROMPTS = 42, 3
EDIT_PROMPT = "Prompt: edit what the model is given, answer and foil"
EDIT_TASK = "Prompts: choose one, a task’s, or your own table"


@dataclass(frozen=True)
class Many:
    """A task or a table that is chosen. count: None where it cannot be read; first: its first prompts, as texts."""

    name: str
    count: int | None = None
    first: tuple[str, ...] = ()

    @property
    def size(self) -> str:
        """Such as "· 16 prompts"; "" where it is not known."""
        return "" if self.count is None else f"· {whole(self.count)} prompt{'s' * (self.count != 1)}"

    @property
    def tip(self) -> str:
        """The first prompts, one a line, for the pointer."""
        more = (self.count or 0) - len(self.first)
        return "\n".join(
            [EDIT_TASK, *(f"“{text}”" for text in self.first), *([f"and {whole(more)} more"] * (more > 0))]
        )


def many_of(workspace: Workspace, state: urls.State) -> Many | None:
    """The task or the table of a state; None for one prompt."""
    if not is_many(state):
        return None
    name = state.task or "table"
    try:
        name = task_named(state.task).short if state.task else workspace.tables.get(state.data).name
        prompts = inputs_of(workspace, state)["clean"].prompts
    except WorkbenchError:  # told where the page is drawn
        return Many(name)
    return Many(name, len(prompts), tuple(_text(prompt) for prompt in prompts[:SHOWN_PROMPTS]))


def _text(prompt: Prompt) -> str:
    return " ".join(prompt.split()) if isinstance(prompt, str) else "a prompt by its tokens"


def pill(state: urls.State, kind: Kind | None, tokens: int | None, many: Many | None = None) -> Any:
    """The button that says what is given, and opens where it is changed. tokens: of the one prompt, None if unknown."""
    if many is not None:
        words = html.Span(html.Bdi(many.name), className="wb-ellipsis")
        return _pill("task", many.tip, EDIT_TASK, words, html.Span(many.size, className="wb-number wb-given-size"))
    count = html.Span(
        f"({tokens})" if tokens is not None else "", className="wb-muted wb-number", title="tokens as fed"
    )
    words = html.Span(given(state, kind), className="wb-ellipsis", dir="auto")
    return _pill("prompt", EDIT_PROMPT, EDIT_PROMPT, words, count)


def _pill(action: str, tip: str, label: str, *words: Any) -> Any:
    about = {"title": tip, "aria-description": label, "type": "button", "data-wb-action": action}
    return html.Button([*words, icon("down", size=14)], id="header-prompt", className="wb-pill wb-prompt-pill", **about)


def given(state: urls.State, kind: Kind | None) -> str:
    """What the model is given, in few words: the text, the image, what was written so far."""
    text = " ".join(state.prompt.split())
    text = f"“{text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + '…'}”"
    if kind is None:
        return text
    parts = ["sound" if kind.sound else "image"] if kind.image else []
    parts += [text] if kind.text else []
    return " + ".join(parts) + (f" → “{' '.join(state.target.split())}”" if kind.target and state.target else "")


def register(app: Dash, workspace: Workspace) -> None:
    """Follow the choice of a task or a table (`wb.route` in assets/wb.js), for which pages are not drawn anew."""

    @app.callback(
        Output("header-given", "children", allow_duplicate=True),
        Input("given", "data"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def follow(_: str | None, search: str | None) -> Any:
        state = urls.read(search)
        kind = kind_of(workspace, state)
        if kind is None:
            raise PreventUpdate
        try:
            tokens = workspace.tokens(state.model, state.inputs()).lengths[0]
        except WorkbenchError:  # told where the page is drawn
            tokens = None
        return pill(state, kind, tokens, many_of(workspace, state))
