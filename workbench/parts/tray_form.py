"""What the browser needs to draw one edit of the tray with its form: kind, address and the kind's few further fields.

The fields follow from the kind's own declaration, so that a new kind of intervention has its form by being there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from analyses.vectors import Definition, as_json
from hooks.errors import WorkbenchError
from hooks.interventions import KINDS, KINDS_BY_NAME, Intervention
from hooks.sites import Part
from workbench import edit_text
from workbench.urls import State

INPUTS = ("clean", "corrupt", "reference")
"""The names that prompt sets have on the pages."""
LABELS = {"over": "mean over", "sd": "sd", "coefficient": "times", "reference": "from set", "source": "from set"}


def form(edit: Intervention, definitions: Mapping[str, Definition], state: State) -> dict[str, Any]:
    """The form of an edit. definitions: of the vectors it names. state: its answers are a vector's usual direction."""
    return {
        "kind": edit.kind,
        "at": str(edit.at),
        "kinds": [{"name": name, "verb": KINDS_BY_NAME[name].verb, "text": text} for name, text in kinds(edit, state)],
        "fields": fields(edit, definitions),
    }


def kinds(edit: Intervention, state: State) -> list[tuple[str, str]]:
    """The kinds that fit the part of an edit, each with the text of the edit of that kind; its own as it is."""
    return [(name, text) for name in KINDS if (text := _of_kind(name, edit.at, state)) or name == edit.kind]


def _of_kind(kind: str, at: Part, state: State) -> str:
    try:
        read = edit_text.read(edit_text.item({"kind": kind, "at": str(at), **_start(kind, at, state)}), state.mean_over)
        return edit_text.write(read.edits, read.vectors, state.mean_over)
    except WorkbenchError:  # this kind cannot be made there
        return ""


def _start(kind: str, at: Part, state: State) -> dict[str, Any]:
    """The fields that a kind cannot be without, as they stand when it is chosen."""
    if kind == "mean":
        return {"over": state.mean_over}
    if kind in ("add", "project_out"):
        return {"vector": _vector(at, state)}
    others: dict[str, dict[str, Any]] = {"scale": {"factor": 0.5}, "set": {"value": 0}, "via": {"writers": ["embed"]}}
    return others.get(kind, {})


def _vector(at: Part, state: State) -> dict[str, Any]:
    if at.site.axes[-1] == "d_model" and state.answer:
        return {"token": state.answer, **({"minus": state.foil} if state.foil else {})}
    return {"of": "clean"}


def fields(edit: Intervention, definitions: Mapping[str, Definition]) -> list[dict[str, Any]]:
    """The further fields of an edit: name, label, type and present value."""
    found, written = [], edit.model_dump(mode="json")
    for name, info in type(edit).model_fields.items():
        if name in ("kind", "at"):
            continue
        value = written[name]
        if name == "vector" and isinstance(value, str):
            value = as_json(definitions[value]) if value in definitions else value
        label = LABELS.get(name, name.replace("_", " "))
        found.append({"name": name, "label": label, "value": value, **_type(name, info)})
    return found


def _type(name: str, info: FieldInfo) -> dict[str, Any]:
    if name == "vector":
        return {"type": "vector", "options": list(INPUTS)}
    if get_origin(info.annotation) is Literal:
        return {"type": "choice", "options": list(get_args(info.annotation))}
    if get_origin(info.annotation) is tuple:
        return {"type": "parts"}
    if info.annotation is str:
        return {"type": "choice", "options": list(INPUTS)}
    return {"type": "whole" if info.annotation is int else "number"}
