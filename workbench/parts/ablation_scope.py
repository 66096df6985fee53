"""Which parts of a model the Ablate page offers: of one stack, or of its cross-attention; only what can be edited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hooks.sites import MAIN, SITES
from workbench.urls import State

CROSS = "cross"
TITLES = {"": "Decoder", "encoder": "Encoder", CROSS: "Cross-attention", "vision": "Image tower"}
WRITES = ("attn_out", "mixer_out", "cross_attn_out", "mlp_out")
"""What a layer may write to the residual stream."""
MOST_EXPERTS = 64


@dataclass(frozen=True)
class Scope:
    """One stack's editable parts. name: as `State.stack` has it. sizes: of the stack. there: layers by site's name."""

    name: str
    sizes: Mapping[str, Any]
    there: Mapping[str, frozenset[int]]

    @classmethod
    def of(cls, summary: Mapping[str, Any], name: str) -> Scope:
        """The scope of an opened model; one that it does not have is its main stack."""
        info, name = summary["info"], name if name in names_of(summary) else ""
        stack = MAIN if name in ("", CROSS) else name
        sizes = info if stack == MAIN else info["stacks"][stack]
        every, exact = frozenset(range(sizes["n_layers"])), summary["parity"]["exact"]
        there = {
            row["site"]: every if row["layers"] is None else frozenset(row["layers"])
            for row in summary["sites"]
            if row["stack"] == stack and row["writable"] and exact and SITES[row["site"]].scope == "layer"
        }
        return cls(name, sizes, there)

    @property
    def main(self) -> bool:
        """Whether these are the parts that sweeps go over."""
        return self.name == ""

    @property
    def blocks(self) -> dict[str, str]:
        """The columns beside the heads, by name, with their titles."""
        if self.name == CROSS:
            return {"attn": "attn"}
        mixer = {"mixer": "mixer"} if self.there.get("mixer_out") else {}
        attention = {"attn": "attn"} if self.there.get("attn_out") else {}
        mlp = {"mlp": "MLP"} if self.there.get("mlp_out") else {}
        experts = {f"expert {n}": f"e{n}" for n in range(self.experts)}
        return attention | mixer | mlp | {"layer": "layer"} | experts

    @property
    def experts(self) -> int:
        """How many experts have a column."""
        return min(int(self.sizes.get("n_experts") or 0), MOST_EXPERTS) if self.there.get("router") else 0

    def site(self, name: str) -> str:
        """What a site of attention is called here."""
        return f"cross_{name}" if self.name == CROSS else name

    def address(self, layer: int, name: str) -> str:
        """A site's address; "" where the layer has none that can be edited."""
        if layer not in self.there.get(name, ()):
            return ""
        return f"{'' if self.name in ('', CROSS) else f'{self.name}.'}L{layer}.{name}"

    def targets(self, layer: int, block: str, where: int | None) -> str:
        """The parts of a block in a layer, joined by ';'; "" where the layer has none."""
        names = {"attn": (self.site("attn_out"),), "mlp": ("mlp_out",), "mixer": ("mixer_out",), "layer": WRITES}
        slices = [] if where is None else [f"pos={where}"]
        if block.startswith("expert "):
            names, slices = {block: ("router",)}, [*slices, f"expert={block.removeprefix('expert ')}"]
        found = [address for name in names[block] if (address := self.address(layer, name))]
        return ";".join(address + (f"[{','.join(slices)}]" if slices else "") for address in found)

    def head_target(self, layer: int, head: int, site: str, where: int | None) -> str:
        """A head's part; "" where the layer has no such heads."""
        address = self.address(layer, self.site(site))
        place = "" if where is None else f",pos={where}"
        return f"{address}[head={head}{place}]" if address else ""


def names_of(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The scopes that a model has, as `State.stack` has them; one for a model of one stack."""
    crosses = any(row["site"] == "cross_z" and row["readable"] for row in summary["sites"])
    return ("", *summary["info"].get("stacks", {}), *((CROSS,) if crosses else ()))


def title_of(summary: Mapping[str, Any], name: str) -> str:
    """A scope in words."""
    text = name == "" and "vision" in summary["info"].get("stacks", {})
    return "Text tower" if text else TITLES[name]


def scope_of(summary: Mapping[str, Any], state: State) -> Scope:
    """The scope that an address names."""
    return Scope.of(summary, state.stack)
