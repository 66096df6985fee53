"""ModelInfo: the sizes and the plan of a model's blocks, read from its config and checked on its weights."""

from __future__ import annotations

from typing import Literal

from hooks.errors import SiteMissing
from hooks.sites import Part, Site
from hooks.spec import Spec

Norm = Literal["pre", "post", "sandwich"]


class ModelInfo(Spec):
    """Sizes of one decoder stack. `windows`: keys that each layer's attention may look back, None for all of them."""

    name: str
    family: str
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    d_vocab: int
    n_ctx: int | None
    n_params: int
    norm: Norm
    norm_kind: str
    positions: Literal["learned", "rotary", "none"]
    parallel: bool
    gated: bool
    windows: tuple[int | None, ...]
    dtype: str
    device: str

    @property
    def group(self) -> int:
        """Query heads per key/value head: query head h reads key/value head h // group."""
        return self.n_heads // self.n_kv_heads

    def size(self, axis: str) -> int:
        """Length of a named axis that does not depend on the prompt. Raises KeyError for `batch` and positions."""
        sizes = {
            "head": self.n_heads,
            "kv_head": self.n_kv_heads,
            "d_model": self.d_model,
            "d_head": self.d_head,
            "d_mlp": self.d_mlp,
            "d_vocab": self.d_vocab,
        }
        return sizes[axis]

    def check_site(self, site: Site) -> None:
        """Raises SiteMissing for a layer or a stack that this model does not have."""
        if site.stack != "decoder":
            raise SiteMissing(f"{site} does not exist: this model has one stack, the decoder.", f"Write {site.name}.")
        if site.layer is not None and site.layer >= self.n_layers:
            raise SiteMissing(
                f"{site} does not exist: this model has {self.n_layers} layers (0–{self.n_layers - 1}).",
                f"Choose a layer from 0 to {self.n_layers - 1}.",
            )

    def check_part(self, part: Part) -> None:
        """Raises SiteMissing for a layer, head or unit that this model lacks. Positions depend on the prompt."""
        self.check_site(part.site)
        for value, axis, word in (
            (part.head, part.site.kind.head_axis, "head"),
            (part.unit, part.site.axes[-1], "unit"),
        ):
            if value is not None and axis is not None and value >= self.size(axis):
                name = "key/value head" if axis == "kv_head" else word
                raise SiteMissing(
                    f"{part} does not exist: {part.site} has {self.size(axis)} {name}s (0–{self.size(axis) - 1}).",
                    f"Choose a {name} from 0 to {self.size(axis) - 1}.",
                )
