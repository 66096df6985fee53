"""Whisper: an encoder of sound and a decoder of text."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="whisper",
    tiny={
        "whisper": {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "vocab_size": 64,
            "num_mel_bins": 8,
            "max_source_positions": 10,
            "max_target_positions": 32,
            "pad_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 3,
            "begin_suppress_tokens": None,
        }
    },
    classes={"whisper": "WhisperForConditionalGeneration"},
)
