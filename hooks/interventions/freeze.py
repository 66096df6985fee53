"""Freezing: the part keeps the value of the unedited run while other edits change what comes before it."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from hooks.interventions.base import EditContext, Intervention, Kind


class Freeze(Intervention):
    """Hold the part at its value in the unedited run of the input that is run.

    source: the name of that input. The same as a patch from it; path patching freezes what is not on the path.
    Source: Wang et al. 2022, arXiv 2211.00593, section 3; Goldowsky-Dill et al. 2023, arXiv 2304.05969.
    """

    kind: Literal["freeze"] = "freeze"
    source: str = "clean"

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        return ctx.source(self.source)


def _words(edit: Freeze, parts: str) -> str:
    return f"freeze {parts}{'' if edit.source == 'clean' else f' as on ‘{edit.source}’'}"


KIND = Kind("freeze", Freeze, "freeze", _words)
