"""DeBERTa-v2: disentangled attention to content and relative position, in its own code."""

from hooks.architectures.base import SMALL, Architecture

ARCHITECTURE = Architecture(
    family="deberta-v2",
    tiny={
        "deberta-v2": {
            **SMALL,
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
