"""RoBERTa: BERT with positions counted from the padding id."""

from hooks.architectures.base import SMALL, Architecture

ARCHITECTURE = Architecture(
    family="roberta",
    tiny={"roberta": {**SMALL, "intermediate_size": 48, "pad_token_id": 1, "type_vocab_size": 1}},
    classes={"roberta": "RobertaForMaskedLM"},
)
