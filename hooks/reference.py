"""ModelRef: how a model is named in an experiment."""

from __future__ import annotations

from pydantic import field_validator, model_validator

from hooks.spec import Spec


class ModelRef(Spec):
    """An alias, a folder, a `.gguf` file or a hub name, with an optional revision.

    Written as one text it is `name@revision`; an absent revision means the newest.
    """

    name: str
    revision: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if isinstance(value, str):
            name, _, revision = value.partition("@")
            return {"name": name, "revision": revision or None}
        return value

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not name.strip() or "\0" in name:
            raise ValueError("a model needs a name")
        return name.strip()

    def __str__(self) -> str:
        return self.name if self.revision is None else f"{self.name}@{self.revision}"
