"""From the state of the Circuits page to what is asked: the search, the circuit as it is edited, what judges it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from analyses.analysis import normalised, sentence
from analyses.circuit import Circuit, Keys
from analyses.circuit_mask import Mask, packed
from analyses.circuit_notes import Annotations
from analyses.experiment import Experiment
from hooks.errors import InputError
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from workbench.circuit_base import Base, base_of_circuit, base_of_search
from workbench.circuit_draft import Draft
from workbench.parts import metric_field
from workbench.parts.ablation_request import check_metric, metrics_of
from workbench.parts.ablation_scope import Scope
from workbench.parts.ablation_watch import summary_of
from workbench.parts.given import inputs_for, is_many
from workbench.parts.kinds import Kind
from workbench.parts.patch_methods import SLOPELESS
from workbench.parts.patch_request import check_lengths
from workbench.requests import CircuitRequest
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

FINDERS = {
    "eap_ig": "EAP-IG, inputs",
    "eap": "EAP",
    "eap_ig_activations": "EAP-IG, activations",
    "exact": "Exact patching",
    "acdc": "ACDC",
}
OUTSIDE = {"counterfactual": "the corrupt run", "zero": "nothing", "mean": "a mean"}
LEVELS = {"edge": "Edges", "node": "Nodes"}
INTEGRATING = ("eap_ig", "eap_ig_activations")
SLOPES = ("eap", *INTEGRATING)
Made = TypeVar("Made")
WRITES = ("z", "attn_out", "mlp_out")
MOST_KEPT = 32
MOST_JUDGED = 20_000
"""Larger circuits are listed edge by edge in no report."""
BESIDE = ("pick", "judged", "against")
"""Fields of the address that say what is shown beside the circuit, and nothing of it."""


def finders_of(state: State) -> dict[str, str]:
    """The methods that can search with what is cut carrying what the state says."""
    barred = INTEGRATING if state.outside == "zero" else ()
    barred = (*barred, "acdc") if state.level == "node" else barred
    return {name: title for name, title in FINDERS.items() if name not in barred}


def finder_of(state: State) -> str:
    """The method of a state, or the first that there is."""
    offered = finders_of(state)
    return state.finder if state.finder in offered else next(iter(offered))


def metrics_for(state: State, kind: Kind) -> dict[str, str]:
    """The metrics that a method can search by."""
    barred: tuple[str, ...] = SLOPELESS if finder_of(state) in SLOPES else ()
    barred = (*barred, "kl", "embedding_cosine") if finder_of(state) == "eap" else barred
    return {name: title for name, title in metrics_of(kind).items() if name not in barred}


def metric_of(state: State, kind: Kind) -> str:
    """The metric of a state, also one of the reader's own, or the first that there is."""
    if metric_field.is_own(state.metric):
        return state.metric
    offered = metrics_for(state, kind)
    return state.metric if state.metric in offered else next(iter(offered), state.metric)


def unit_of(workspace: Workspace, state: State) -> str:
    """The unit of the scores of a state. Raises SpecError, ModelError."""
    return metric_field.unit_of(metric_of(state, Kind.of(summary_of(workspace, state))))


def keys_of(state: State, info: Mapping[str, Any]) -> Keys:
    """How keys and values are counted: cuts for real change them for all query heads that share them."""
    shared = (info["n_kv_heads"] or info["n_heads"]) < info["n_heads"]
    return "kv_head" if shared and finder_of(state) in ("exact", "acdc") else "query_head"


def inputs_of(workspace: Workspace, state: State) -> dict[str, PromptSet]:
    """The pair, and the reference of a mean. Raises InputError where there is no pair or its prompts do not match."""
    names = ("corrupt", "reference") if state.outside == "mean" else ("corrupt",)
    inputs = inputs_for(workspace, state, names)
    if "corrupt" not in inputs:
        raise InputError("there is no corrupt prompt.", "Choose a task, or give the other prompt of the pair.")
    check_lengths(workspace.tokens(state.model, inputs["clean"]), workspace.tokens(state.model, inputs["corrupt"]))
    return inputs


