"""Binary answers of the Attention page: the overview as 8-bit tiles, and every value of a map that is drawn reduced.

The address carries the page's state, and the path the id of the capture that the state asks for: a worker that knows
nothing of earlier requests can answer, and an id that belongs to another state is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from dash import Dash
from flask import Response, jsonify, make_response, request

from hooks.errors import InputError, StoreError, WorkbenchError
from workbench import urls
from workbench.figures.attention import mosaic
from workbench.parts import attention_data as data
from workbench.parts.attention_head import asked, sizes_of
from workbench.parts.attention_progress import outcome
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

ID = re.compile(r"[0-9a-f]{8,64}")
SHARED = ("model", "prompt", "special", "plain", "image", "target", "stack")
"""The fields of the address that decide what is captured for the overview."""


def mosaic_url(state: State, version: str, sizes: data.Sizes = data.MAIN_STACK) -> str:
    """The address of the overview's tiles. version: changes with the capture, so that it may be kept for ever."""
    fields = {name: getattr(state, name) for name in SHARED}
    search = urls.write(State.model_validate(fields)) or "?"
    return f"/data/mosaic/{data.patterns_of(state, sizes).id}{search}&version={version}"


def mosaic_bytes(workspace: Workspace, state: State, capture_id: str, hide_first: bool) -> bytes:
    """Tiles of the clean patterns. Raises InputError for the id of something else, StoreError for nothing stored."""
    sizes = sizes_of(workspace, state)
    wanted = data.patterns_of(state, sizes)
    if not ID.fullmatch(capture_id) or capture_id != wanted.id:
        raise InputError("this address names another capture than its prompt does.", "Reload the page.")
    stored = outcome(workspace, wanted)
    if stored is None:
        raise StoreError("these patterns are not stored any more.", "Reload the page to capture them again.")
    drawn = mosaic(data.pattern_layers(stored, sizes), hide_first=hide_first)
    missing = tuple(layer for layer in range(sizes.layers) if layer not in sizes.attends)
    return replace(drawn, missing=missing, reason=sizes.reason if missing else "").encode()


def head_bytes(workspace: Workspace, state: State) -> bytes:
    """Every value of the open view of a head, float32, rows of queries; NaN where a cell is missing."""
    if state.layer is None or state.head is None:
        raise InputError("this address names no head.", "Choose a map in the overview.")
    sizes = sizes_of(workspace, state)
    sizes.check(state.layer, state.head)
    captures = [outcome(workspace, wanted) for wanted in asked(workspace, state, state.layer, sizes)]
    if any(stored is None for stored in captures):
        raise StoreError("this capture is not stored any more.", "Reload the page to capture it again.")
    grid = data.head_grid(data.view_of(state), captures, sizes, state.layer, state.head, data.average_of(state))
    values = grid.values if grid.valid is None else np.where(grid.valid, grid.values, np.nan)
    return np.ascontiguousarray(values, dtype="<f4").tobytes()


def register(app: Dash, workspace: Workspace) -> None:
    """Serve the binary answers."""

    @app.server.get("/data/mosaic/<capture_id>")
    def tiles(capture_id: str) -> Response:
        state = urls.read(request.query_string.decode())
        hide_first = request.args.get("hide") == "1"
        version = f"{capture_id}-{request.args.get('version', '')}-{int(hide_first)}"
        if version in request.if_none_match:
            return make_response("", 304)
        return _answer(lambda: mosaic_bytes(workspace, state, capture_id, hide_first), version)

    @app.server.get("/data/head")
    def values() -> Response:
        state = urls.read(request.query_string.decode())
        return _answer(lambda: head_bytes(workspace, state), "")


def _answer(make: Callable[[], bytes], version: str) -> Response:
    """The bytes, kept by the browser for ever where they have a version; an error as its message and hint."""
    try:
        answer = Response(make(), mimetype="application/octet-stream")
    except WorkbenchError as error:
        return make_response(jsonify(error.as_dict()), 404)
    answer.headers["Cache-Control"] = "private, max-age=31536000, immutable" if version else "no-store"
    if version:
        answer.set_etag(version)
    return answer
