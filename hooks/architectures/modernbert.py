"""ModernBERT: rotary, pre-norm, fused projections, local layers between global ones."""

from hooks.architectures.base import SMALL, Architecture

ARCHITECTURE = Architecture(
    family="modernbert",
    tiny={
        "modernbert": {
            **SMALL,
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
