"""The vocabulary as data: which tensors a forward pass has, and how a part of one is addressed.

`Site` names one tensor (`L3.z`), `Part` a slice of it (`L3.z[head=5,pos=last]`). Both print, parse and travel in
JSON as that text. Everything that knows a tensor's axes reads them from `SITES`.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from hooks.errors import SiteMissing, SpecError

Scope = Literal["model", "layer"]
RESIDUAL = ("batch", "pos", "d_model")
NEURONS = ("batch", "pos", "d_mlp")
QUERY_HEADS = ("batch", "pos", "head", "d_head")
KV_HEADS = ("batch", "pos", "kv_head", "d_head")
EDGES = ("batch", "head", "q_pos", "k_pos")
SOURCE_HEADS = ("batch", "k_pos", "kv_head", "d_head")
EXPERTS = ("batch", "pos", "expert")
MAIN = "decoder"
"""The stack that an address without a prefix means: the decoder where there is one, else the model's only stack."""


@dataclass(frozen=True)
class SiteKind:
    """One entry of the vocabulary: axes in order, scope, place inside a block, meaning in words."""

    name: str
    axes: tuple[str, ...]
    scope: Scope
    order: int
    meaning: str

    @property
    def head_axis(self) -> str | None:
        """`head`, `kv_head`, or None where the site has no head axis."""
        return next((axis for axis in self.axes if axis in ("head", "kv_head")), None)


def _table(*rows: tuple[str, tuple[str, ...], Scope, str]) -> dict[str, SiteKind]:
    return {
        name: SiteKind(name, axes, scope, order, meaning) for order, (name, axes, scope, meaning) in enumerate(rows)
    }


SITES: dict[str, SiteKind] = _table(
    ("embed", RESIDUAL, "model", "token embeddings as added to the residual stream, after any scale"),
    ("pos_embed", RESIDUAL, "model", "learned position embeddings as added"),
    ("resid_pre", RESIDUAL, "layer", "residual stream entering the block"),
    ("attn_in", RESIDUAL, "layer", "what attention reads, after its norm"),
    ("q", QUERY_HEADS, "layer", "queries as projected, before query-key norm and rotation"),
    ("k", KV_HEADS, "layer", "keys as projected, before query-key norm and rotation; one per key/value head"),
    ("v", KV_HEADS, "layer", "values as projected; one per key/value head"),
    ("q_rot", QUERY_HEADS, "layer", "queries as they enter the dot product"),
    ("k_rot", KV_HEADS, "layer", "keys as they enter the dot product"),
    ("scores", EDGES, "layer", "scaled, capped and masked attention logits"),
    ("pattern", EDGES, "layer", "attention probabilities; rows are queries and sum to 1"),
    ("z", QUERY_HEADS, "layer", "pattern-weighted values per head, before the output projection"),
    (
        "head_out",
        (*QUERY_HEADS[:3], "d_model"),
        "layer",
        "what each head writes: z times its slice of W_O, without bias",
    ),
    ("attn_out", RESIDUAL, "layer", "what attention writes to the residual stream, after any post-norm"),
    ("mixer_out", RESIDUAL, "layer", "what a state-space or convolution mixer writes in a block of a hybrid model"),
    ("cross_q", QUERY_HEADS, "layer", "queries of cross-attention as projected"),
    (
        "cross_k",
        SOURCE_HEADS,
        "layer",
        "keys of cross-attention, from the encoder's output; positions are the encoder's",
    ),
    ("cross_v", SOURCE_HEADS, "layer", "values of cross-attention, from the encoder's output"),
    ("cross_scores", EDGES, "layer", "scaled and masked cross-attention logits; k_pos counts the encoder's positions"),
    ("cross_pattern", EDGES, "layer", "cross-attention probabilities; rows are the decoder's positions and sum to 1"),
    ("cross_z", QUERY_HEADS, "layer", "cross-attention's weighted values per head, before its output projection"),
    (
        "cross_head_out",
        (*QUERY_HEADS[:3], "d_model"),
        "layer",
        "what each cross-attention head writes: cross_z times its slice of W_O, without bias",
    ),
    ("cross_attn_out", RESIDUAL, "layer", "what cross-attention writes to the residual stream"),
    ("resid_mid", RESIDUAL, "layer", "residual stream between the last attention's write and the MLP's read"),
    ("mlp_in", RESIDUAL, "layer", "what the MLP reads, after its norm"),
    ("mlp_pre", NEURONS, "layer", "input of the nonlinearity (of the gate in gated MLPs)"),
    ("mlp_up", NEURONS, "layer", "linear branch of a gated MLP"),
    ("mlp_post", NEURONS, "layer", "neuron activations: what W_out reads"),
    ("router_logits", EXPERTS, "layer", "router's score of each expert, before selection"),
    ("router", EXPERTS, "layer", "weight of each expert after selection; 0 for the experts that were not chosen"),
    (
        "expert_post",
        (*EXPERTS, "d_mlp"),
        "layer",
        "neurons of each chosen expert, what its W_out reads; 0 for the experts that were not chosen",
    ),
    ("mlp_out", RESIDUAL, "layer", "what the MLP writes to the residual stream, after any post-norm"),
    ("resid_post", RESIDUAL, "layer", "residual stream leaving the block"),
    ("ln_final", RESIDUAL, "model", "the last residual after the final norm"),
    (
        "logits",
        ("batch", "pos", "d_vocab"),
        "model",
        "scores of the tokens or classes that the head chooses from, after any soft-cap",
    ),
)

SLICES = ("head", "pos", "q_pos", "k_pos", "expert", "unit")
"""The axes that an address can restrict, in the order in which they print."""

