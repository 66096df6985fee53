"""DistilBERT: BERT without token types."""

from hooks.architectures.base import Architecture

ARCHITECTURE = Architecture(
    family="distilbert",
    tiny={
        "distilbert": {
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 48,
            "vocab_size": 64,
            "max_position_embeddings": 64,
        },
        "distilbert-classifier": {
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 48,
            "vocab_size": 64,
            "max_position_embeddings": 64,
            "num_labels": 2,
        },
    },
    classes={"distilbert": "DistilBertForMaskedLM", "distilbert-classifier": "DistilBertForSequenceClassification"},
)
