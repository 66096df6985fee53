"""Models with hand-written weights whose circuit is known by construction.

Tokens live in the first eight dimensions. One head of layer 0 copies them to the next eight, one head of layer 1 copies
these to the third eight, which alone the unembedding reads. All heads attend evenly; the others, and the MLPs, write
to six dimensions that nothing of this reads. A large constant keeps the norms' scales almost the same whatever is cut.
"""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.analyses.by_hand import LAYERS, SETTINGS, ByHand

HEADS_OF = {
    "gpt2": ("L0.z[head=1]", "L1.z[head=3]"),
    "llama": ("L0.z[head=2]", "L2.z[head=0]"),
    "gpt_neox": ("L0.z[head=0]", "L1.z[head=2]"),
}
"""The two heads of each; of the grouped model the first of each group, whose fellow writes nothing."""


def planted(variant: str, constant: float = 40.0) -> torch.nn.Module:
    """A model of three layers and four heads, of which two heads do the work."""
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
    config = AutoConfig.for_model(variant, **SETTINGS[variant], **ids, tie_word_embeddings=False)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    hand = ByHand(variant)
    hand.model = model
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_gain = parameter.ndim == 1 and name.endswith("weight")
            parameter.fill_(constant * (2 / 32) ** 0.5 if is_gain else 0.0)
        embedding = model.get_input_embeddings().weight
        embedding[:, :8] = torch.randn(64, 8)
        embedding[:, 30], embedding[:, 31] = constant, -constant
        model.lm_head.weight[:, 16:24] = torch.randn(64, 8)
        for layer in range(LAYERS):
            _elsewhere(hand, layer)
        for number, text in enumerate(HEADS_OF[variant]):
            layer, head = int(text[1]), int(text[-2])
            _copy(hand, layer, head, reads=8 * number, writes=8 * number + 8)
    return model


def _elsewhere(hand: ByHand, layer: int) -> None:
    """Small random weights by which heads and the MLP read all but the constant and write to dimensions 24 to 29."""
    conv, mlp = hand.variant == "gpt2", hand._block(layer).mlp
    values, output = (hand._edge(name, layer)[0].weight for name in ("v", "z"))
    hand._open("v", values if conv else values.T)[:24].normal_(0, 0.1)
    for module in mlp.modules():
        if getattr(module, "weight", None) is not None:
            (module.weight if conv else module.weight.T)[:24].normal_(0, 0.1)
    down = [module for module in mlp.modules() if getattr(module, "weight", None) is not None][-1].weight
    for weight in (output, down):
        rows = weight.T if conv else weight
        rows.zero_()
        rows[24:30].normal_(0, 0.1)


def _copy(hand: ByHand, layer: int, head: int, reads: int, writes: int) -> None:
    """Let a head's values be eight dimensions of what it reads, and its output eight of the stream."""
    conv = hand.variant == "gpt2"
    values, output = (hand._edge(name, layer)[0].weight for name in ("v", "z"))
    rows = hand._open("v", values if conv else values.T)
    rows[..., head // (4 // hand.kv_heads), :] = 0
    rows[reads : reads + 8, head // (4 // hand.kv_heads), :] = torch.eye(8)
    columns = (output.T if conv else output).unflatten(-1, (4, 8))
    columns[:, head, :] = 0
    columns[writes : writes + 8, head, :] = torch.eye(8)
