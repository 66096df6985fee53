"""Edges scored and cut by plain hooks on plain transformers: nothing here is taken from the product.

Every reader is handed the stream plus an offset of its own, which is zero unless a test sets it: the derivative by the
offset is the slope where that reader alone reads, and the offset of what a writer changed is that edge's patch.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext

import torch

from tests.analyses.by_hand import HEADS, LAYERS, ByHand
from tests.analyses.frozen_norms import frozen_norms
from tests.analyses.pairs import ANSWERS, FOILS

NORMS = {"gpt2": ("ln_1", "ln_2"), "llama": ("input_layernorm", "post_attention_layernorm")}


class Ungrouped(ByHand):
    """A model in which each query head has keys and values of its own, with the numbers of a grouped one."""

    def __init__(self, variant: str) -> None:
        super().__init__(variant)
        if self.kv_heads == HEADS:
            return
        grouped, group = self.model, HEADS // self.kv_heads
        config = type(grouped.config).from_dict({**grouped.config.to_dict(), "num_key_value_heads": HEADS})
        weights = grouped.state_dict()
        for name, weight in weights.items():
            if ".k_proj." in name or ".v_proj." in name:
                weights[name] = weight.unflatten(0, (self.kv_heads, -1)).repeat_interleave(group, dim=0).flatten(0, 1)
        self.model = type(grouped)._from_config(config, attn_implementation="eager").eval()
        self.model.load_state_dict(weights)
        self.kv_heads = HEADS


class PlainEdges:
    """Runs of one plain model in which each reader has an offset. Parallel blocks are those of GPT-NeoX."""

    def __init__(self, variant: str) -> None:
        self.hand = Ungrouped(variant)
        self.first, self.second = NORMS.get(variant, NORMS["llama"])
        parallel = variant == "gpt_neox"
        self.readers, self.heard, n = [], [], 1
        for layer in range(LAYERS):
            heads = [f"L{layer}.z[head={head}]" for head in range(HEADS)]
            self.readers += [(head, channel) for channel in "qkv" for head in heads] + [(f"L{layer}.mlp_out", "in")]
            self.heard += [n] * (3 * HEADS) + [n if parallel else n + HEADS]
            n += HEADS + 1
        self.readers.append(("logits", "in"))
        self.heard.append(n)

    def run(self, ids, prompt, offsets=None, start=None):
        """The logit difference, the offsets it hangs on by reader, and what each writer adds [writer pos d_model]."""
        hand, width = self.hand, 32
        offsets = offsets or {}
        eps = {r: offsets.get(r, torch.zeros(1, len(ids), width)).clone().requires_grad_() for r in self.readers}
        streams, writes = {}, []
        with ExitStack() as stack:
            for layer in range(LAYERS):
                self._layer(stack, layer, eps, streams, writes, start if layer == 0 else None)
            inner = hand.model.transformer if hand.variant == "gpt2" else getattr(
                hand.model, "gpt_neox" if hand.variant == "gpt_neox" else "model"
            )  # fmt: skip
            last = {"gpt2": "ln_f", "gpt_neox": "final_layer_norm"}.get(hand.variant, "norm")
            hooked = getattr(inner, last).register_forward_hook(
                lambda norm, args, out: norm.forward(args[0] + eps["logits", "in"])
            )
            stack.callback(hooked.remove)
            logits = hand.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        return logits[ANSWERS[prompt]] - logits[FOILS[prompt]], eps, torch.cat(writes)

    def _layer(self, stack, layer, eps, streams, writes, start):
        hand, block = self.hand, self.hand._block(layer)
        first, second = getattr(block, self.first), getattr(block, self.second)
        projections = {c: hand._edge(c, layer)[0] for c in "qkv"}
        o, mlp = hand._edge("z", layer)[0], block.mlp

        def entered(_, args, kwargs):
            x = args[0] if args else kwargs["hidden_states"]
            x = x if start is None else start
            streams[layer] = x
            if layer == 0:
                writes.append(x.detach())
            return (x, *args[1:]) if args else args, kwargs if args else {**kwargs, "hidden_states": x}

        def projected(module, _, out):
            out = out.clone()
            for channel in (c for c in "qkv" if projections[c] is module):
                for head in range(HEADS):
                    offset = eps[f"L{layer}.z[head={head}]", channel]
                    own = module.forward(first.forward(streams[layer] + offset))
                    hand._open(channel, out)[..., head, :] = hand._open(channel, own)[..., head, :]
            return out

        def mixed(module, args):
            weight = module.weight if hand.variant == "gpt2" else module.weight.T
            z = hand._open("z", args[0].detach())
            writes.extend(z[..., head, :] @ weight.detach().unflatten(0, (HEADS, -1))[head] for head in range(HEADS))

        hooks = [block.register_forward_pre_hook(entered, with_kwargs=True), o.register_forward_pre_hook(mixed)]
        hooks += [module.register_forward_hook(projected) for module in dict.fromkeys(projections.values())]
        hooks.append(
            second.register_forward_hook(lambda norm, args, _: norm.forward(args[0] + eps[f"L{layer}.mlp_out", "in"]))
        )
        hooks.append(mlp.register_forward_hook(lambda _, __, out: writes.append(out.detach())))
        for hook in hooks:
            stack.callback(hook.remove)

    def change(self, clean, corrupt, prompt):
        """What each writer adds on the clean prompt, less what it adds on the corrupt one."""
        return self.run(clean, prompt)[2] - self.run(corrupt, prompt)[2]

    def norms(self, clean, frozen):
        """The norms as they are, or with the scales of the clean prompt."""
        return frozen_norms(self.hand.model, clean) if frozen else nullcontext()

    def estimated(self, clean, corrupt, prompt, starts=(None,), frozen=False):
        """First-order scores [writer reader], with the mean slope of runs from the embeddings in `starts`."""
        change = self.change(clean, corrupt, prompt)
        found = torch.zeros(len(change), len(self.readers))
        for start in starts:
            with self.norms(clean, frozen):
                value, eps, _ = self.run(clean, prompt, start=start)
            slopes = torch.autograd.grad(value, [eps[reader] for reader in self.readers])
            found += torch.stack([(change * slope).sum((1, 2)) for slope in slopes], dim=1) / len(starts)
        allowed = torch.arange(len(change))[:, None] < torch.tensor(self.heard)
        return (found * allowed).detach().numpy()

    def cut(self, clean, corrupt, prompt, writer, reader, frozen=False):
        """The metric that is lost when one edge carries what its writer wrote on the corrupt prompt."""
        change = self.change(clean, corrupt, prompt)[writer : writer + 1]
        with self.norms(clean, frozen):
            before, after = (self.run(clean, prompt, cut)[0] for cut in ({}, {self.readers[reader]: -change}))
        return float((before - after).detach())
