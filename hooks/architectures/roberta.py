"""RoBERTa: BERT with positions counted from the padding id."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="roberta",
    tiny={
        "roberta": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "intermediate_size": 48,
            "pad_token_id": 1,
            "type_vocab_size": 1,
        }
    },
    classes={"roberta": "RobertaForMaskedLM"},
)
