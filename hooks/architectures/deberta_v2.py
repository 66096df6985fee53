"""DeBERTa-v2: disentangled attention to content and relative position, in its own code."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="deberta-v2",
    tiny={
        "deberta-v2": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "intermediate_size": 48,
            "relative_attention": True,
            "max_relative_positions": 8,
            "position_buckets": 4,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pad_token_id": 0,
        }
    },
    classes={"deberta-v2": "DebertaV2ForMaskedLM"},
)
