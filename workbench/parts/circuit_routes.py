"""What the editor of circuits asks of the server: the picture, a change, the numbers; each with the page's address."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from dash import Dash
from flask import Response, jsonify, make_response, request

from analyses.circuit_live import Measured
from analyses.statistics import Estimate
from hooks.errors import InputError, SpecError, WorkbenchError
from workbench import live_circuits, urls
from workbench.circuit_draft import changed, place
from workbench.export.circuit_forms import CIRCUIT_FILES, written
from workbench.figures.numbers import UNIT_WORDS, number, whole
from workbench.parts import circuit_compare, circuit_lists, circuit_roles
from workbench.parts.circuit_request import Bases, about_of, edited_of, live_of, unit_of
from workbench.parts.circuit_view import view
from workbench.parts.json_answer import json_answer
from workbench.requests import CircuitRequest
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

ROUTE = "/data/circuit"
PATIENCE_SECONDS = 3.0
"""How long an answer waits for its numbers before it says how far they are; the browser then asks again."""
GLANCE_SECONDS = 0.01
MOST_BYTES = 2 << 20


def register(app: Dash, workspace: Workspace, bases: Bases) -> None:
    """Serve the picture, changes, numbers and files of circuits."""

    @app.server.get(f"{ROUTE}/view")
    def circuit_view() -> Response:
        state = urls.read(request.query_string.decode())

        def made() -> dict[str, Any]:
            roles = circuit_roles.roles_of(workspace, bases, state)
            told = view(workspace, bases, state, roles, circuit_compare.marks_of(workspace, bases, state))
            now = edited_of(workspace, bases, state)
            unit = unit_of(workspace, state)
            return told if now is None else {**told, "lists": circuit_lists.lists(now, unit)}

        return json_answer(made)

    @app.server.post(f"{ROUTE}/edit")
    def circuit_edit() -> Response:
        return json_answer(lambda: edited(workspace, bases, _body()))

    @app.server.get(f"{ROUTE}/live")
    def circuit_live() -> Response:
        state, session = urls.read(request.query_string.decode()), request.args.get("session", "")
        return json_answer(lambda: numbers(workspace, bases, state, session, request.args.get("without", "")))

    @app.server.post(f"{ROUTE}/cancel")
    def circuit_cancel() -> Response:
        body = _body()
        workspace.cancel(str(body.get("job", "")), session=str(body.get("session", "")) or "nobody")
        return json_answer(lambda: {"state": "cancelled"})

    @app.server.get(f"{ROUTE}/file")
    def circuit_file() -> Response:
        return _file(workspace, bases, urls.read(request.query_string.decode()), request.args.get("form", ""))


def edited(workspace: Workspace, bases: Bases, body: Mapping[str, Any]) -> dict[str, str]:
    """The draft of an address after a change, as the address holds it; its numbers are asked for at once.

    body: `search`, the address; `change`; `session`. Raises SpecError, InputError.
    """
    change, state = body.get("change"), urls.read(str(body.get("search", "")))
    if not isinstance(change, dict):
        raise SpecError("there is no change.", "Reload the page.")
    base = bases.of_state(state)
    draft = changed(workspace.circuits.read_draft(state.draft), change, None if base is None else base.found)
    text = workspace.circuits.write_draft(draft)
    after = state.model_copy(update={"draft": text})
    now = edited_of(workspace, bases, after)
    if now is not None:
        # The engine computes while the page finds out what has changed.
        asked = live_of(workspace, bases, after, now.base, now.kept)
        live_circuits.ask(workspace, asked, str(body.get("session", "")))
    return {"draft": text}


def numbers(workspace: Workspace, bases: Bases, state: State, session: str, without: str) -> dict[str, Any]:
    """What the circuit of a state gives, or how far that is.

    without: an edge; then not of the circuit, but of the whole model with that edge alone cut. Raises WorkbenchError.
    """
    now = edited_of(workspace, bases, state)
    if now is None:
        return {"state": "none"}
    kept = now.kept
    if without:
        kept = now.base.graph.allowed.copy()
        kept[place(now.base.graph, without)] = False
    asked = live_of(workspace, bases, state, now.base, kept)
    found = _found(workspace, asked, session)
    if isinstance(found, Measured):
        told = effect_words(found) if without else words_of(found)
        return {"state": "done", "live": asked.id, "size": int(now.pruned.sum()), **told}
    return {"live": asked.id, **found}


def _found(workspace: Workspace, asked: CircuitRequest, session: str) -> Measured | dict[str, Any]:
    """The numbers, waited for as long as it is polite to; else how far they are. Raises the error of the run."""
    known = workspace.circuit_run(asked.id)
    if known is not None:
        return known
    job, until = live_circuits.ask(workspace, asked, session), time.monotonic() + PATIENCE_SECONDS
    while job.active and time.monotonic() < until:
        time.sleep(GLANCE_SECONDS)
        job = workspace.job(job.id) or job
    if job.state == "done":
        known = workspace.circuit_run(asked.id)
        if known is not None:
            return known
    if job.state == "failed":
        return {"state": "failed", **(job.error or {"message": "the run failed.", "hint": ""})}
    return {"state": job.state, "message": job.message or ("waiting for another job" if job.state == "queued" else "")}


def words_of(found: Measured) -> dict[str, Any]:
    """The numbers of a circuit as they are shown; `value` is faithfulness as a number, None where undefined."""
    estimate, unit = found.faithfulness, UNIT_WORDS.get(found.unit, found.unit)
    value = None if np.isnan(estimate.value) else float(estimate.value)
    prompts = len(found.full)
    means = [f"{name} {number(float(values.mean()))}" for name, values in
             (("circuit", found.circuit), ("model", found.full), ("ablated", found.empty))]  # fmt: skip
    return {
        "value": value,
        "faithfulness": number(value),
        "interval": _interval(estimate) or ("one prompt has no interval" if prompts == 1 else ""),
        "reason": estimate.reason,
        "means": f"{found.title}: {', '.join(means)} {unit}, mean of {whole(prompts)} prompt{'s' * (prompts > 1)}",
    }


def effect_words(found: Measured) -> dict[str, Any]:
    """What cutting one edge of the model does, as it is shown."""
    change = found.difference
    interval = _interval(change, signed=True)
    unit = UNIT_WORDS.get(found.unit, found.unit)
    words = f"{number(float(change.value), signed=True)} {unit}" + (f" ({interval})" if interval else "")
    return {"value": float(change.value), "effect": words}


def _interval(estimate: Estimate, *, signed: bool = False) -> str:
    if estimate.low is None or estimate.high is None or np.isnan(estimate.low):
        return ""
    ends = (number(float(end), signed=signed) for end in (estimate.low, estimate.high))
    return f"95 % interval {' to '.join(ends)}"


def _body() -> Mapping[str, Any]:
    """The JSON of a POST; {} where it is none, or larger than any change."""
    if (request.content_length or 0) > MOST_BYTES:
        return {}
    body = request.get_json(silent=True)
    return body if isinstance(body, dict) else {}


def _file(workspace: Workspace, bases: Bases, state: State, form: str) -> Response:
    """The edited circuit as a file, or why there is none as JSON."""
    try:
        now = edited_of(workspace, bases, state)
        if now is None:
            raise InputError("there is no such file.", "Find a circuit first.")
        text = written(now.circuit, form, about_of(workspace, bases, state))
    except WorkbenchError as error:
        return make_response(jsonify(error.as_dict()), 400)
    answer = Response(text.encode("utf-8", "replace"), mimetype=CIRCUIT_FILES[form].media)
    answer.headers["Content-Disposition"] = f'attachment; filename="circuit-{int(now.kept.sum())}-edges.{form}"'
    answer.headers["Cache-Control"] = "no-store"
    return answer
