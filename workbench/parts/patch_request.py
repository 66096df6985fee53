"""From the state of the Patch page to its experiment, to the cells of its map, and to the edit of each cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analyses.analysis import normalised
from analyses.experiment import Experiment
from analyses.grid import Coord
from analyses.maps import usual_window, window_of
from hooks.errors import InputError, WorkbenchError
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from hooks.sites import Part, Site
from hooks.tokens import TokenBatch
from workbench.edit_text import item
from workbench.parts import metric_field
from workbench.parts.ablation_request import check_metric
from workbench.parts.given import inputs_of, is_many
from workbench.parts.kinds import Kind
from workbench.parts.patch_methods import Method, method_of, metric_of, over_of, site_of
from workbench.urls import State

if TYPE_CHECKING:
    from workbench.workspace import Workspace

SUBJECT = "subject"
SWEEPS = ("heads", "mlps")


@dataclass(frozen=True)
class Asked:
    """What a state asks for. site, over: of its map, without the layer. batch: the clean prompts."""

    state: State
    method: Method
    experiment: Experiment
    site: str
    over: tuple[str, ...]
    batch: TokenBatch
    metric: str

    @property
    def params(self) -> Mapping[str, Any]:
        """The experiment's parameters, all of them."""
        return self.experiment.params


def asked(workspace: Workspace, state: State, summary: Mapping[str, Any]) -> Asked:
    """The experiment of a state. Raises InputError for prompts that the method cannot use, SpecError, ModelError."""
    method, kind, inputs = method_of(state), Kind.of(summary), inputs_of(workspace, state)
    site, metric = site_of(state, summary), metric_of(state, kind)
    if not is_many(state) and method.name != "direct_logit_attribution":
        check_metric(state.model_copy(update={"metric": metric}))
    batch = workspace.tokens(state.model, inputs["clean"])
    kept = _kept(workspace, state, method, inputs, batch)
    params = {**PARAMS[method.name](state, site, batch), "per_prompt": is_many(state)}
    if method.name != "direct_logit_attribution":
        params["metric"] = metric_field.asked(metric)
    whole = Experiment(model=ModelRef.model_validate(state.model), inputs=kept, analysis=method.name, params=params)
    over = _beside(over_of(state, site)) if method.restricted else ()
    return Asked(state, method, normalised(whole), site, over, batch, metric)


def _kept(
    workspace: Workspace, state: State, method: Method, inputs: Mapping[str, PromptSet], batch: TokenBatch
) -> dict[str, PromptSet]:
    """The prompt sets that a method reads. Raises InputError where the pair is missing or of different lengths."""
    clean, corrupt = inputs["clean"], inputs.get("corrupt")
    named = SUBJECT in batch.positions
    traced = method.name == "causal_tracing" and not state.noised and not named
    if not (method.pair or traced):
        return {"clean": clean}
    if corrupt is None:
        raise InputError("there is no corrupt prompt.", "Give the other prompt of the pair, or prompts that have one.")
    check_lengths(batch, workspace.tokens(state.model, corrupt))
    return {"clean": clean, "corrupt": corrupt}


def check_lengths(clean: TokenBatch, corrupt: TokenBatch) -> None:
    """Raises InputError, with the pair's number where there are several, unless both have equally many tokens."""
    for number, (here, there) in enumerate(zip(clean.lengths, corrupt.lengths, strict=True)):
        if here != there:
            which = "" if len(clean) == 1 else f"of pair {number + 1} "
            raise InputError(
                f"the clean prompt {which}has {here} tokens, the corrupt one {there}.",
                "Activations are copied position by position: reword one of them until both have equally many.",
            )


def positions_in(text: str) -> tuple[int | str, ...]:
    """Positions as a reader writes them: "2, 3", "last"."""
    return tuple(int(word) if word.isdigit() else word for word in map(str.strip, text.split(",")) if word)


def _beside(axes: str) -> tuple[str, ...]:
    """The axes of a map beside the layer."""
    return tuple(axis for axis in axes.split(",") if axis != "layer")


def _patching(state: State, site: str, batch: TokenBatch) -> dict[str, Any]:
    axes = over_of(state, site)
    params: dict[str, Any] = {"direction": state.direction, "site": site}
    params["over"] = ["layer", *_beside(axes)]
    if axes == "unit":
        params["layers"] = [state.within or 0]
    return params | (_named(batch) if "pos" in axes else {})


def _attribution(state: State, site: str, batch: TokenBatch) -> dict[str, Any]:
    return {**_patching(state, site, batch), "method": "atp_star" if state.star else "atp"}


def _named(batch: TokenBatch, field: str = "positions") -> dict[str, Any]:
    """Prompts of several lengths have only their named positions in common."""
    return {field: list(batch.positions)} if len(set(batch.lengths)) > 1 else {}


def _tracing(state: State, site: str, batch: TokenBatch) -> dict[str, Any]:
    at = {"at": list(positions_in(state.noised))} if state.noised else {}
    return {**at, "site": site, "draws": state.draws, "window": state.window, **_named(batch)}


def _knockout(state: State, site: str, batch: TokenBatch) -> dict[str, Any]:
    keys = {"keys": list(positions_in(state.keys)), "over": ["layer"]} if state.keys else {}
    keys = keys or {"over": ["layer", "k_pos"], **_named(batch, "keys")}
    return {"queries": list(positions_in(state.queries)), **keys, "window": state.window, "site": site}


