"""ViT: an image as patches behind a class token."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="vit",
    tiny={
        "vit": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "image_size": 8,
            "patch_size": 4,
            "num_channels": 3,
            "num_labels": 3,
        }
    },
    classes={"vit": "ViTForImageClassification"},
)
