"""From the page's state to experiments: what is in the tray, what a cell stands for, what is asked of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from analyses.analysis import normalised
from analyses.experiment import Experiment
from analyses.grid import Coord
from analyses.metrics import METRICS as MEASURES
from analyses.phrases import HEAD_SITES, head_in_words, query_heads_in_words
from analyses.vectors import Definition
from hooks.errors import InputError, SpecError, WorkbenchError
from hooks.interventions import Intervention, parse_intervention
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from hooks.sites import Part, Site
from workbench import edit_text
from workbench.parts import metric_field
from workbench.parts.given import is_many
from workbench.parts.kinds import Kind
from workbench.urls import State

KINDS = {"zero": "Zero", "mean": "Mean"}
METRICS = {
    "logit_diff": "Logit difference",
    "logprob": "Log-probability of the answer",
    "prob": "Probability of the answer",
    "prob_diff": "Probability difference",
    "kl": "KL from the clean run",
    "loss": "Loss",
    "rank": "Rank of the answer",
    "cross_entropy": "Cross-entropy of the answer",
    "value": "Output",
    "embedding_cosine": "Cosine with the clean embedding",
}
SWEEPS = {
    "head": "all heads",
    "mlp": "all MLPs",
    "attn": "all attention blocks",
    "layer": "all layers",
    "neuron": "neurons of one layer",
    "position": "layers × positions",
}
SITES = {"z": "Output", "q": "Queries", "k": "Keys", "v": "Values"}
"""Where heads can be replaced. Keys and values belong to key/value heads, which query heads may share."""
HEADS_SWEPT = {
    "z": "all heads",
    "q": "the queries of all heads",
    "k": "the keys of all key/value heads",
    "v": "the values of all key/value heads",
}
SITES_OF = {
    "mlp": ("mlp_out",),
    "attn": ("attn_out",),
    "layer": ("attn_out", "mlp_out"),
    "neuron": ("mlp_post",),
    "position": ("attn_out", "mlp_out"),
}
SLICES = {"neuron": "unit={unit}"}
# The order in which a Part prints its slices.
SLICE_ORDER = ("head", "pos", "unit")
NAMES = {
    "mlp": "MLP {layer}",
    "attn": "attention {layer}",
    "layer": "layer {layer}",
    "neuron": "neuron {layer}.{unit}",
    "position": "layer {layer}, position {pos}",
}


@dataclass(frozen=True)
class Selection:
    """What the tray holds. kind, where, site: how parts added next are replaced, at which position (None: at all), and
    where heads are.
    """

    edits: tuple[Intervention, ...]
    kind: str
    where: int | None
    site: str = "z"
    vectors: Mapping[str, Definition] = field(default_factory=dict)


def metrics_of(kind: Kind) -> dict[str, str]:
    """The metrics that are defined on what a kind of model answers, by name, with their titles."""
    offered = {name: title for name, title in METRICS.items() if MEASURES[name].of == kind.output}
    if not kind.next_token:
        return {name: title for name, title in offered.items() if not MEASURES[name].next_token}
    return {name: title for name, title in offered.items() if name != "cross_entropy"}


def sweeps_of(info: Mapping[str, Any]) -> dict[str, str]:
    """The sweeps over parts that a model's main stack has."""
    lacks = set() if info["n_heads"] else {"head", "attn"}
    lacks |= set() if info["d_mlp"] else {"neuron"}
    lacks |= set() if info["d_mlp"] or info.get("n_experts") else {"mlp"}
    return {name: words for name, words in SWEEPS.items() if name not in lacks}


def selection(state: State) -> Selection:
    """The tray of a state, each edit once. Raises SpecError, SiteMissing for an edit that cannot be read."""
    tray = state.tray()
    kind = state.kind if state.kind in KINDS else "zero"
    return Selection(tuple(dict.fromkeys(tray.edits)), kind, state.where, site_of(state), tray.vectors)


def site_of(state: State) -> str:
    """Where the heads of a state are replaced; an unknown name is their output."""
    return state.site if state.site in SITES else "z"


def head_axis(site: str) -> str:
    """The axis that counts the heads of a site: `head`, or `kv_head` for keys and values."""
    return Site(site, 0).kind.head_axis or "head"


def group_of(info: Mapping[str, Any]) -> int:
    """Query heads per key/value head."""
    return int(info["n_heads"]) // int(info["n_kv_heads"] or 1)


def selection_or_none(state: State) -> Selection:
    """The same, with an unreadable tray as an empty one: what can still be clicked beside the error."""
    try:
        return selection(state)
    except WorkbenchError:
        return selection(state.model_copy(update={"edits": ""}))


def check_metric(state: State) -> None:
    """Raises InputError that says what the prompt lacks for the metric of the state; KL and loss lack nothing."""
    if not metric_field.is_own(state.metric) and state.metric not in METRICS:
        raise SpecError(f"'{state.metric}' is not a metric.", f"Known: {', '.join(METRICS)}.")
    name, needs = METRICS.get(state.metric, "This expression"), metric_field.needs(state.metric)
    if "answers" in needs and not state.answer:
        raise InputError(f"{name} needs an answer.", "Give the answer with the prompt, or measure KL or loss.")
    if "foils" in needs and not state.foil:
        raise InputError(f"{name} needs a foil.", "Give the wrong answer with the prompt, or choose another metric.")


def effect_experiment(state: State, chosen: Selection, inputs: Mapping[str, PromptSet] | None = None) -> Experiment:
    """All edits of the tray together. inputs: those of `given.inputs_for`; without them, the state's one prompt.

    Raises SpecError, InputError.
    """
    kind = next((kind for kind in KINDS if all(edit == _usual(state, kind, edit.at) for edit in chosen.edits)), None)
    at: list[Any] = [str(edit.at) if kind else edit.model_dump(mode="json") for edit in chosen.edits]
    params = {"kind": kind or "zero", "at": at, **_means(kind or "zero", state)}
    return _experiment(state, params, inputs, chosen.vectors)


