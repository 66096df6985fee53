"""Roles of heads on the page of circuits: measured when asked for, then labels on the nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dash import html

from analyses.analysis import normalised
from analyses.experiment import Experiment
from analyses.result import Result
from hooks.errors import WorkbenchError
from hooks.reference import ModelRef
from workbench.figures.numbers import whole
from workbench.parts.circuit_request import Bases
from workbench.parts.empty import inline_problem
from workbench.parts.run_panel import Seen, button_of, facts_of
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

PREFIX = "crl"
NONE = "none"


def experiment_of(bases: Bases, state: State) -> Experiment:
    """The roles of all heads on the prompts of a state. Raises WorkbenchError."""
    pair = {name: given for name, given in bases.inputs(state).items() if name != "reference"}
    return normalised(Experiment(model=ModelRef.model_validate(state.model), inputs=pair, analysis="head_roles"))


def roles_of(workspace: Workspace, bases: Bases, state: State) -> dict[str, str]:
    """The role of each head that has one, by node; empty before they are measured."""
    try:
        result = workspace.result(experiment_of(bases, state).id)
    except WorkbenchError:  # these prompts have no roles, which the panel says
        return {}
    return {} if result is None else {node: words for node, (words, _) in measured_roles(result).items()}


def measured_roles(result: Result) -> Mapping[str, tuple[str, float]]:
    """Of a head_roles: the label of each head that has one, and the largest of its scores over its threshold."""
    grid = result.grid("role")
    labels, heads = grid.coords["role"], len(grid.coords["head"])
    return {
        f"L{at // heads}.z[head={at % heads}]": (str(label), float(grid.values.flat[at]))
        for at, label in enumerate(labels)
        if label != NONE
    }


def watch(bases: Bases, workspace: Workspace, state: State) -> Seen:
    """How it stands with the roles: never measured by itself."""
    try:
        asked = experiment_of(bases, state)
        result, job = workspace.result(asked.id), workspace.job(asked.id)
    except WorkbenchError as error:
        return Seen(f"refused {error}", None, "Label roles", busy=True)
    if result is not None:
        found = len(measured_roles(result))
        words = f"{whole(found)} head{'s' * (found != 1)} with a role"
        return Seen(result.id, html.Span(words, title=result.grid("role").about), "Roles labelled", busy=True)
    if job is not None and job.state == "failed":
        return Seen(f"{asked.id} failed", inline_problem(job.error), "Label roles again")
    run, busy = button_of(job)
    told: Any = job.message or "measuring roles…" if busy and job is not None else None
    return Seen(f"{asked.id} {facts_of(job)}", told, "Label roles" if run in ("Run", "Resume") else run, busy)