def search_of(workspace: Workspace, state: State, inputs: Mapping[str, PromptSet]) -> Experiment:
    """The search of a state on its inputs. Raises InputError, SpecError, ModelError."""
    summary = summary_of(workspace, state)
    kind, info = Kind.of(summary), summary["info"]
    metric = metric_of(state, kind)
    if not is_many(state):
        check_metric(state.model_copy(update={"metric": metric}))
    params = {
        "method": finder_of(state),
        "level": state.level if state.level in LEVELS else "edge",
        "metric": metric_field.asked(metric),
        "steps": state.points,
        "ablation": "zero" if state.outside == "zero" else "counterfactual",
        "keys": keys_of(state, info),
    }
    pair = {name: given for name, given in inputs.items() if name != "reference"}
    return normalised(_experiment(state, "circuit_search", pair, params))


def _experiment(state: State, analysis: str, inputs: dict[str, PromptSet], params: dict[str, Any]) -> Experiment:
    return Experiment(model=ModelRef.model_validate(state.model), inputs=inputs, analysis=analysis, params=params)


class Bases:
    """Where circuits start and what was asked of them last, kept in memory: a change of the page is looked at by a
    dozen of its parts, and a search of a large model has a hundred thousand scores.
    """

    def __init__(self, workspace: Workspace, most: int = MOST_KEPT) -> None:
        self._workspace, self._most = workspace, most
        self._kept: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._lock = Lock()

    def of_state(self, state: State) -> Base | None:
        """Of the given circuit of a state, else of its search; None before that is done. Raises WorkbenchError."""
        if state.given:
            return self.of_given(state.given, state)
        return self.of_result(self.search(state).id, state)

    def of_given(self, key: str, state: State) -> Base:
        """Of a kept circuit. Raises InputError, SpecError for one that does not fit the model."""
        summary = summary_of(self._workspace, state)

        def made() -> Base:
            return base_of_circuit(key, self._workspace.circuits.get(key).circuit, summary["info"], sites_in(summary))

        return self.once("base", f"{key} {state.model}", made)

    def of_result(self, result_id: str, state: State) -> Base | None:
        """Of a search's result, or of the circuit that a result judged; None where there is no such result."""
        name = f"{result_id} {state.model}"
        kept: Base | None = self._kept.get(("base", name))
        result = self._workspace.result(result_id) if kept is None else None
        if kept is not None or result is None:
            return kept
        info = (self._workspace.summary(result.experiment.model) or summary_of(self._workspace, state))["info"]
        if result.experiment.analysis == "circuit_search":
            return self.once("base", name, lambda: base_of_search(result, info))
        circuit = Circuit.model_validate(result.circuit)
        return self.once("base", name, lambda: base_of_circuit(result_id, circuit, info))

    def once(self, what: str, name: str, make: Callable[[], Made]) -> Made:
        """What `make` gives, made once for each name; the least recently used are forgotten."""
        key = (what, name)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                found: Made = self._kept[key]
                return found
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made

    def inputs(self, state: State) -> dict[str, PromptSet]:
        """`inputs_of` the state. Raises as it does."""
        return self.once("inputs", _asked(state), lambda: inputs_of(self._workspace, state))

    def search(self, state: State) -> Experiment:
        """The search of a state. Raises InputError, SpecError, ModelError."""
        return self.once("search", _asked(state), lambda: search_of(self._workspace, state, self.inputs(state)))


def _asked(state: State) -> str:
    """A state without what is shown beside a circuit and what was edited."""
    return state.model_copy(update={**dict.fromkeys(BESIDE, ""), "draft": ""}).model_dump_json()


