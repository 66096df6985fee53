"""Edits of a forward pass: one kind per module, joined into the union `AnyIntervention`."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from hooks.discover import discover
from hooks.errors import SpecError
from hooks.interventions.base import Intervention, Kind

KINDS_BY_NAME: dict[str, Kind] = {kind.name: kind for kind in discover("hooks.interventions", "KIND", Kind)}
KINDS: dict[str, type[Intervention]] = {name: kind.cls for name, kind in KINDS_BY_NAME.items()}


def parse_intervention(value: Any) -> Intervention:
    """The intervention written as `{"kind": …, "at": …}`. Raises SpecError."""
    if isinstance(value, Intervention):
        return value
    if not isinstance(value, dict) or value.get("kind") not in KINDS:
        raise SpecError(f"{value!r} is not an intervention.", f"Its kind is one of {', '.join(KINDS)}.")
    try:
        return TypeAdapter(KINDS[value["kind"]]).validate_python(value)
    except ValidationError as error:
        raise SpecError(
            f"intervention {value!r}: {_first(error)}.", 'Such as {"kind": "zero", "at": "L3.z[head=5]"}.'
        ) from error


def _first(error: ValidationError) -> str:
    """The first problem, with the field that it is about."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    return f"{first['loc'][0]}: {message}" if first["loc"] else message


__all__ = ["KINDS", "KINDS_BY_NAME", "Intervention", "parse_intervention"]
