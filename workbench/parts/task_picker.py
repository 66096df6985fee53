"""The flyout in which a page's prompts are chosen: one prompt, a task's pairs, or a table of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate

from analyses.datasets import task_named, tasks
from analyses.tables import MOST_BYTES, USUAL, Columns, Table, guess, kind_of_file, kind_of_text
from analyses.tasks.base import MOST
from hooks.errors import InputError, WorkbenchError
from hooks.prompts import Answer, IdAnswer, IdsPrompt, PromptSet
from workbench import urls
from workbench.parts.empty import inline_problem
from workbench.parts.given import columns_of, inputs_of, is_many
from workbench.parts.icons import icon
from workbench.parts.prompt_image import decoded

if TYPE_CHECKING:
    from workbench.workspace import Workspace

ONE, OWN = "one", "own"
"""Choices beside the tasks: the prompt of the address, a table."""
SHOWN_ROWS, SHOWN_ANSWERS, SHOWN_CHARACTERS = 5, 3, 120
HERE: dict[str, Any] = {"comboboxProps": {"withinPortal": False}}
COLUMNS = tuple(USUAL)
ANEW: dict[str, Any] = {"token": None, "position": None, "where": None}


def picker_button(state: urls.State) -> Any:
    """The button that opens the flyout; it says what is chosen."""
    about = {"type": "button", "data-wb-action": "task", "title": "Prompts: one, a task’s, or your own table"}
    return html.Button(button_words(state), id="header-task", className="wb-button", **about)


def button_words(state: urls.State) -> list[Any]:
    """What the button says."""
    words = f"{state.n} × {state.task}" if state.task else "Own table" if state.data else "One prompt"
    return [icon("edit", size=16), words]


def content(workspace: Workspace, state: urls.State) -> list[Any]:
    """The flyout, with what the address says."""
    names = [{"value": ONE, "label": "One prompt"}, *({"value": t.name, "label": t.title} for t in tasks().values())]
    name, n, seed, table = fields_of(workspace, state)
    no_task, no_table, variants, variant = shape_of(state, name)
    columns = columns_shown(table)
    given = (name, n, seed, variant, table, *(value for _, value in columns))
    return [
        dcc.Store(id="task-table", data=table),
        html.H2("Prompts"),
        dmc.Select(
            id="task-name",
            label="Work on",
            data=[*names, {"value": OWN, "label": "My own table"}],
            value=name,
            allowDeselect=False,
            **HERE,
        ),
        html.Div(_task_fields(n, seed, variants, variant), id="task-part-task", hidden=no_task),
        html.Div(_table_fields(columns), id="task-part-table", hidden=no_table),
        html.Div(id="task-error", className="wb-error-slot", **{"aria-live": "polite"}),
        html.Div([dmc.Button("Use these prompts", id="task-apply")], className="wb-field-row"),
        html.Div(previewed(workspace, state, *given), id="task-preview", className="wb-stack"),
    ]


def _task_fields(n: int, seed: int, variants: list[dict[str, str]], variant: str | None) -> Any:
    return html.Div(
        [
            dmc.NumberInput(id="task-n", label="Pairs", value=n, min=1, max=MOST, allowDecimal=False),
            dmc.NumberInput(id="task-seed", label="Seed", value=seed, min=0, allowDecimal=False),
            dmc.Select(
                id="task-variant", label="Corruption", data=variants, value=variant, allowDeselect=False, **HERE
            ),
        ],
        className="wb-field-pair",
    )


def _table_fields(columns: list[tuple[list[str], str | None]]) -> Any:
    drop = ["Drop a file here, or ", html.Span("choose one", className="wb-link"), " (JSONL, CSV)"]
    chosen = [
        dmc.Select(id=f"task-column-{role}", label=role, data=data, value=value, clearable=True, **HERE)
        for role, (data, value) in zip(COLUMNS, columns, strict=True)
    ]
    return [
        dcc.Upload(drop, id="task-upload", className="prompt-upload", accept=".jsonl,.csv", max_size=MOST_BYTES),
        dmc.Textarea(id="task-paste", label="Or paste rows", minRows=2, maxRows=6, autosize=True, spellCheck=False),
        dmc.Button("Read rows", id="task-read", variant="default"),
        html.Div(chosen, className="wb-field-pair"),
    ]


def register(app: Dash, workspace: Workspace) -> None:
    """Follow the address, read tables, show what was chosen, put it into the address."""
    _follow(app, workspace)
    _read(app, workspace)
    _show(app, workspace)
    _say(app)
    fields = [State(*field) for field in FIELDS]

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("task-error", "children"),
        Input("task-apply", "n_clicks"),
        *fields,
        State("url", "search"),
        prevent_initial_call=True,
    )
    def apply(clicks: int | None, *given: Any) -> Any:
        if not clicks:
            raise PreventUpdate
        *values, search = given
        try:
            state = chosen(urls.read(search), *values)
            for inputs in inputs_of(workspace, state).values():
                workspace.tokens(state.model, inputs)
        except WorkbenchError as error:
            return no_update, inline_problem(error)
        return urls.write(state), None


FIELDS = (
    ("task-name", "value"),
    ("task-n", "value"),
    ("task-seed", "value"),
    ("task-variant", "value"),
    ("task-table", "data"),
    *((f"task-column-{role}", "value") for role in COLUMNS),
)


def chosen(
    state: urls.State, name: str, n: Any, seed: Any, variant: str | None, table: dict[str, Any] | None, *columns: Any
) -> urls.State:
    """The state with what the fields say. Raises InputError for a field that is not filled in."""
    none = {"task": "", "variant": "", "data": "", "columns": "", **ANEW}
    if name == ONE:
        return state.model_copy(update=none)
    if name == OWN:
        if not table:
            raise InputError("there is no table yet.", "Choose a file, or paste rows and read them.")
        mapped = {role: column or None for role, column in zip(COLUMNS, columns, strict=True)}
        if not mapped["prompt"]:
            raise InputError("no column holds the prompt.", "Choose the prompt’s column.")
        written = Columns.model_validate({**mapped, "positions": table["positions"]}).model_dump_json(exclude_none=True)
        return state.model_copy(update={**none, "data": table["hash"], "columns": written})
    if not (isinstance(n, int) and 1 <= n <= MOST and isinstance(seed, int) and seed >= 0):
        raise InputError("pairs and seed are whole numbers.", f"Use 1 to {MOST:,} pairs, and a seed from 0.")
    task = task_named(name)
    usual = not variant or variant == task.variant or variant not in task.variants
    update = {"task": task.name, "n": n, "seed": seed, "variant": "" if usual else variant}
    update |= {"metric": task.metric} if task.name != state.task else {}
    return state.model_copy(update={**none, **update})


def _say(app: Dash) -> None:
    @app.callback(
        Output("header-task", "children"), Input("given", "data"), State("url", "search"), prevent_initial_call=True
    )
    def words(_: str | None, search: str | None) -> list[Any]:
        return button_words(urls.read(search))


def _follow(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        *(Output(*field) for field in FIELDS[:3]),
        Output("task-table", "data"),
        Input("given", "data"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def follow(_: str | None, search: str | None) -> Any:
        return fields_of(workspace, urls.read(search))

    @app.callback(
        Output("task-part-task", "hidden"),
        Output("task-part-table", "hidden"),
        Output("task-variant", "data"),
        Output("task-variant", "value"),
        Input("task-name", "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def shape(name: str, search: str | None) -> Any:
        return shape_of(urls.read(search), name)


def fields_of(workspace: Workspace, state: urls.State) -> tuple[str, int, int, dict[str, Any] | None]:
    """What a state says: the choice, the number of pairs, the seed, the table."""
    known = state.task if state.task in tasks() else ""
    return known or (OWN if state.data else ONE), state.n, state.seed, _kept(workspace, state)


def shape_of(state: urls.State, name: str) -> tuple[bool, bool, list[dict[str, str]], str | None]:
    """For a choice: whether a task's and a table's fields are hidden, the corruptions, and the chosen one."""
    task = tasks().get(name)
    if task is None:
        return True, name != OWN, [], None
    data = [{"value": key, "label": words} for key, words in task.variants.items()]
    return False, True, data, state.variant if state.variant in task.variants else task.variant


def columns_shown(table: dict[str, Any] | None) -> list[tuple[list[str], str | None]]:
    """For each role, the columns of a table and the one that holds it."""
    held = table["held"] if table else {}
    return [(table["columns"] if table else [], held.get(role)) for role in COLUMNS]


def _kept(workspace: Workspace, state: urls.State) -> dict[str, Any] | None:
    """The table of a state as the browser keeps it: hash, name, columns, and what they hold; None without one."""
    if not state.data:
        return None
    try:
        kept = workspace.tables.get(state.data)
        table = kept.read()
        return _described(state.data, kept.name, table, columns_of(state, table))
    except WorkbenchError:  # told where the page is drawn
        return None


def _described(key: str, name: str, table: Table, columns: Columns | None) -> dict[str, Any]:
    held = columns.model_dump() if columns is not None else {}
    positions = held.pop("positions", {})
    return {"hash": key, "name": name, "columns": list(table.columns), "held": held, "positions": positions}


def _read(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("task-table", "data", allow_duplicate=True),
        Output("task-error", "children", allow_duplicate=True),
        Input("task-upload", "contents"),
        Input("task-read", "n_clicks"),
        State("task-upload", "filename"),
        State("task-paste", "value"),
        prevent_initial_call=True,
    )
    def read(contents: str | None, clicks: int | None, filename: str | None, pasted: str | None) -> Any:
        try:
            if ctx.triggered_id == "task-upload":
                if not contents:
                    raise PreventUpdate
                name, content = filename or "", decoded(contents)
                kind = kind_of_file(name)
            else:
                name, content, kind = "pasted rows", (pasted or "").encode(), kind_of_text(pasted or "")
            key = workspace.tables.put(name, kind, content)
        except WorkbenchError as error:
            return no_update, inline_problem(error)
        table = workspace.tables.get(key).read()
        return _described(key, name, table, guess(table)), None

    @app.callback(
        *(Output(f"task-column-{role}", prop) for role in COLUMNS for prop in ("data", "value")),
        Input("task-table", "data"),
        prevent_initial_call=True,
    )
    def columns(table: dict[str, Any] | None) -> Any:
        return [part for column in columns_shown(table) for part in column]


def _show(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("task-preview", "children"),
        *(Input(*field) for field in FIELDS),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def show(*given: Any) -> Any:
        *values, search = given
        return previewed(workspace, urls.read(search), *values)


def previewed(workspace: Workspace, state: urls.State, *values: Any) -> Any:
    """What the fields choose, shown; or what is wrong with them."""
    try:
        state = chosen(state, *values)
        return preview(workspace, state) if is_many(state) else None
    except WorkbenchError as error:
        return inline_problem(error)


def preview(workspace: Workspace, state: urls.State) -> list[Any]:
    """The first prompts with their twins and answers; how many there are; what was dropped. Raises WorkbenchError."""
    inputs = inputs_of(workspace, state)
    clean, corrupt = inputs["clean"], inputs.get("corrupt")
    heads = ["Prompt", *(["Corrupted"] if corrupt else []), "Answer", "Foil"]
    rows = [html.Tr([html.Td(text) for text in _row(number, clean, corrupt)]) for number in _first(clean)]
    note = workspace.task(state.model, state.task, state.n, state.seed, state.variant).note if state.task else ""
    count = f"{len(clean.prompts)} prompts" + (f"; {note}" if note else "")
    head = html.Thead(html.Tr([html.Th(head, scope="col") for head in heads]))
    return [html.Table([head, html.Tbody(rows)], className="wb-mono"), html.P(count, className="wb-muted")]


def _first(clean: PromptSet) -> range:
    return range(min(len(clean.prompts), SHOWN_ROWS))


def _row(number: int, clean: PromptSet, corrupt: PromptSet | None) -> list[str]:
    prompts = [clean.prompts[number], *([corrupt.prompts[number]] if corrupt else [])]
    answers = [_answer(given[number]) if given else "" for given in (clean.answers, clean.foils)]
    return [*map(_text, prompts), *answers]


def _text(prompt: Any) -> str:
    text = f"{len(prompt.ids)} tokens by id" if isinstance(prompt, IdsPrompt) else str(prompt)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"


def _answer(answer: Answer) -> str:
    if isinstance(answer, tuple):
        more = len(answer) - SHOWN_ANSWERS
        return " | ".join(map(_answer, answer[:SHOWN_ANSWERS])) + (f" and {more} more" if more > 0 else "")
    return f"#{answer.id}" if isinstance(answer, IdAnswer) else answer.replace(" ", "·")
