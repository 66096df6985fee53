"""DeiT: ViT with a distillation token."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="deit",
    tiny={
        "deit": {
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
    classes={"deit": "DeiTForImageClassification"},
)
