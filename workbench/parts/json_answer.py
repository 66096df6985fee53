"""What the browser's own scripts are answered: JSON, with an error as its message and its way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Response, jsonify, make_response

from hooks.errors import WorkbenchError


def json_answer(make: Callable[[], Mapping[str, Any]]) -> Response:
    """The answer that `make` gives, never cached."""
    try:
        answer = jsonify(dict(make()))
    except WorkbenchError as error:
        answer = make_response(jsonify({"state": "failed", **error.as_dict()}), 200 if error.user_fault else 500)
    answer.headers["Cache-Control"] = "no-store"
    return answer
