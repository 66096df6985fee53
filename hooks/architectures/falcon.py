"""Falcon: multi-query or grouped, parallel or sequential, rotary or ALiBi, attention in its own code."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="falcon",
    tiny={
        "falcon-multi-query": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "ffn_hidden_size": 48,
            "multi_query": True,
            "parallel_attn": True,
            "new_decoder_architecture": False,
        },
        "falcon-new-decoder": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "ffn_hidden_size": 48,
            "num_kv_heads": 2,
            "new_decoder_architecture": True,
        },
        "falcon-alibi": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "ffn_hidden_size": 48,
            "multi_query": False,
            "parallel_attn": False,
            "alibi": True,
            "new_decoder_architecture": False,
        },
    },
)
