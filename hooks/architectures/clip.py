"""CLIP: a tower of text and a tower of images."""

from hooks.architectures.base import TOWER, Architecture

ARCHITECTURE = Architecture(
    family="clip",
    tiny={
        "clip": {
            "text_config": {
                **TOWER,
                "vocab_size": 64,
                "max_position_embeddings": 16,
                "bos_token_id": 0,
                "eos_token_id": 1,
                "pad_token_id": 1,
            },
            "vision_config": {**TOWER, "image_size": 8, "patch_size": 4},
            "projection_dim": 16,
        }
    },
    classes={"clip": "CLIPModel"},
)
