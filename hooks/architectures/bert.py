"""BERT: norms after each sum, learned positions, both directions."""

from hooks.architectures.base import SMALL, Architecture

ARCHITECTURE = Architecture(
    family="bert",
    tiny={
        "bert": {**SMALL, "intermediate_size": 48},
        "bert-classifier": {**SMALL, "intermediate_size": 48, "num_labels": 3, "pad_token_id": 0},
        "bert-features": {**SMALL, "intermediate_size": 48},
    },
    classes={
        "bert": "BertForMaskedLM",
        "bert-classifier": "BertForSequenceClassification",
        "bert-features": "BertModel",
    },
)
