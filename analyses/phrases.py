"""Experiments in words: the pieces that analyses' sentences share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from analyses.experiment import Experiment
from analyses.expression import Expression
from hooks.model import Instrumented
from hooks.prompts import IdAnswer
from hooks.sites import MAIN, Part, Position, Site
from hooks.tokens import display


def prompts_in_words(experiment: Experiment, name: str) -> str:
    """How many prompts an input has: "1 prompt", "16 prompts"."""
    count = len(experiment.inputs[name].prompts) if name in experiment.inputs else 0
    return f"{count} prompt" if count == 1 else f"{count} prompts"


OF_ANSWER = {
    "prob": "the probability",
    "logprob": "the log-probability",
    "rank": "the rank",
    "cross_entropy": "the cross-entropy",
}
METRIC_WORDS = {
    "kl": "the KL divergence from the clean run",
    "loss": "the loss",
    "accuracy": "how often the answer comes first",
    "accuracy_two_way": "how often the answer beats the foil",
    "prob_diff": "the probability of the answers minus that of the foils",
    "cutoff_sharpness": "how sharply the probability rises at the cutoff",
    "kl_everywhere": "the KL divergence from the clean run over all positions",
    "label_loss": "the loss on the labels",
    "label_prob": "the probability of the labels",
    "label_accuracy": "how often the label comes first",
    "value": "the output",
    "squared_error": "the squared error of the output",
    "embedding_cosine": "the cosine similarity with the clean embedding",
}
CHOICES = {
    "causal": "next-token probability",
    "seq2seq": "next-token probability",
    "masked": "masked-token probability",
}


def probability_in_words(task: str) -> str:
    """What a model's probabilities are of: next tokens, a masked token, classes."""
    return CHOICES.get(task, "class probability")


def choices_in_words(model: Instrumented, ids: Sequence[int]) -> tuple[str, ...]:
    """The tokens or classes that a model chooses among, as a reader knows them."""
    if model.info.labels:
        return tuple(model.info.labels[choice] for choice in ids)
    return display(model.tokenizer, list(ids))


def metric_in_words(metric: str | Expression, experiment: Experiment) -> str:
    """What is measured, with the answer and the foil where there is just one of each."""
    if isinstance(metric, Expression):
        return metric.expression
    clean = experiment.inputs.get("clean")
    answer = _only(clean.answers) if clean else None
    foil = _only(clean.foils) if clean else None
    if metric == "logit_diff":
        return f"logit({answer}) − logit({foil})" if answer and foil else "the logit difference of answer and foil"
    if metric in OF_ANSWER:
        return f"{OF_ANSWER[metric]} of {answer}" if answer else f"{OF_ANSWER[metric]} of the answer"
    return METRIC_WORDS[metric]


def _only(answers: tuple[object, ...]) -> str | None:
    if len(set(map(str, answers))) != 1 or isinstance(answers[0], tuple):
        return None
    return f"id {answers[0].id}" if isinstance(answers[0], IdAnswer) else f"‘{answers[0]}’"


HEAD_SITES = {
    "q": "queries",
    "k": "keys",
    "v": "values",
    "pattern": "pattern",
    "cross_pattern": "cross-attention pattern",
}
"""What a head has at the sites other than its output, in words."""
STREAMS = {
    "embed": "the token embeddings",
    "pos_embed": "the position embeddings",
    "resid_pre": "the residual stream entering layer {layer}",
    "resid_mid": "the residual stream between attention and MLP of layer {layer}",
    "resid_post": "the residual stream leaving layer {layer}",
}
NAMED_POSITIONS = {
    "last": "the last position",
    "answer": "the answer position",
    "new": "every generated position",
}


