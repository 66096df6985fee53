"""ModelInfo: the sizes and the plan of a model's blocks, read from its config and checked on its weights."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hooks.errors import SiteMissing
from hooks.feed import Task
from hooks.sites import MAIN, Part, Site
from hooks.spec import Spec

Norm = Literal["pre", "post", "sandwich"]
Positions = Literal["learned", "rotary", "alibi", "relative", "none"]


class StackInfo(Spec):
    """Sizes of one stack of blocks.

    windows: keys that each layer's attention may look back, None for all of them. n_experts, d_expert: experts of the
    mixture-of-experts layers and the neurons of each, 0 without any. d_qk: size of a query or key, where it is not that
    of a value. causal: no query sees a later key. n_positions: of a stack that reads no ids, whose number is fixed.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    n_experts: int = 0
    d_expert: int = 0
    norm: Norm
    norm_kind: str
    positions: Positions
    parallel: bool
    gated: bool
    causal: bool = True
    windows: tuple[int | None, ...]
    n_ctx: int | None = None
    d_qk: int | None = None
    n_positions: int | None = None

    @property
    def group(self) -> int:
        """Query heads per key/value head: query head h reads key/value head h // group."""
        return self.n_heads // self.n_kv_heads if self.n_kv_heads else 1

    def size(self, axis: str, site: str = "") -> int:
        """Length of a named axis that does not depend on the prompt. Raises KeyError for `batch` and positions."""
        sizes = {
            "head": self.n_heads,
            "kv_head": self.n_kv_heads,
            "expert": self.n_experts,
            "d_model": self.d_model,
            "d_head": (self.d_qk or self.d_head) if site in ("q", "k", "q_rot", "k_rot") else self.d_head,
            "d_mlp": self.d_expert if site == "expert_post" else self.d_mlp,
        }
        return sizes[axis]


class ModelInfo(StackInfo):
    """Sizes of the main stack, and what is true of the whole model.

    task: what its logits answer. labels: names of the classes. stacks: the other stacks by name. n_embed: rows of the
    token embedding. filler: the id that pads a batch. decoder_start: the first id of a decoder that reads an encoder.
    pixels: shape of one image or sound, channels first, given under the name `source_input`. grid: rows and columns of
    an image's patches, which follow `prefix` tokens such as the class token. reads_end: a text is summed up by its last
    position even where that is padding, so every text is filled up to n_ctx, as when such a model was trained.
    """

    name: str
    family: str
    d_vocab: int
    n_params: int
    dtype: str
    device: str
    task: Task = "causal"
    labels: tuple[str, ...] = ()
    stacks: dict[str, StackInfo] = Field(default_factory=dict)
    n_embed: int | None = None
    filler: int | None = None
    decoder_start: int | None = None
    pixels: tuple[int, ...] | None = None
    source_input: str | None = None
    grid: tuple[int, int] | None = None
    prefix: int = 0
    reads_end: bool = False

    def stack(self, name: str) -> StackInfo:
        """The stack called `name`. Raises SiteMissing."""
        if name == MAIN:
            return self
        if name not in self.stacks:
            known = ", ".join(self.stacks)
            raise SiteMissing(
                f"this model has no stack '{name}': it has one stack{f' and {known}' if known else ''}.",
                f"Write the address without '{name}.'" + (f", or with {known}." if known else "."),
            )
        return self.stacks[name]

    def size(self, axis: str, site: str = "") -> int:
        """Length of a named axis of the main stack or of the logits. Raises KeyError for `batch` and positions."""
        return self.d_vocab if axis == "d_vocab" else super().size(axis, site)

    def check_site(self, site: Site) -> None:
        """Raises SiteMissing for a layer or a stack that this model does not have."""
        stack = self.stack(site.stack)
        if site.layer is not None and site.layer >= stack.n_layers:
            raise SiteMissing(
                f"{site} does not exist: this model has {stack.n_layers} layers (0–{stack.n_layers - 1}).",
                f"Choose a layer from 0 to {stack.n_layers - 1}.",
            )

    def check_part(self, part: Part) -> None:
        """Raises SiteMissing for a layer, head or unit that this model lacks. Positions depend on the prompt."""
        self.check_site(part.site)
        stack = self.stack(part.site.stack)
        for value, axis, word in (
            (part.head, part.site.kind.head_axis, "head"),
            (part.expert, "expert", "expert"),
            (part.unit, part.site.axes[-1], "unit"),
        ):
            if value is not None and axis is not None and value >= (size := stack.size(axis, part.site.name)):
                name = "key/value head" if axis == "kv_head" else word
                raise SiteMissing(
                    f"{part} does not exist: {part.site} has {size} {name}s (0–{size - 1}).",
                    f"Choose a {name} from 0 to {size - 1}.",
                )
