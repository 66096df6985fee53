"""BART: an encoder and a decoder, norms after each sum."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="bart",
    tiny={
        "bart": {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "pad_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
        }
    },
    classes={"bart": "BartForConditionalGeneration"},
)