def part_in_words(part: Part) -> str:
    """A part as a reader would name it: "head 23.3", "keys of key/value head 2.1", "MLP 5", else its address."""
    if part.site.stack != MAIN:
        return f"{part_in_words(replace(part, site=replace(part.site, stack=MAIN)))} of the {part.site.stack}"
    layer, where = part.site.layer, _positions(part)
    if part.site.name == "router" and part.expert is not None:
        return f"expert {part.expert} of layer {layer}{where}"
    if part.site.name == "cross_z" and part.head is not None and part.unit is None:
        return f"cross-attention head {layer}.{part.head}{where}"
    names = {"z": "all heads of layer", "mlp_out": "MLP", "attn_out": "attention", "mlp_post": "all neurons of layer",
             "mixer_out": "mixer", "cross_attn_out": "cross-attention"}  # fmt: skip
    if part.site.name in HEAD_SITES and part.unit is None and part.q_pos is None and part.k_pos is None:
        whose = (
            f"all heads of layer {layer}" if part.head is None else f"{head_in_words(part.site)} {layer}.{part.head}"
        )
        return f"{HEAD_SITES[part.site.name]} of {whose}{where}"
    if part.site.name in ("pattern", "cross_pattern") and (part.q_pos is not None or part.k_pos is not None):
        return _edges(part)
    if part.site.name in STREAMS and part.unit is None:
        return f"{STREAMS[part.site.name].format(layer=layer)}{where}"
    if part.site.name == "z" and part.head is not None and part.unit is None:
        return f"head {layer}.{part.head}{where}"
    if part.site.name == "mlp_post" and part.unit is not None:
        return f"neuron {layer}.{part.unit}{where}"
    if part.site.name in names and part.head is None and part.unit is None:
        return f"{names[part.site.name]} {layer}{where}"
    return str(part)


SITE_WORDS = {
    "resid_pre": "residual stream before the block",
    "resid_mid": "residual stream between attention and MLP",
    "resid_post": "residual stream after the block",
    "attn_in": "input of attention",
    "attn_out": "attention output",
    "mixer_out": "mixer output",
    "mlp_in": "input of the MLP",
    "mlp_pre": "input of the nonlinearity",
    "mlp_up": "linear branch of the MLP",
    "mlp_post": "neuron activations",
    "mlp_out": "MLP output",
    "z": "head outputs",
    "q": "queries",
    "k": "keys",
    "v": "values",
    "q_rot": "rotated queries",
    "k_rot": "rotated keys",
    "pattern": "attention patterns",
    "router": "expert weights",
}


def site_in_words(name: str) -> str:
    """What a site holds, as the object of a sentence: "head outputs", "cross-attention keys"."""
    cross = name.removeprefix("cross_")
    words = SITE_WORDS.get(cross, cross)
    return words if cross == name else f"cross-attention {words.removeprefix('attention ')}"


def layers_in_words(layers: Sequence[int]) -> str:
    """Chosen layers: "layer 3", "layers 0, 1 and 2"."""
    return f"layer{'' if len(layers) == 1 else 's'} {listed(list(map(str, layers)))}"


def position_in_words(position: int | str) -> str:
    """A position: "position 3", "‘last’"."""
    return f"position {position}" if isinstance(position, int) else f"‘{position}’"


def head_in_words(site: Site) -> str:
    """What one index of a site's head axis is: "head", or "key/value head" where query heads may share it."""
    return "key/value head" if site.kind.head_axis == "kv_head" else "head"


def query_heads_in_words(kv_head: int, group: int) -> str:
    """Which query heads read a key/value head when `group` of them share each: "query heads 3–5", "query head 3"."""
    first = kv_head * group
    return f"query head {first}" if group == 1 else f"query heads {first}–{first + group - 1}"


def _edges(part: Part) -> str:
    """Attention edges: "the attention of head 3.2 from position 9 to position 4"."""
    cross = "cross-attention" if part.site.name.startswith("cross_") else "attention"
    whose = f"all heads of layer {part.site.layer}" if part.head is None else f"head {part.site.layer}.{part.head}"
    ends = [f" {word} {_place(at)}" for word, at in (("from", part.q_pos), ("to", part.k_pos)) if at is not None]
    return f"the {cross} of {whose}{''.join(ends)}"


def _positions(part: Part) -> str:
    return "" if part.pos is None else f" at {_place(part.pos)}"


def _place(position: Position) -> str:
    if isinstance(position, tuple):
        return f"positions {position[0]}–{position[1] - 1}"
    return f"position {position}" if isinstance(position, int) else NAMED_POSITIONS.get(position, f"‘{position}’")


def listed(items: list[str], most: int = 6) -> str:
    """Items as an English list, cut with a count when there are many."""
    if len(items) > most:
        return f"{', '.join(items[:most])} and {len(items) - most} more"
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
