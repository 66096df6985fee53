"""The exception family: every error a user can meet carries a message and a hint."""

from __future__ import annotations

from typing import Any


class WorkbenchError(Exception):
    """What was given, what was expected, and (as `hint`) what to do about it.

    `facts` are the values behind the sentence, for logs and for tests.
    """

    code = "error"
    user_fault = False

    def __init__(self, message: str, hint: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts

    def __str__(self) -> str:
        return self.message

    def as_dict(self) -> dict[str, str]:
        """`{code, message, hint}`: the form in which an error travels between processes."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class ModelError(WorkbenchError):
    """The model cannot be opened, or is of a kind that is not known."""

    code = "model"
    user_fault = True


class SiteMissing(WorkbenchError):
    """The addressed site, layer, head or unit does not exist or is not proved for this model."""

    code = "site"
    user_fault = True


class InputError(WorkbenchError):
    """A prompt, an answer or a position cannot be used."""

    code = "input"
    user_fault = True


class SpecError(WorkbenchError):
    """An experiment, plan or parameter is malformed."""

    code = "spec"
    user_fault = True


class StoreError(WorkbenchError):
    """A stored file is damaged or foreign, or the disk is full."""

    code = "store"


class BudgetError(WorkbenchError):
    """The request needs more memory or time than it may use; the numbers are in the message."""

    code = "budget"
    user_fault = True


class Cancelled(WorkbenchError):
    """The user cancelled the job."""

    code = "cancelled"


KINDS: dict[str, type[WorkbenchError]] = {
    kind.code: kind
    for kind in (WorkbenchError, ModelError, SiteMissing, InputError, SpecError, StoreError, BudgetError, Cancelled)
}


def from_dict(error: dict[str, str]) -> WorkbenchError:
    """The exception that `as_dict` described, of the same kind."""
    return KINDS.get(error["code"], WorkbenchError)(error["message"], error.get("hint", ""))
