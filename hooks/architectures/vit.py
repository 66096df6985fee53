"""ViT: an image as patches behind a class token."""

from hooks.architectures.base import TOWER, Architecture

ARCHITECTURE = Architecture(
    family="vit",
    tiny={"vit": {**TOWER, "image_size": 8, "patch_size": 4, "num_channels": 3, "num_labels": 3}},
    classes={"vit": "ViTForImageClassification"},
)
