"""The export menu of a result, and the address that its files come from.

The browser fetches the file (assets/export_menu.js), so that progress and a failure are said beside the button.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dash import Dash, html
from flask import Response, jsonify, request

from hooks.errors import StoreError, WorkbenchError
from workbench.export import CIRCUIT_FORMS, FORMS, Theme, export
from workbench.export.circuit import annotated
from workbench.export.model_files import ModelForm
from workbench.parts import model_exports
from workbench.parts.icons import icon

if TYPE_CHECKING:
    from workbench.workspace import Workspace

ROUTE = "/export/<result_id>/<form>"
FIGURES = ("svg", "pdf", "png")


def export_menu(
    result_id: str,
    grid: str = "",
    *,
    circuit: bool = False,
    drafted: bool = False,
    models: Sequence[ModelForm] = (),
) -> Any:
    """A button that opens the list of forms. grid: which grid a figure shows, the first without it.

    circuit: the result is of a circuit, which has forms of its own. drafted: the address says what is written beside
    its nodes, and the browser passes that along. models: the forms for which the model is opened.
    """
    data = {"data-export-menu": result_id, **({"data-export-drafted": "1"} if drafted else {})}
    forms = {**FORMS, **CIRCUIT_FORMS} if circuit else FORMS
    items = [html.Li(_item(result_id, form, shown.title, grid)) for form, shown in forms.items()]
    items += [html.Li(_model_item(result_id, form)) for form in models]
    return html.Details(
        [
            html.Summary([icon("export", size=16), "Export"], className="wb-button", title="Export (e)"),
            html.Div([html.Ul(items), html.P(className="exp-say", role="status")], className="exp-list"),
        ],
        className="exp-menu",
        **data,
    )


def figure_buttons(result_id: str, grid: str) -> Any:
    """Small buttons for one grid's figure as SVG, PDF and PNG."""
    labels = {form: f"Export the figure {grid} as {form.upper()}" for form in FIGURES}
    buttons = [_item(result_id, form, form.upper(), grid, label) for form, label in labels.items()]
    return html.Div([*buttons, html.Span(className="exp-say", role="status")], className="exp-figure")


def _item(result_id: str, form: str, text: str, grid: str, label: str = "") -> Any:
    of_grid = form in FORMS and FORMS[form].of_grid
    data = {"data-export": f"/export/{result_id}/{form}", "data-grid": grid if of_grid else ""}
    spoken = {"aria-label": label} if label else {}
    return html.Button(text, type="button", className="exp-item", **data, **spoken)


def _model_item(result_id: str, form: ModelForm) -> Any:
    data = {"data-export": f"/export/{result_id}/model/{form}", "data-export-job": "1"}
    return html.Button(model_exports.TITLES[form], type="button", className="exp-item", **data)


def register(app: Dash, workspace: Workspace) -> None:
    """Serve `GET /export/RESULT/FORM?grid=…&theme=light|dark&draft=…&given=…`: the file, or why there is none as JSON.

    draft, given: the edits and the given circuit of the page of circuits, of which labels, groups and pins are taken.
    The forms for which the model is opened are jobs first: see `workbench.parts.model_exports`.
    """
    model_exports.register(app, workspace)

    @app.server.get(ROUTE)
    def download(result_id: str, form: str) -> Response:
        try:
            return _file(workspace, result_id, form)
        except WorkbenchError as error:
            answer = jsonify(error.as_dict())
            answer.status_code = 404 if isinstance(error, StoreError) else 400 if error.user_fault else 500
            return answer


def _file(workspace: Workspace, result_id: str, form: str) -> Response:
    result = workspace.result(result_id)
    if result is None:
        raise StoreError(f"there is no result {result_id}.", "It may have been deleted: see the Results page.")
    if form == "vectors":
        return model_exports.vectors_of(workspace, result)
    notes = workspace.circuits.notes(request.args.get("draft", ""), request.args.get("given", ""))
    if notes.annotated:
        result = annotated(result, notes)
    theme: Theme = "dark" if request.args.get("theme") == "dark" else "light"
    made = export(result, form, grid=request.args.get("grid") or None, theme=theme)
    answer = Response(made.data, mimetype=made.media)
    answer.headers["Content-Disposition"] = f'attachment; filename="{made.name}"'
    answer.headers["Cache-Control"] = "no-store"
    return answer
