"""Edits of a forward pass: one kind per module, joined into the union `AnyIntervention`."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from hooks.discover import discover
from hooks.errors import SpecError
from hooks.interventions.base import Intervention, Kind

KINDS: dict[str, type[Intervention]] = {kind.name: kind.cls for kind in discover("hooks.interventions", "KIND", Kind)}


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
            f"intervention {value!r}: {error.errors()[0]['msg']}.", 'Such as {"kind": "zero", "at": "L3.z[head=5]"}.'
        ) from error


__all__ = ["KINDS", "Intervention", "parse_intervention"]
