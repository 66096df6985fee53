"""The image field of the prompt box: upload, sample, and what the model gets, served as a picture."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING, Any

from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate
from flask import Response, jsonify, make_response, request

from hooks.errors import InputError, WorkbenchError
from workbench import urls
from workbench.figures.pictures import picture_of
from workbench.images import MOST_BYTES
from workbench.parts.empty import inline_problem
from workbench.parts.icons import icon
from workbench.parts.image_view import preview
from workbench.parts.kinds import Kind, kind_of

if TYPE_CHECKING:
    from workbench.workspace import Workspace

ROUTE = "/data/image"
ACCEPT = ".png,.jpg,.jpeg,.npy"


def field(picture: Any = None) -> Any:
    """Upload, sample buttons and the preview, at first `picture`. What is chosen is used at once."""
    drop = ["Drop a picture here, or ", html.Span("choose a file", className="wb-link"), " (PNG, JPEG, NPY)"]
    upload = dcc.Upload(
        drop, id="prompt-upload", className="prompt-upload", accept=ACCEPT, max_size=MOST_BYTES, multiple=False
    )
    sample = html.Button("Sample", id="prompt-sample", className="wb-button", type="button")
    other = html.Button([icon("redo", size=16), "Another"], id="prompt-sample-other", className="wb-button",
                        type="button", title="A random input of the model’s size")  # fmt: skip
    return html.Div(
        [
            html.Div(picture, id="prompt-preview", className="prompt-preview"),
            html.Div([upload, html.Div([sample, other], className="wb-field-row")], className="prompt-image-side"),
        ],
        className="prompt-image",
    )


def register(app: Dash, workspace: Workspace) -> None:
    """Keep what was uploaded, put its name into the address, show it, serve it."""
    _choose(app, workspace)
    _serve(app, workspace)

    @app.callback(
        Output("prompt-preview", "children"), Input("route", "data"), State("url", "search"), prevent_initial_call=True
    )
    def follow(_: Any, search: str | None) -> Any:
        state = urls.read(search)
        return shown(state, kind_of(workspace, state))


def shown(state: urls.State, kind: Kind | None) -> Any:
    """The picture that the address names; None without one."""
    return preview(state, kind) if kind is not None and kind.image and state.image else None


def _choose(app: Dash, workspace: Workspace) -> None:
    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("prompt-error", "children", allow_duplicate=True),
        Input("prompt-upload", "contents"),
        Input("prompt-sample", "n_clicks"),
        Input("prompt-sample-other", "n_clicks"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def choose(contents: str | None, sample: int | None, other: int | None, search: str) -> Any:
        kind = kind_of(workspace, urls.read(search))
        if kind is None or not (contents or sample or other):
            raise PreventUpdate
        try:
            if ctx.triggered_id == "prompt-upload":
                name = workspace.images.put(decoded(contents or ""))
            elif ctx.triggered_id == "prompt-sample":
                name = workspace.images.sample(kind.pixels)
            else:
                name = workspace.images.random(kind.pixels, seed=other or 0)
            changed = urls.change(search, image=name, token=None, position=None)
            workspace.tokens(urls.read(changed).model, urls.read(changed).inputs())
        except WorkbenchError as error:
            return no_update, inline_problem(error)
        return changed, None


def decoded(contents: str) -> bytes:
    """The bytes of an upload, `data:TYPE;base64,TEXT`. Raises InputError."""
    _, separator, text = contents.partition(";base64,")
    if not separator or len(text) > 4 * MOST_BYTES // 3 + 4:
        raise InputError("the file is too large or no file.", f"At most {MOST_BYTES >> 20} MiB are taken.")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InputError("the upload was cut short.", "Try again.") from error


def _serve(app: Dash, workspace: Workspace) -> None:
    @app.server.get(ROUTE)
    def picture() -> Response:
        """What the model of an address gets to see, as a PNG."""
        state = urls.read(request.query_string.decode())
        try:
            content = picture_bytes(workspace, state)
        except WorkbenchError as error:
            return make_response(jsonify(error.as_dict()), 404)
        answer = Response(content, mimetype="image/png")
        answer.set_etag(f"{zlib.crc32(content):08x}")
        answer.headers["Cache-Control"] = "private, max-age=60"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer


def picture_bytes(workspace: Workspace, state: urls.State) -> bytes:
    """A PNG of what the model gets of the state's image. Raises InputError, ModelError."""
    if not state.image:
        raise InputError("this address names no image.", "Choose one in the prompt box.")
    batch = workspace.tokens(state.model, state.model_copy(update={"answer": "", "foil": ""}).inputs())
    given = next((part.inputs for part in (batch, *batch.sides.values()) if part.inputs), {})
    values = next(iter(given.values()), None)
    if values is None:
        raise InputError("this model reads no image.", "Choose another model.")
    return picture_of(values[0].float().numpy())
