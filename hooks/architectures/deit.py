"""DeiT: ViT with a distillation token."""

from hooks.architectures.base import TOWER, Architecture

ARCHITECTURE = Architecture(
    family="deit",
    tiny={"deit": {**TOWER, "image_size": 8, "patch_size": 4, "num_channels": 3, "num_labels": 3}},
    classes={"deit": "DeiTForImageClassification"},
)
