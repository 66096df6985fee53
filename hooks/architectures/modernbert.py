"""ModernBERT: rotary, pre-norm, fused projections, local layers between global ones."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="modernbert",
    tiny={
        "modernbert": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "intermediate_size": 48,
            "local_attention": 4,
            "global_attn_every_n_layers": 2,
            "pad_token_id": 0,
            "cls_token_id": 2,
            "sep_token_id": 3,
        }
    },
    classes={"modernbert": "ModernBertForMaskedLM"},
)