def _path(state: State, site: str, batch: TokenBatch) -> dict[str, Any]:
    senders = [text for text in state.senders.split(";") if text]
    receivers = [text for text in state.receivers.split(";") if text]
    if not senders or not receivers:
        raise InputError("a path has senders and receivers.", "Choose heads or mlps, and logits or an input.")
    return {
        "senders": senders[0] if senders[0] in SWEEPS and len(senders) == 1 else senders,
        "receivers": "logits" if receivers == ["logits"] else receivers,
        "direction": state.direction,
        "freeze_mlps": state.freeze,
    }


def _direct(state: State, site: str, batch: TokenBatch) -> dict[str, Any]:
    return {"by": state.by, "self_repair": state.repair}


PARAMS: Mapping[str, Callable[[State, str, TokenBatch], dict[str, Any]]] = {
    "activation_patching": _patching,
    "attribution_patching": _attribution,
    "causal_tracing": _tracing,
    "attention_knockout": _knockout,
    "path_patching": _path,
    "direct_logit_attribution": _direct,
}


def coords_of(asked: Asked, info: Mapping[str, Any]) -> dict[str, tuple[Coord, ...]]:
    """The axes of the map with their labels, as they will be; empty where only the run can tell (components)."""
    params, layers = asked.params, tuple(range(int(info["n_layers"])))
    if asked.method.restricted:
        chosen = tuple(params["layers"] or layers)
        return {"layer": chosen} | dict(_axis(asked, axis, info) for axis in asked.over)
    if asked.method.name == "causal_tracing":
        return {"layer": layers} | dict([_axis(asked, "pos", info)])
    if asked.method.name == "attention_knockout":
        return {"layer": layers} | dict(_axis(asked, axis, info) for axis in params["over"] if axis != "layer")
    if asked.method.name == "path_patching":
        senders = params["senders"]
        if senders == "heads":
            return {"layer": layers, "head": tuple(range(int(info["n_heads"])))}
        return {"layer": layers} if senders == "mlps" else {"sender": tuple(senders)}
    width = {"head": "n_heads", "neuron": "d_mlp"}.get(params["by"])
    axis = "head" if params["by"] == "head" else "unit"
    return {} if width is None else {"layer": layers, axis: tuple(range(int(info[width])))}


def _axis(asked: Asked, axis: str, info: Mapping[str, Any]) -> tuple[str, tuple[Coord, ...]]:
    sizes = {"head": "n_heads", "kv_head": "n_kv_heads", "unit": "d_mlp", "expert": "n_experts"}
    if axis in sizes:
        return axis, tuple(range(int(info[sizes[axis]] or 0)))
    named = asked.params.get("positions") or asked.params.get("keys")
    if named:
        return ("position" if any(isinstance(place, str) for place in named) else axis), tuple(named)
    return axis, tuple(range(side_of(asked, axis).lengths[0]))


def side_of(asked: Asked, axis: str) -> TokenBatch:
    """The tokens that a position axis counts: the encoder's for keys of cross-attention."""
    cross = axis == "k_pos" and asked.site.startswith("cross_")
    return asked.batch.sides.get("encoder", asked.batch) if cross else asked.batch


def edits_at(asked: Asked, at: Mapping[str, Coord], n_layers: int) -> tuple[str, ...]:
    """The edits of the tray that a cell stands for, as text: a patch from the corrupt prompt, cut edges, a zero.

    The tray acts on the clean prompts, so a patch takes the corrupt value whichever way the map was made. () where a
    cell stands for none.
    """
    try:
        return _edits(asked, at, n_layers)
    except WorkbenchError:  # a named part of another stack, or a component that is no part
        return ()


def _edits(asked: Asked, at: Mapping[str, Coord], n_layers: int) -> tuple[str, ...]:
    layer = int(at.get("layer", 0))
    head = at.get("head", at.get("kv_head"))
    if asked.method.name == "direct_logit_attribution":
        if "component" in at:
            return ()
        own = "z" if "head" in at else "mlp_post"
        return (f"zero:{Part(Site(own, layer), head=_whole(head), unit=_whole(at.get('unit')))}",)
    if "corrupt" not in asked.experiment.inputs and asked.method.name != "attention_knockout":
        return ()
    if asked.method.name == "path_patching":
        if "sender" in at:
            return (f"patch:{Part.parse(str(at['sender']))}",)
        site = "z" if "head" in at else "mlp_out"
        return (f"patch:{Part(Site(site, layer), head=_whole(head))}",)
    if asked.method.name == "attention_knockout":
        return _cut(asked, layer, at.get("k_pos", at.get("position")), n_layers)
    fields: dict[str, Any] = {axis: at[axis] for axis in ("pos", "q_pos", "k_pos", "unit", "expert") if axis in at}
    if "position" in at:
        fields["pos"] = at["position"]
    return (f"patch:{Part(Site(asked.site, layer), head=_whole(head), **fields)}",)


def _cut(asked: Asked, layer: int, key: Coord | None, n_layers: int) -> tuple[str, ...]:
    window = asked.params["window"] or usual_window(n_layers)
    keys: Sequence[Any] = asked.params["keys"] if key is None else (key,)
    return tuple(
        item({"kind": "mask_edge", "at": str(Part(Site(asked.site, near), q_pos=query, k_pos=one))})
        for near in window_of(layer, window, n_layers)
        for query in asked.params["queries"]
        for one in keys
    )


def _whole(value: Coord | None) -> int | None:
    return None if value is None else int(value)
