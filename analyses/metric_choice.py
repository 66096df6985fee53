"""Which metric an experiment asks for: a known one by name, or the user's own expression over logits of named tokens.

`MetricChoice` is the type of every analysis's `metric` parameter; `metric_of` makes the metric of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Discriminator, Tag
from torch import Tensor

from analyses.expression import Expression, Node, Quantity, evaluate, parse, quantities, unit_of
from analyses.metrics import METRICS, Metric, MetricName, Reduction, Target, over_ids
from hooks.errors import InputError, SpecError
from hooks.inputs import choice_id
from hooks.model import Instrumented

FLAT = ("kl", "kl_everywhere", "embedding_cosine")
"""Metrics that are at their extreme in the clean run, where they have no slope."""
LESS_IS_BETTER = ("kl", "kl_everywhere", "loss", "rank", "cross_entropy", "label_loss", "squared_error")
"""Metrics that fall as the model does better."""
NEEDS = {"answer": "answers", "foil": "foils"}
REDUCTIONS: Mapping[str, Reduction] = {"logit": "mean", "logprob": "logsumexp", "prob": "sum", "rank": "max"}
"""How a quantity of several answers is one number, as in the metric of the same name."""


def _sort(given: Any) -> str:
    return "name" if isinstance(given, str) else "own"


MetricChoice = Annotated[
    Annotated[MetricName, Tag("name")] | Annotated[Expression, Tag("own")], Discriminator(_sort)
]  # fmt: skip
"""In JSON a name such as "logit_diff", or {"expression": "logit(' Mary') - logit(' John')"}."""


def metric_of(choice: MetricName | Expression, model: Instrumented) -> Metric:
    """The metric that is chosen. Raises InputError for a token of an expression that is not one token of the model."""
    if isinstance(choice, Expression):
        return _own(choice, model)
    return METRICS[choice]


def title_of(choice: MetricName | Expression) -> str:
    """What a choice is called."""
    return choice.expression if isinstance(choice, Expression) else METRICS[choice].title


def _own(choice: Expression, model: Instrumented) -> Metric:
    tree = parse(choice.expression)
    named = tuple(quantities(tree))
    ids = {quantity.token: _id_of(quantity, model) for quantity in named if not quantity.own}
    needs = tuple(need for own, need in NEEDS.items() if any(q.own and q.token == own for q in named))
    unit = choice.unit or unit_of(tree)
    if unit is None:
        raise SpecError(f"'{choice.expression}' has no unit of its own.", 'Add "unit", such as "logit".')
    return Metric(choice.expression, choice.expression, unit, needs, _compute(tree, ids))


def _id_of(quantity: Quantity, model: Instrumented) -> int:
    token = quantity.token
    size = model.info.d_vocab
    if isinstance(token, int) and token >= size:
        raise InputError(f"the expression names token {token}; this model has {size}.", f"Use an id below {size}.")
    return token if isinstance(token, int) else choice_id(model.tokenizer, model.info, token, "token")


def _compute(
    tree: Node, ids: Mapping[str | int, int]
) -> Callable[[Float[Tensor, "batch pos d_vocab"], Target], Float[Tensor, " batch"]]:
    def compute(logits: Float[Tensor, "batch pos d_vocab"], target: Target) -> Float[Tensor, " batch"]:
        last = logits[:, -1]

        def read(quantity: Quantity) -> Tensor:
            own = {"answer": target.batch.answers, "foil": target.batch.foils}
            of = own[str(quantity.token)] if quantity.own else ((ids[quantity.token],),) * len(last)
            return _quantity(quantity.name, last, of)

        return evaluate(tree, read)

    return compute


def _quantity(name: str, last: Float[Tensor, "batch d_vocab"], ids: tuple[tuple[int, ...], ...]) -> Tensor:
    values = {"logprob": torch.log_softmax, "prob": torch.softmax}
    found = over_ids(values[name](last, -1) if name in values else last, ids, REDUCTIONS[name])
    return (last > found[:, None]).sum(-1).float() if name == "rank" else found
