"""ModelRef: how a model is named in an experiment."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from hooks.spec import Spec

Dtype = Literal["float32", "bfloat16", "float16", "auto"]
FLOAT32: Dtype = "float32"
_OPTIONS = re.compile(r"^(?P<place>.+?)\?(?:dtype=(?P<dtype>\w+)(?:&|$))?(?:tokenizer=(?P<tokenizer>.+))?$", re.DOTALL)


def _is_default(value: Any) -> bool:
    return value in (None, FLOAT32)


class ModelRef(Spec):
    """An alias, a folder, a `.gguf` file or a hub name, with an optional revision; `+adapter` after any of them.

    dtype: of the weights, "auto" for the stored one. tokenizer: a folder whose tokenizer is used in place of the
    model's own. Both are left out where they are the default, so that an experiment that does not name them keeps its
    id. Written as one text it is `name@revision?dtype=bfloat16&tokenizer=folder`; an absent revision means the newest.
    """

    name: str
    revision: str | None = None
    dtype: Dtype = Field(default=FLOAT32, exclude_if=_is_default)
    tokenizer: str | None = Field(default=None, exclude_if=_is_default)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if isinstance(value, str):
            place, options = _split(value)
            name, _, revision = place.partition("@")
            return {"name": name, "revision": revision or None, **options}
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            place, options = _split(value["name"])
            return {**value, "name": place, **options}
        return value

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not name.strip() or "\0" in name:
            raise ValueError("a model needs a name")
        return name.strip()

    @property
    def place(self) -> str:
        """Where the weights are, without the options: `name@revision`."""
        return self.name if self.revision is None else f"{self.name}@{self.revision}"

    def __str__(self) -> str:
        options = {"dtype": None if self.dtype == FLOAT32 else self.dtype, "tokenizer": self.tokenizer}
        words = "&".join(f"{name}={value}" for name, value in options.items() if value)
        return f"{self.place}?{words}" if words else self.place


def _split(text: str) -> tuple[str, dict[str, str]]:
    """A model's place, and the options behind it."""
    found = _OPTIONS.match(text)
    if found is None:
        return text, {}
    options = {name: found[name] for name in ("dtype", "tokenizer") if found[name]}
    return (found["place"], options) if options else (text, {})
