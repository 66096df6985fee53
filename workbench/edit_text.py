"""Edits as text, as the address holds them: one after another, joined by ';'.

Three kinds are short, with their usual fields: `zero:L3.z[head=5]`, `mean:L5.mlp_out`, `patch:L3.resid_pre[pos=last]`.
All others are compact JSON, `{"kind":"scale","at":"L3.z[head=5]","factor":2}`, in which a ';' is written \\u003b.
Beside a list of numbers, `vector` may be a definition as in `analyses.vectors`, such as
{"token":" Mary","minus":" John"}: the edit that is read names it, and the definition stands under that name in the
vectors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from analyses.vectors import Contrast, Definition, Direction, as_json, inputs_of
from hooks.errors import SpecError
from hooks.interventions import Intervention, parse_intervention
from hooks.prompts import IdAnswer
from hooks.sites import Part
from hooks.spec import canonical_json

SHORT = ("zero", "mean", "patch")
MeanOver = Literal["prompts", "positions"]
_DEFINITION: TypeAdapter[Contrast | Direction] = TypeAdapter(Contrast | Direction)


@dataclass(frozen=True)
class Edits:
    """What a text of edits says. vectors: the definitions that the edits name, by name."""

    edits: tuple[Intervention, ...]
    vectors: Mapping[str, Definition]

    @property
    def inputs(self) -> frozenset[str]:
        """The names of the inputs that the edits copy from or that vectors are made of."""
        copied = {name for edit in self.edits for name in edit.sources}
        return frozenset(copied | {name for made in self.vectors.values() for name in inputs_of(made)})


def read(text: str, mean_over: MeanOver = "positions") -> Edits:
    """The edits of a text, in order. mean_over: what the short form of a mean is over.

    Raises SpecError, SiteMissing.
    """
    vectors: dict[str, Definition] = {}
    edits = tuple(_edit(item, mean_over, vectors) for item in text.split(";") if item)
    return Edits(edits, vectors)


def write(edits: Sequence[Intervention], vectors: Mapping[str, Definition], mean_over: MeanOver = "positions") -> str:
    """The text of some edits, short where it can be; `read` gives the same back."""
    return ";".join(_text(edit, vectors, mean_over) for edit in edits)


def item(fields: Mapping[str, Any]) -> str:
    """An edit in JSON as one item of a text."""
    return canonical_json(fields).replace(";", "\\u003b")


def vector_name(definition: Contrast | Direction) -> str:
    """What a vector is called: "W_U[ Mary] − W_U[ John]", "clean − corrupt at last", "mean of clean"."""
    if isinstance(definition, Direction):
        tokens = (definition.token, definition.minus)
        return " − ".join(f"W_U[{t.id if isinstance(t, IdAnswer) else t}]" for t in tokens if t is not None)
    place = definition.pos
    at = "" if place is None else f" at {f'{place[0]}:{place[1]}' if isinstance(place, tuple) else place}"
    sets = f"mean of {definition.of}" if definition.minus is None else f"{definition.of} − {definition.minus}"
    return sets + at


def _edit(text: str, mean_over: MeanOver, vectors: dict[str, Definition]) -> Intervention:
    given = _json(text) if text.startswith("{") else _short(text, mean_over)
    if isinstance(given.get("vector"), dict):
        try:
            definition = _DEFINITION.validate_python(given["vector"])
        except ValidationError as error:
            raise SpecError(
                f"{given['vector']} does not define a vector.",
                'Write {"token": " Mary", "minus": " John"}, {"of": "clean", "minus": "corrupt"}, or numbers.',
            ) from error
        name = vector_name(definition)
        vectors[name] = definition
        given = {**given, "vector": name}
    return parse_intervention(given)


def _short(text: str, mean_over: MeanOver) -> dict[str, Any]:
    kind, separator, part = text.partition(":")
    if not separator:
        raise SpecError(f"'{text}' is not an edit.", "Edits are written as zero:L3.z[head=5].")
    return {"kind": kind, "at": Part.parse(part), **({"over": mean_over} if kind == "mean" else {})}


def _json(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError(
            f"'{text}' is not JSON: {error.msg}.", 'Write {"kind": "scale", "at": "L3.z[head=5]", "factor": 2}.'
        ) from error
    if not isinstance(given, dict):
        raise SpecError(f"'{text}' is not an edit.", "Edits are written as zero:L3.z[head=5].")
    return given


def _text(edit: Intervention, vectors: Mapping[str, Definition], mean_over: MeanOver) -> str:
    fields = edit.model_dump(mode="json", exclude_defaults=True) | {"kind": edit.kind}
    given = {"over": mean_over} if edit.kind == "mean" else {}
    if edit.kind in SHORT and edit == parse_intervention({"kind": edit.kind, "at": edit.at, **given}):
        return f"{edit.kind}:{edit.at}"
    if isinstance(name := fields.get("vector"), str) and name in vectors:
        fields["vector"] = _without_none(as_json(vectors[name]))
    return item(fields)


def _without_none(definition: Any) -> Any:
    if isinstance(definition, dict):
        return {key: value for key, value in definition.items() if value is not None}
    return definition
