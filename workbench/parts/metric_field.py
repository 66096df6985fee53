"""Which metric a page measures: a known one from a list, or an expression that the reader writes.

`State.metric` holds the name of a known one or the text of an expression.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import html
from pydantic import ValidationError

from analyses.experiment import describe
from analyses.expression import Expression, parse, quantities
from analyses.expression import unit_of as unit_of_expression
from analyses.metrics import METRICS as MEASURES
from hooks.errors import SpecError, WorkbenchError
from hooks.info import ModelInfo
from hooks.inputs import choice_id
from workbench.parts.empty import sentence

if TYPE_CHECKING:
    from workbench.urls import State
    from workbench.workspace import Workspace

OWN = "custom"
EXAMPLE = "logit(' Mary') - max(logit(' John'), logit(' he'))"


def is_own(metric: str) -> bool:
    """Whether a state's metric is an expression."""
    return not re.fullmatch(r"\w+", metric)


def asked(metric: str) -> str | dict[str, str]:
    """A state's metric as experiments take it. Raises SpecError for an expression that cannot be read."""
    if not is_own(metric):
        return metric
    parse(metric)
    try:
        Expression(expression=metric)
    except ValidationError as error:
        raise SpecError(describe(error), f"Measure one sort of quantity, such as {EXAMPLE}.") from error
    return {"expression": metric}


def unit_of(metric: str) -> str:
    """The unit of a metric's effect. Raises SpecError for an expression that cannot be read."""
    return unit_of_expression(parse(metric)) or "logit" if is_own(metric) else MEASURES[metric].unit


def needs(metric: str) -> tuple[str, ...]:
    """What the prompts must have for a metric: `answers`, `foils`. Raises as above."""
    if not is_own(metric):
        return MEASURES[metric].needs
    own = {quantity.token for quantity in quantities(parse(metric)) if quantity.own}
    return tuple(need for name, need in (("answer", "answers"), ("foil", "foils")) if name in own)


def what_is_wrong(workspace: Workspace, state: State) -> str:
    """What is wrong with the expression of a state, tokens included; "" for a good one and for a known metric."""
    if not is_own(state.metric):
        return ""
    try:
        asked(state.metric)
        summary = workspace.summary(state.model)
        if summary is not None:
            info = ModelInfo.model_validate(summary["info"])
            tokens = [quantity.token for quantity in quantities(parse(state.metric)) if isinstance(quantity.token, str)
                      and not quantity.own]  # fmt: skip
            workspace.ask_tokenizer(
                state.model, lambda tokenizer, _: [choice_id(tokenizer, info, token, "token") for token in tokens]
            )
    except WorkbenchError as error:
        return f"{sentence(error.message)} {error.hint}"
    return ""


def metric_field(metric: str, known: dict[str, str], id: str, wrong: str = "") -> Any:
    """The list of metrics with *Custom expression…*, and the field of an expression.

    id: of the list; the field's is `id`-own, and its place's `id`-own-place. wrong: as `what_is_wrong` says.
    """
    own = is_own(metric)
    choice = dmc.Select(
        id=id, label="Measure", value=OWN if own else metric, allowDeselect=False, w=240,
        data=[*({"value": key, "label": word} for key, word in known.items()),
              {"value": OWN, "label": "Custom expression…"}],
    )  # fmt: skip
    field = dmc.TextInput(
        id=f"{id}-own", label="Expression", value=metric if own else "", placeholder=EXAMPLE, debounce=600,
        error=wrong or None, inputWrapperOrder=["label", "input", "error", "description"],
        description="logit, logprob, prob or rank of a token, answer or foil; + − * / ( ) max min mean sum",
    )  # fmt: skip
    return html.Div([choice, html.Div(field, id=f"{id}-own-place", hidden=not own)], className="abl-metric")
