"""A circuit run on plain transformers, edge by edge: every head computes from a stream that is added up for it alone.

Three families are written out: GPT-2, Llama with grouped queries, GPT-NeoX with parallel blocks. Nothing here is taken
from the product.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers.models.gpt_neox.modeling_gpt_neox import apply_rotary_pos_emb as rotate_partly
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as rotate

HEADS, WIDTH, LAYERS, GROUP = 4, 8, 3, 2
Keeps = Callable[[str, str, str], bool]


class Circuit:
    """Runs one prompt; `keeps(source, target, channel)` says which edges are intact."""

    def __init__(self, variant: str, model: nn.Module, *, merged: bool = False) -> None:
        self.variant, self.model, self.merged = variant, model, merged
        body = {"gpt2": "transformer", "llama": "model", "gpt_neox": "gpt_neox"}[variant]
        self.body = getattr(model, body)
        self.blocks = self.body.h if variant == "gpt2" else self.body.layers

    def embedded(self, ids: Tensor) -> Tensor:
        if self.variant == "gpt2":
            return self.body.wte(ids) + self.body.wpe(torch.arange(ids.shape[1]))
        return self.body.embed_in(ids) if self.variant == "gpt_neox" else self.body.embed_tokens(ids)

    @torch.no_grad()
    def run(self, ids: list[int], ablated: dict[str, Tensor], keeps: Keeps) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits at the last position, and what each node writes. ablated: what those hear that are cut from it."""
        row = torch.tensor([ids])
        writes, bias = {"embed": self.embedded(row)}, torch.zeros(1, 1, 32)
        positions = torch.arange(len(ids))[None]
        angles = None if self.variant == "gpt2" else self.body.rotary_emb(writes["embed"], positions)

        def stream(target: str, channel: str, before: list[str]) -> Tensor:
            return bias + sum(writes[w] if keeps(w, target, channel) else ablated[w] for w in before)

        for layer, block in enumerate(self.blocks):
            earlier = list(writes)
            heads = {f"L{layer}.z[head={head}]": head for head in range(HEADS)}
            for name, head in heads.items():
                first = f"L{layer}.z[head={head // GROUP * GROUP}]" if self.merged else name
                streams = {c: stream(name if c == "q" else first, c, earlier) for c in "qkv"}
                writes[name] = self._head(block, head, streams, angles)
            beside, after = bias, bias + self._bias(block)
            parallel = self.variant == "gpt_neox"
            bias = beside if parallel else after
            heard = stream(f"L{layer}.mlp_out", "in", earlier if parallel else list(writes))
            bias = after
            norm = block.ln_2 if self.variant == "gpt2" else block.post_attention_layernorm
            writes[f"L{layer}.mlp_out"] = block.mlp(norm(heard))
        final = stream("logits", "in", list(writes))
        norm = {"gpt2": "ln_f", "llama": "norm", "gpt_neox": "final_layer_norm"}[self.variant]
        return self.model.lm_head(getattr(self.body, norm)(final))[0, -1], writes

    def _bias(self, block: nn.Module) -> Tensor:
        if self.variant == "llama":
            return torch.zeros(32)
        return block.attn.c_proj.bias if self.variant == "gpt2" else block.attention.dense.bias

    def _head(self, block: nn.Module, head: int, streams: dict[str, Tensor], angles: tuple[Tensor, Tensor]) -> Tensor:
        norm = block.ln_1 if self.variant == "gpt2" else block.input_layernorm
        normed = {channel: norm(stream) for channel, stream in streams.items()}
        q, k, v = (normed[c] @ w.T + b for c, (w, b) in zip("qkv", self._projections(block, head), strict=True))
        if self.variant == "llama":
            q, k = (x[:, 0] for x in rotate(q[:, None], k[:, None], *angles))
        if self.variant == "gpt_neox":
            q, k = (x[:, 0] for x in rotate_partly(q[:, None], k[:, None], *angles))
        scores = q @ k.transpose(1, 2) / WIDTH**0.5
        later = torch.ones_like(scores).triu(1).bool()
        z = torch.softmax(scores.masked_fill(later, -torch.inf), -1) @ v
        own = slice(head * WIDTH, (head + 1) * WIDTH)
        if self.variant == "gpt2":
            return z @ block.attn.c_proj.weight[own]
        out = block.self_attn.o_proj if self.variant == "llama" else block.attention.dense
        return z @ out.weight[:, own].T

    def _projections(self, block: nn.Module, head: int) -> list[tuple[Tensor, Tensor]]:
        """Weight [d_head d_model] and bias of one query head's q, k and v."""
        if self.variant == "llama":
            a, shared = block.self_attn, head // GROUP
            rows = [(a.q_proj, head), (a.k_proj, shared), (a.v_proj, shared)]
            return [(p.weight[n * WIDTH : (n + 1) * WIDTH], torch.zeros(WIDTH)) for p, n in rows]
        if self.variant == "gpt2":
            w, b, starts = block.attn.c_attn.weight.T, block.attn.c_attn.bias, [n * 32 + head * WIDTH for n in range(3)]
        else:
            fused = block.attention.query_key_value
            w, b, starts = fused.weight, fused.bias, [(3 * head + n) * WIDTH for n in range(3)]
        return [(w[at : at + WIDTH], b[at : at + WIDTH]) for at in starts]