def sites_in(summary: Mapping[str, Any]) -> list[str]:
    """The addresses of what a model's layers write to the stream."""
    there = Scope.of(summary, "").there
    return [f"L{layer}.{site}" for site in WRITES for layer in there.get(site, ())]


@dataclass(frozen=True, eq=False)
class Edited:
    """The circuit of a state as it is edited. pruned: its edges that lie on a path from the embedding to the logits."""

    base: Base
    draft: Draft
    kept: Mask
    pruned: Mask = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pruned", self.base.graph.prune(self.kept))

    @property
    def notes(self) -> Annotations:
        """What is written beside nodes, also those that no edge of the circuit ends at."""
        return self.draft.over(self.base.found)

    @property
    def circuit(self) -> Circuit:
        """With its edges that lead nowhere, as they are drawn."""
        return self.base.circuit(self.kept, self.draft)


def edited_of(workspace: Workspace, bases: Bases, state: State) -> Edited | None:
    """The edited circuit of a state; None before there is one to edit. Raises WorkbenchError."""
    base = bases.of_state(state)
    if base is None:
        return None

    def made() -> Edited:
        draft = workspace.circuits.read_draft(state.draft)
        return Edited(base, draft, base.edited(draft))

    return bases.once("edited", f"{base.key} {state.model} {state.draft}", made)


def about_of(workspace: Workspace, bases: Bases, state: State) -> dict[str, str]:
    """What the edited circuit of a state is of, by name, for its files. Raises WorkbenchError."""
    if state.given:
        return {"title": f"Circuit from {workspace.circuits.get(state.given).name}", "model": state.model}
    search = bases.search(state)
    return {"title": sentence(search), "model": state.model, "search": search.id}


def live_of(workspace: Workspace, bases: Bases, state: State, base: Base, kept: Mask) -> CircuitRequest:
    """What asks for the numbers of some edges, pruned. Raises InputError, SpecError, ModelError."""
    kind = Kind.of(summary_of(workspace, state))
    return CircuitRequest(
        model=ModelRef.model_validate(state.model),
        inputs=bases.inputs(state),
        metric=metric_field.asked(metric_of(state, kind)),
        ablation=state.outside if state.outside in OUTSIDE else "counterfactual",
        keys=base.graph.keys,
        kept=packed(base.graph.prune(kept)),
    )


def evaluation_of(workspace: Workspace, bases: Bases, state: State) -> Experiment:
    """The evaluation of the edited circuit. Raises InputError before there is one; SpecError, ModelError."""
    plain = state.model_copy(update=dict.fromkeys(BESIDE, ""))
    return bases.once("evaluation", plain.model_dump_json(), lambda: _evaluation(workspace, bases, plain))


def _evaluation(workspace: Workspace, bases: Bases, state: State) -> Experiment:
    now = edited_of(workspace, bases, state)
    if now is None:
        raise InputError("there is no circuit yet.", "Find one, or give a file.")
    if not 0 < now.kept.sum() <= MOST_JUDGED:
        raise InputError(
            f"the circuit has {int(now.kept.sum()):,} edges; 1 to {MOST_JUDGED:,} can be evaluated here.",
            "Choose another size.",
        )
    circuit = now.circuit.bare
    request = live_of(workspace, bases, state, now.base, now.kept)
    searched = not state.given and now.base.unit == "edge" and finder_of(state) in ("eap", "eap_ig")
    scores = finder_of(state) if searched and state.outside != "zero" else "circuit"
    classes = {name: nodes for name, nodes in now.notes.classes.items() if set(nodes) <= set(circuit.nodes)}
    params = {
        "circuit": circuit.model_dump(mode="json"),
        "ablation": request.ablation,
        "scores": scores,
        "steps": state.points,
        "metric": request.model_dump(mode="json")["metric"],
        "classes": {name: list(nodes) for name, nodes in classes.items()},
        "completeness": ["classes"] if classes else [],
    }
    return normalised(_experiment(state, "circuit_evaluation", request.inputs, params))