def _usual(state: State, kind: str, at: Part) -> Intervention:
    """The edit of a kind that the page makes of a part."""
    return parse_intervention({"kind": kind, "at": at, **({"over": state.mean_over} if kind == "mean" else {})})


def sweep_experiment(state: State, inputs: Mapping[str, PromptSet] | None = None) -> Experiment:
    """Every part of one sort ablated alone, at all positions. inputs: as above. Raises SpecError, InputError."""
    if state.over not in SWEEPS:
        raise SpecError(f"'{state.over}' is not a sweep.", f"Known: {', '.join(SWEEPS)}.")
    kind = state.kind if state.kind in KINDS else "zero"
    within: dict[str, Any] = {"layers": [state.within or 0]} if state.over == "neuron" else {}
    within |= {"site": site_of(state)} if state.over == "head" else {}
    return _experiment(state, {"kind": kind, "over": state.over, **within, **_means(kind, state)}, inputs)


def _means(kind: str, state: State) -> dict[str, str]:
    # One prompt's mean at each position is its own value.
    return {"mean_over": "positions"} if kind == "mean" and state.mean_over == "positions" else {}


def _experiment(
    state: State,
    params: Mapping[str, Any],
    inputs: Mapping[str, PromptSet] | None,
    vectors: Mapping[str, Definition] | None = None,
) -> Experiment:
    metric = metric_field.asked(state.metric)
    if not is_many(state):
        check_metric(state)
    per_prompt = {"per_prompt": True} if is_many(state) and "at" in params else {}
    return normalised(
        Experiment(
            model=ModelRef.model_validate(state.model),
            inputs={**(inputs or {"clean": state.inputs()})},
            analysis="ablation",
            params={**params, "metric": metric, **per_prompt},
            vectors={**(vectors or {})},
        )
    )


def sweep_coords(state: State, info: Mapping[str, Any], length: int) -> dict[str, list[int]]:
    """The coordinates of the cells that the state's sweep will have. length: tokens of the prompt."""
    sizes = {"unit": int(info["d_mlp"]), "pos": length}
    sizes |= {"head": int(info["n_heads"]), "kv_head": int(info["n_kv_heads"])}
    layers = [state.within or 0] if state.over == "neuron" else list(range(int(info["n_layers"])))
    dim = head_axis(site_of(state)) if state.over == "head" else {"neuron": "unit", "position": "pos"}.get(state.over)
    return {"layer": layers} if dim is None else {"layer": layers, dim: list(range(sizes[dim]))}


def template(over: str, where: int | None = None, site: str = "z") -> str:
    """The parts of any cell of a sweep over `over`, joined by ';', with {layer}, {head}, {kv_head}, {unit}, {pos} to be
    filled in.

    where: restrict them to this position; a sweep over positions has its own. site: where heads are replaced.
    """
    place = "{pos}" if over == "position" else where
    own = {"head": f"head={{{head_axis(site)}}}", "neuron": "unit={unit}"}.get(over, "")
    slices = [text for text in (own, "" if place is None else f"pos={place}") if text]
    slices.sort(key=lambda text: SLICE_ORDER.index(text.partition("=")[0]))
    tail = f"[{','.join(slices)}]" if slices else ""
    sites = (site,) if over == "head" else SITES_OF[over]
    return ";".join(f"L{{layer}}.{name}{tail}" for name in sites)


def parts_at(over: str, at: Mapping[str, Coord], where: int | None = None, site: str = "z") -> tuple[Part, ...]:
    """The parts that one cell of a sweep over `over` stands for; `at` has its coordinates by axis."""
    return tuple(Part.parse(text) for text in template(over, where, site).format(**at).split(";"))


def name_template(over: str, site: str = "z", head: int = 0, group: int = 1) -> str:
    """What a cell of a sweep over `over` is called, with {layer} … to be filled in.

    head: the cell's head where heads are swept; a key/value head is named with the query heads that read it, `group` to
    each.
    """
    if over != "head":
        return NAMES[over]
    axis, whose = head_axis(site), f"{head_in_words(Site(site, 0))} {{layer}}.{{{head_axis(site)}}}"
    shared = f" ({query_heads_in_words(head, group)})" if axis == "kv_head" else ""
    return whose if site == "z" else f"{HEAD_SITES[site]} of {whose}{shared}"


def with_kind(state: State, kind: str) -> str:
    """`State.edits` with everything that is zeroed or mean-ablated treated in this way; other edits stay."""
    chosen = selection(state)
    return _written(state, chosen, [_usual(state, kind, e.at) if e.kind in KINDS else e for e in chosen.edits])


def with_where(state: State, where: int | None) -> str:
    """`State.edits` with every part that has positions restricted to this one (None: at all positions)."""
    chosen = selection(state)
    edits = [
        edit.model_copy(update={"at": replace(edit.at, pos=where)}) if "pos" in edit.at.site.axes else edit
        for edit in chosen.edits
    ]
    return _written(state, chosen, edits)


def with_parts(state: State, parts: tuple[Part, ...]) -> str:
    """`State.edits` with these parts added in the way of the state; those that are there already stay as they are."""
    chosen = selection(state)
    held = {edit.at for edit in chosen.edits}
    added = [_usual(state, chosen.kind, part) for part in parts if part not in held]
    return _written(state, chosen, [*chosen.edits, *added])


def _written(state: State, chosen: Selection, edits: list[Intervention]) -> str:
    return edit_text.write(tuple(dict.fromkeys(edits)), chosen.vectors, state.mean_over)
