"""T5: an encoder and a decoder, a learned bias of the scores by distance."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="t5",
    tiny={
        "t5": {
            "d_model": 32,
            "num_layers": 2,
            "num_heads": 4,
            "d_kv": 8,
            "d_ff": 48,
            "vocab_size": 64,
            "pad_token_id": 0,
            "decoder_start_token_id": 0,
            "eos_token_id": 1,
        },
        "t5-gated": {
            "d_model": 32,
            "num_layers": 2,
            "num_heads": 4,
            "d_kv": 8,
            "d_ff": 48,
            "vocab_size": 64,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
            "pad_token_id": 0,
            "decoder_start_token_id": 0,
            "eos_token_id": 1,
        },
    },
    classes={"t5": "T5ForConditionalGeneration", "t5-gated": "T5ForConditionalGeneration"},
)
