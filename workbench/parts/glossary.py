"""Terms of the field with one sentence each, shown on hover or focus where they first stand on a page."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import html

TERMS: dict[str, str] = {
    "ablation": (
        "Replace a part of the model by zero, by its mean over a reference set, or by a value from another prompt, "
        "and see what changes."
    ),
    "activation patching": (
        "Copy an activation from one run into another, at the same place, and see how the answer changes: which "
        "parts carry the difference between two prompts."
    ),
    "attention knockout": "Give some attention edges no weight, so that queries no longer see those keys.",
    "attribution patching": (
        "A first-order estimate of activation patching for all parts at once, from one gradient. AtP* mends its known "
        "weaknesses: saturated attention, and effects that cancel."
    ),
    "causal tracing": "Blur some tokens with noise, then restore single clean states: which bring the answer back?",
    "circuit": (
        "Some of a model’s edges, each from what one part writes to what another reads, that together do a task. "
        "Its faithfulness is the share of the behaviour that is left when all other edges carry something else."
    ),
    "direct logit attribution": (
        "What a part adds to the answer’s logit through the residual stream alone, the final norm’s scale held."
    ),
    "path patching": (
        "Let a sender’s changed output reach chosen receivers alone: all other heads between them keep their values."
    ),
    "neuron": "One hidden unit of an MLP: its activation times its row of W_out is what it adds to the stream.",
    "direct effect": "What a part adds to the answer’s logit by itself, past everything after it.",
    "logit weight": (
        "What a neuron’s output weights would add to a token’s logit per unit of activation, past everything after it: "
        "weights alone, no run."
    ),
    "answer": "The token that would be right after the prompt.",
    "attention weight": (
        "The share that a query position gives to a key position; the weights of one query sum to 1. "
        "Attention is not an explanation: only an edit shows an effect."
    ),
    "duplicate-token head": "A head that attends from a token to an earlier copy of the same token.",
    "entropy": "How spread out a head's attention is, in nats: 0 when it looks at one token.",
    "exact parity": "The logits of the observed model equal those of the unobserved model bit for bit.",
    "expert": "One of several MLPs of a layer; a router chooses a few of them for each token.",
    "first-token attention": (
        "The share that a head gives to the first token, where many heads rest when they have nothing to do."
    ),
    "foil": "The token that would be wrong after the prompt, with which the answer is compared.",
    "grouped heads": "Several query heads share one key/value head.",
    "head": "One of the parallel attention maps of a layer, with its own queries and values.",
    "induction head": "A head that finds an earlier copy of the present token and attends to the token after it.",
    "KL divergence": "How far the edited distribution over answers is from the clean one, in nats; 0 when equal.",
    "logit lens": (
        "A layer’s residual stream put through the model’s own final norm and unembedding: what it would answer if it "
        "stopped there."
    ),
    "log-probability": "The natural logarithm of a probability.",
    "byte fallback": "A character without a piece of its own is written as its UTF-8 bytes, one token each.",
    "normaliser": "What is done to the text before it is split: lower case, Unicode forms, signs for spaces.",
    "pre-tokeniser": "The first, coarse split into words; no token crosses it.",
    "merge rank": "The place of a merge in the order in which the merges were learned: 0 first, and applied first.",
    "logit": "The score of a token or class before the softmax turns scores into probabilities.",
    "logit difference": "logit(answer) − logit(foil) at the answer position.",
    "loss": "Mean over predicted positions of −log p(next token), in nats.",
    "mean ablation": "Replace a part by its mean over a reference set.",
    "MLP": "The feed-forward part of a layer; its hidden units are called neurons.",
    "parity": "How far the logits of the observed model are from those of the unobserved one.",
    "pattern": "The attention weights of one head: rows are queries, columns are keys.",
    "previous-token head": "A head that attends to the token directly before.",
    "residual stream": "The sum that every layer reads from and writes to.",
    "site": "A named tensor of the forward pass, such as L3.z.",
    "surprisal": "−log p(token) given everything before it, in nats: high where the model did not expect the token.",
    "temperature": "Divides the logits before the softmax: below 1 sharpens the distribution, above 1 flattens it.",
    "top-k": "Keep only the k most probable tokens.",
    "top-p": "Keep the smallest set of most probable tokens whose probabilities sum to at least p.",
    "zero ablation": "Replace a part by zero.",
}


def term(name: str, text: str | None = None) -> Any:
    """`text` (or the term itself) underlined with dots, explained on hover and on focus. Raises KeyError if unknown."""
    word = html.Span(text or name, className="wb-term", tabIndex=0)
    return dmc.Tooltip(
        label=TERMS[name],
        children=word,
        multiline=True,
        w=280,
        withArrow=False,
        openDelay=150,
        boxWrapperProps={"display": "inline-block"},
        events={"hover": True, "focus": True, "touch": True},
    )
