"""Exports for which a result's model is opened: asked for as jobs, followed by the browser, then told or fetched.

The browser asks with POST and looks with GET (assets/export_menu.js); the job bar shows the same job, with its cancel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dash import Dash
from flask import Response, request

from analyses.result import Result
from hooks.errors import SpecError, StoreError
from workbench import urls
from workbench.export.model_files import ModelForm
from workbench.export.names import base
from workbench.figures.numbers import number, whole
from workbench.parts.json_answer import json_answer
from workbench.requests import ModelFileRequest

if TYPE_CHECKING:
    from workbench.jobs import Job
    from workbench.workspace import Workspace

ROUTE = "/export/<result_id>/model/<form>"
TITLES: Mapping[ModelForm, str] = {
    "checkpoint": "Pruned model (a folder)",
    "vectors": "Vectors of the edits (safetensors)",
}
MEDIA = "application/octet-stream"


def register(app: Dash, workspace: Workspace) -> None:
    """Serve `POST /export/RESULT/model/FORM` with `{session}`, which starts the job; `GET` says how it is."""

    @app.server.post(ROUTE)
    def start(result_id: str, form: str) -> Response:
        body = request.get_json(silent=True)
        session = str(body.get("session", "")) if isinstance(body, dict) else ""

        def begun() -> dict[str, Any]:
            asked = _request(workspace, result_id, form)
            return _told(workspace, asked, workspace.submit(asked, session=session))

        return json_answer(begun)

    @app.server.get(ROUTE)
    def look(result_id: str, form: str) -> Response:
        def seen() -> dict[str, Any]:
            asked = _request(workspace, result_id, form)
            return _told(workspace, asked, workspace.job(asked.id))

        return json_answer(seen)


def vectors_of(workspace: Workspace, result: Result) -> Response:
    """The file of vectors, as a download. Raises StoreError before it was made."""
    data = workspace.vectors(result.id)
    if data is None:
        raise StoreError("these vectors have not been computed yet.", "Ask for them in the result's export menu.")
    answer = Response(data, mimetype=MEDIA)
    answer.headers["Content-Disposition"] = f'attachment; filename="{base(result)}.safetensors"'
    return answer


def _request(workspace: Workspace, result_id: str, form: str) -> ModelFileRequest:
    known = next((one for one in TITLES if one == form), None)
    if known is None:
        raise SpecError(f"unknown export form '{form}'.", f"Forms that need the model: {', '.join(TITLES)}.")
    result = workspace.result(result_id)
    if result is None:
        raise StoreError(f"there is no result {result_id}.", "It may have been deleted: see the Results page.")
    return ModelFileRequest(form=known, result=result_id, model=result.experiment.model)


def _told(workspace: Workspace, asked: ModelFileRequest, job: Job | None) -> dict[str, Any]:
    """How the job of a request is, in words, and what came of it."""
    if job is None or job.state == "cancelled":
        return {"state": "cancelled", "message": "Cancelled; nothing was written."}
    if job.state == "failed":
        error = job.error or {}
        return {"state": "failed", "message": error.get("message", ""), "hint": error.get("hint", "")}
    if job.active:
        return {"state": job.state, "message": job.message or "waiting for the job before it"}
    if asked.form == "vectors":
        return {"state": "done", "file": f"/export/{asked.result}/vectors"}
    return {"state": "done", **_saved(workspace, asked.result)}


def _saved(workspace: Workspace, result_id: str) -> dict[str, Any]:
    kept = workspace.checkpoint(result_id)
    if kept is None:
        raise StoreError("the saved model is no longer there.", "Save it again.")
    folder, facts = kept
    size = f"{whole(facts.n_params)} parameters"
    words = f"{size}; logits differ from the edited run’s by at most {number(facts.difference)}."
    opened = "/model" + urls.write(urls.State(model=str(folder)))
    return {"folder": str(folder), "words": [facts.how, words], "open": opened}
