"""How circuits of other tools name the nodes of a residual graph, and which nodes of ours they are.

    ours       L3.z[head=5]      L3.mlp_out   embed   logits
    EAP-IG     a3.h5, a3.h5<q>   m3           input   logits      (also the graphs of the MIB benchmark)
    ACDC       blocks.3.attn.hook_result[:, :, 5] sends, blocks.3.hook_q_input[:, :, 5] receives; blocks.3.hook_mlp_out
               sends, blocks.3.hook_mlp_in (or hook_resid_mid) receives; blocks.0.hook_resid_pre, hook_embed,
               hook_pos_embed; hook_resid_post of the last layer      (names of TransformerLens)

Sources: Hanna et al. 2024, arXiv 2403.17806, and its code's `Graph.to_json`; Conmy et al. 2023, arXiv 2304.14997, and
its code's `TLACDCCorrespondence`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from analyses.circuit import EMBED, LOGITS, Channel, Graph
from hooks.errors import SiteMissing, SpecError
from hooks.sites import Part

Side = Literal["sends", "receives", "either", "inner"]
HEAD = re.compile(r"a(\d{1,4})\.h(\d{1,4})(?:<([qkv])>)?")
MLP = re.compile(r"m(\d{1,4})")
HOOK = re.compile(r"(?:blocks\.(\d{1,4})\.)?(?:attn\.)?hook_(\w{1,20}?)\s*(?:\[([^\]]{0,40})\])?")
KNOWN = "Nodes are written as L3.z[head=5], a3.h5 or blocks.3.attn.hook_result[:, :, 5]; docs/circuits.md lists them."


@dataclass(frozen=True)
class End:
    """One end of an edge. side: what its name says of its role; inner: a step inside a node, such as from q_input to q.

    channel: where the name says it.
    """

    node: str
    channel: Channel | None = None
    side: Side = "either"


def end(text: str, graph: Graph) -> End:
    """The end that a name means in this graph. Raises SpecError for one that it does not have."""
    name = text.strip()
    found = _eap(name) or _hook(name, graph) or _own(name)
    if found is None:
        raise SpecError(f"'{name[:80]}' names no node.", KNOWN)
    if found.node not in graph.node_index:
        raise SpecError(f"{_as_given(name, found.node)} is no node of this model.", _nodes_of(graph))
    return found


def _as_given(name: str, node: str) -> str:
    return name if name == node else f"{name}, which is {node},"


def _nodes_of(graph: Graph) -> str:
    info = graph.info
    sizes = f"It has {info.n_layers} layers of {info.n_heads} heads"
    if not graph.whole:
        return f"{sizes}."
    return f"{sizes}, and the heads of a layer are normed together: its nodes are L0.attn_out, L0.mlp_out and so on."


def _own(name: str) -> End | None:
    try:
        return End(str(Part.parse(name)))
    except (SpecError, SiteMissing):
        return None


def _eap(name: str) -> End | None:
    """`a3.h5`, `a3.h5<q>`, `m3`, `input`; `logits` is ours too."""
    if name == "input":
        return End(EMBED)
    if mlp := MLP.fullmatch(name):
        return End(f"L{int(mlp[1])}.mlp_out")
    if head := HEAD.fullmatch(name):
        channel: Channel | None = head[3] or None  # type: ignore[assignment]
        return End(f"L{int(head[1])}.z[head={int(head[2])}]", channel)
    return None


def _hook(name: str, graph: Graph) -> End | None:
    """A hook point of TransformerLens with its index, such as `blocks.3.hook_q_input[:, :, 5]`."""
    match = HOOK.fullmatch(name)
    if match is None:
        return None
    layer, hook = (None if match[1] is None else int(match[1])), match[2]
    index = [] if match[3] is None else [item.strip() for item in match[3].split(",")]
    if any(item not in (":", "COL", "None", "") for item in index[:2]):
        raise SpecError(f"'{name}' is a part of a node at one position.", "Import a circuit that is not positional.")
    if hook in ("embed", "pos_embed") or (hook, layer) == ("resid_pre", 0):
        return End(EMBED, side="sends")
    if (hook, layer) == ("resid_post", graph.info.n_layers - 1):
        return End(LOGITS, "in", "receives")
    if layer is None or hook in ("resid_pre", "resid_post"):
        return None
    if hook in ("mlp_out", "mlp_in", "resid_mid"):
        mlp = f"L{layer}.mlp_out"
        return End(mlp, side="sends") if hook == "mlp_out" else End(mlp, "in", "receives")
    head = index[2] if len(index) == 3 else ""
    if not head.isdecimal():
        raise SpecError(f"'{name}' does not say which head.", "Write [:, :, 5] behind it for head 5.")
    node = f"L{layer}.z[head={int(head)}]"
    if hook == "result":
        return End(node, side="sends")
    letter = hook.removesuffix("_input")
    if letter not in ("q", "k", "v"):
        return None
    return End(node, letter, "receives" if hook.endswith("_input") else "inner")  # type: ignore[arg-type]
