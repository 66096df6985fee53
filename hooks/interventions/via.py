"""Edge patching: what one reader receives from some writers comes from another run, all else stays as it is.

The residual stream is a sum. A reader is handed the stream with what the writers have added to it taken out and what
they add in the other run put in, normed and projected as the model does; every other reader gets the stream as it is.
Patching all edges into a reader is patching its input.

Sources: Goldowsky-Dill et al. 2023, arXiv 2304.05969; Conmy et al. 2023, arXiv 2304.14997.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from hooks.interventions.base import EditContext, Intervention, Kind
from hooks.sites import Part, Site

READERS = ("attn_in", "q", "k", "v", "mlp_in", "mlp_pre", "mlp_up", "ln_final")
WRITERS = ("embed", "pos_embed", "z", "attn_out", "mixer_out", "mlp_out")


class Via(Intervention):
    """Hand the reader `at` what `writers` wrote in the run on `source`, in place of what they write here.

    at: a head's q, k or v, such as `L5.q[head=2]`, an MLP's input, or `ln_final`, what the unembedding reads; with
    positions, at these alone. writers: heads as parts of z, such as `L3.z[head=1]`, whole writes such as `L3.mlp_out`,
    `embed`; all of them upstream of the reader.
    """

    kind: Literal["via"] = "via"
    writers: tuple[Part, ...] = Field(min_length=1)
    source: str = "corrupt"

    @model_validator(mode="after")
    def _upstream(self) -> Self:
        if self.at.site.name not in READERS:
            raise ValueError(f"{self.at} reads no residual stream: a reader is at one of {', '.join(READERS)}")
        if self.at.unit is not None:
            raise ValueError(f"{self.at}: a reader is a head or a whole input, leave out unit={self.at.unit}")
        for writer in self.writers:
            if writer.site.name not in WRITERS:
                raise ValueError(f"{writer} writes nothing: a writer is at one of {', '.join(WRITERS)}")
            if writer.site.stack != self.at.site.stack or not writer.site < self.at.site:
                raise ValueError(f"{writer} is not upstream of {self.at}")
            if set(writer.slices) - {"head"}:
                raise ValueError(f"{writer}: a writer is whole or one head; name positions in `at`")
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def copied(self) -> tuple[Site, ...]:
        return tuple(dict.fromkeys(writer.site for writer in self.writers))

    @property
    def present(self) -> tuple[Site, ...]:
        return self.copied

    def edit(self, x: Tensor, ctx: EditContext) -> Tensor:
        return ctx.reread(self.writers, self.source)


def _words(edit: Via, parts: str) -> str:
    writers = ", ".join(map(str, edit.writers))
    return f"hand {parts} what {writers} wrote on ‘{edit.source}’"


KIND = Kind("via", Via, "via", _words)