_SITE = re.compile(r"^(?:(?P<stack>[a-z]+)\.)?(?:L(?P<layer>\d+)\.)?(?P<name>[a-z_]+)$")
_PART = re.compile(r"^(?P<site>[^\[\]]+)(?:\[(?P<slice>[^\[\]]*)\])?$")


class _Text:
    """Pydantic support for values that are written as text: parse on the way in, print on the way out."""

    @classmethod
    def parse(cls, text: str) -> Self:
        raise NotImplementedError

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def read(value: object) -> _Text:
            if isinstance(value, cls):
                return value
            if not isinstance(value, str):
                raise ValueError(f"expected an address such as 'L3.z', got {value!r}")
            try:
                return cls.parse(value)
            except (SpecError, SiteMissing) as error:
                raise ValueError(f"{error.message} {error.hint}".strip()) from error

        return core_schema.no_info_plain_validator_function(
            read,
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
            json_schema_input_schema=core_schema.str_schema(),
        )


@dataclass(frozen=True)
class Site(_Text):
    """One tensor of a forward pass. Sites order by (stack, layer, place in the block): smaller is upstream."""

    name: str
    layer: int | None = None
    stack: str = MAIN

    def __post_init__(self) -> None:
        if self.name not in SITES:
            close = difflib.get_close_matches(self.name, SITES, n=3)
            raise SiteMissing(f"unknown site '{self.name}'.", f"Did you mean {', '.join(close or list(SITES))}?")
        if (self.kind.scope == "layer") != (self.layer is not None):
            need = "needs a layer, such as L0." if self.kind.scope == "layer" else "has no layer: write just "
            raise SpecError(f"site '{self.name}' {need}{self.name}.", "Sites are written as L3.z or embed.")

    @property
    def kind(self) -> SiteKind:
        return SITES[self.name]

    @property
    def axes(self) -> tuple[str, ...]:
        return self.kind.axes

    @cached_property
    def _key(self) -> tuple[str, int, int]:
        last = 1 << 30
        layer = self.layer if self.layer is not None else (-1 if self.kind.order < SITES["resid_pre"].order else last)
        return (self.stack, layer, self.kind.order)

    def __lt__(self, other: Site) -> bool:
        return self._key < other._key

    def __str__(self) -> str:
        stack = "" if self.stack == MAIN else f"{self.stack}."
        return stack + (self.name if self.layer is None else f"L{self.layer}.{self.name}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The site that `text` names, such as `L3.z`, `embed`, `encoder.L0.pattern`. Raises SpecError, SiteMissing."""
        match = _SITE.match(text.strip())
        if not match:
            raise SpecError(f"'{text}' is not a site.", "Sites are written as L3.z or embed.")
        layer = match["layer"]
        return cls(match["name"], None if layer is None else int(layer), match["stack"] or MAIN)


Position = int | str | tuple[int, int]


@dataclass(frozen=True)
class Part(_Text):
    """A slice of a site. An axis left out means all of it.

    head: index on the site's `head` or `kv_head` axis. pos, q_pos, k_pos: an index, a half-open range (start, stop), or
    a name that each prompt resolves ("last"). expert: index of an expert. unit: index on the last axis (a neuron of
    mlp_post, say).
    """

    site: Site
    head: int | None = None
    pos: Position | None = None
    q_pos: Position | None = None
    k_pos: Position | None = None
    expert: int | None = None
    unit: int | None = None

    def __post_init__(self) -> None:
        axes = self.site.axes
        allowed = {name: name for name in ("pos", "q_pos", "k_pos", "expert")}
        for field, axis in (allowed | {"head": self.site.kind.head_axis, "unit": axes[-1]}).items():
            has_axis = axis in axes and not (field == "unit" and axes[-1] in ("k_pos", "expert"))
            if getattr(self, field) is not None and not has_axis:
                raise SpecError(f"{self.site} has no {field} axis.", f"Its axes are {', '.join(axes)}.")

    @property
    def slices(self) -> dict[str, Position]:
        """The axes that are restricted, by field name, in the order in which they print."""
        return {field: value for field in SLICES if (value := getattr(self, field)) is not None}

    def whole_positions(self) -> Part:
        """The same part at all positions."""
        return replace(self, pos=None, q_pos=None, k_pos=None)

    def __str__(self) -> str:
        if not self.slices:
            return str(self.site)
        return f"{self.site}[{','.join(f'{field}={_print_slice(value)}' for field, value in self.slices.items())}]"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The part that `text` names, such as `L3.z[head=5,pos=last]`. Raises SpecError, SiteMissing."""
        match = _PART.match(text.strip())
        if not match:
            raise SpecError(f"'{text}' is not a part.", "Parts are written as L3.z[head=5,pos=last].")
        fields: dict[str, Any] = {}
        for item in filter(None, (match["slice"] or "").split(",")):
            key, _, value = (piece.strip() for piece in item.partition("="))
            if key not in SLICES or not value or key in fields:
                raise SpecError(f"'{item}' in '{text}' is not a slice.", f"Slices are {'=, '.join(SLICES)}=.")
            fields[key] = _parse_slice(key, value)
        return cls(Site.parse(match["site"]), **fields)


def _print_slice(value: Position) -> str:
    return f"{value[0]}:{value[1]}" if isinstance(value, tuple) else str(value)


def _parse_slice(key: str, value: str) -> Position:
    if value.isdigit():
        return int(value)
    span = re.fullmatch(r"(\d+):(\d+)", value)
    if key in ("head", "expert", "unit") or not (span or re.fullmatch(r"[A-Za-z]\w*", value)):
        raise SpecError(
            f"{key}={value} is not an index.", "Write a number, for positions also 2:5 or a name such as last."
        )
    return (int(span[1]), int(span[2])) if span else value
