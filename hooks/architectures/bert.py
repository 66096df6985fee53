"""BERT: norms after each sum, learned positions, both directions."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="bert",
    tiny={
        "bert": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "intermediate_size": 48,
        },
        "bert-classifier": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "intermediate_size": 48,
            "num_labels": 3,
            "pad_token_id": 0,
        },
        "bert-features": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "intermediate_size": 48,
        },
    },
    classes={
        "bert": "BertForMaskedLM",
        "bert-classifier": "BertForSequenceClassification",
        "bert-features": "BertModel",
    },
)
