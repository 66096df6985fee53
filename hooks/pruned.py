"""Weights without some of their parts: a model that gives, unedited, the logits that an edited run gives.

A head acts on the rest of the model only through its columns of the output projection, and a neuron only through its
column of W_out. So zero at a head's z is zero in these columns, and a part that is constant, such as its mean over
positions, is those columns times the constant, added to the projection's bias where it has one. Zero at all that
attention or an MLP writes is a projection of zeros, its bias included.

Where a config can say it, the parts are cut out and tensors shrink: the same number of neurons in every layer, or the
same number of query heads in every layer such that every key/value head that stays serves equally many. Elsewhere
weights are set to zero and keep their shapes. Michel et al. 2019, arXiv 1905.10650 (heads).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from hooks.dense import is_plain
from hooks.errors import ModelError, SpecError
from hooks.interventions import Intervention
from hooks.model import Instrumented
from hooks.ports import Port
from hooks.projections import in_features, out_features
from hooks.sites import MAIN, Part, Site

if TYPE_CHECKING:
    from transformers import PreTrainedModel

READ = {"z": "z", "mlp_post": "mlp_post", "attn_out": "z", "mlp_out": "mlp_post"}
"""The site that the projection reads through which each prunable site acts."""
CONSTANT = ("zero", "mean")
NEURON_FIELDS = ("intermediate_size", "n_inner", "ffn_dim", "d_ff", "ffn_hidden_size")
HEAD_FIELDS = ("num_attention_heads", "num_key_value_heads", "head_dim")


@dataclass(frozen=True, eq=False)
class Removal:
    """What becomes constant. columns: by path of a projection, the value of each input that it no longer reads.

    silenced: paths of projections that write nothing any more. heads, neurons: those that are gone, by layer.
    """

    columns: Mapping[str, Mapping[int, float]]
    silenced: frozenset[str]
    heads: Mapping[int, frozenset[int]] = field(default_factory=dict)
    neurons: Mapping[int, frozenset[int]] = field(default_factory=dict)

    @property
    def zero(self) -> bool:
        """Whether all that is constant is 0, so that no bias changes."""
        return not any(value for held in self.columns.values() for value in held.values())


def removal_of(
    model: Instrumented, edits: Sequence[Intervention], constant: Callable[[Intervention], Tensor]
) -> Removal:
    """The edits as parts to take out. constant: the value of a part under an edit that is not zero, in its shape.

    Raises SpecError for edits that no weights can replace, ModelError for weights that cannot be changed.
    """
    if not edits:
        raise SpecError("the experiment edits nothing.", "Save an ablation of heads or neurons.")
    columns: dict[str, dict[int, float]] = {}
    silenced: set[str] = set()
    model.require_writable(edits)
    for edit in edits:
        _check(edit)
        port = model.weights.port(replace(edit.at.site, name=READ[edit.at.site.name]))
        _check_alone(model, port)
        module = model.weights.module(port.module)
        if not is_plain(module):
            raise ModelError(
                f"the weights of {port.module} are quantised or have an adapter beside them.",
                "Save the ablation of the model in full precision, with its adapter merged.",
            )
        if edit.at.site.name in ("attn_out", "mlp_out"):
            silenced.add(port.module)
            continue
        places = _places(port, edit.at, in_features(module))
        value = None if edit.kind == "zero" else constant(edit).expand_as(places)
        if value is not None and not isinstance(module.bias, Tensor):
            raise SpecError(
                f"{edit.at} has a mean that is not zero, and {port.module} has no bias to hold what it writes.",
                "Save a zero ablation, or use a model whose output projection has a bias.",
            )
        numbers = torch.zeros(places.shape) if value is None else value
        held = columns.setdefault(port.module, {})
        held |= dict(zip(places.flatten().tolist(), numbers.flatten().tolist(), strict=True))
    return Removal(columns, frozenset(silenced), *(_gone(model, columns, site) for site in ("z", "mlp_post")))


def _check(edit: Intervention) -> None:
    """Raises SpecError for an edit that is not constant over positions and prompts, or not at a part that can go."""
    name, part = edit.at.site.name, edit.at
    if edit.kind not in CONSTANT or (edit.kind == "mean" and getattr(edit, "over", "") != "positions"):
        raise SpecError(
            f"{edit.kind} of {part} depends on the prompt or the position, and weights do not.",
            "Only zero, and the mean over prompts and positions together, can be saved.",
        )
    if name not in READ or part.site.stack != MAIN or (edit.kind == "mean" and name != READ[name]):
        raise SpecError(
            f"{edit.kind} of {part} cannot be saved in weights.",
            "Zero heads (L3.z[head=5]), neurons (L3.mlp_post[unit=7]), or all of attn_out or mlp_out.",
        )
    partial = name == "z" and part.unit is not None
    if part.pos is not None or partial or (name != READ[name] and part.unit is not None):
        raise SpecError(f"{part} is a part of a head or of some positions.", "Weights act at every position alike.")


def _check_alone(model: Instrumented, port: Port) -> None:
    """Raises SpecError for a projection that several layers share."""
    shared = [
        layer
        for layer in range(model.info.n_layers)
        for name in ("z", "mlp_post")
        if Site(name, layer) in model.sites and model.weights.port(Site(name, layer)).module == port.module
    ]
    if len(shared) > 1:
        raise SpecError(f"layers {shared} share {port.module}.", "What is taken out of one would be gone in all.")


def _places(port: Port, part: Part, width: int) -> Tensor:
    """The projection's inputs that belong to a part, [head d_head] or [unit] or one of these."""
    places = _open(port, width)
    if part.head is not None:
        places = places[part.head]
    return places[part.unit : part.unit + 1] if part.unit is not None else places


def _open(port: Port, width: int) -> Tensor:
    """Numbers of the features of an edge, in the axes of the site that is seen there."""
    return replace(port.view, scale=1.0).open(torch.arange(width)[None, None], 1)[0, 0]


def _gone(model: Instrumented, columns: Mapping[str, Mapping[int, float]], name: str) -> dict[int, frozenset[int]]:
    """The heads (of z) or neurons (of mlp_post) of each layer whose inputs are all constant."""
    gone = {}
    for layer in range(model.info.n_layers):
        if Site(name, layer) in model.sites:
            port = model.weights.port(Site(name, layer))
            held = columns.get(port.module, {})
            units = _open(port, in_features(model.weights.module(port.module)))
            rows = units if units.ndim == 2 else units[:, None]
            gone[layer] = frozenset(n for n, row in enumerate(rows.tolist()) if held.keys() >= set(row))
    return gone


def make_constant(model: PreTrainedModel, removal: Removal) -> None:
    """Change a model's weights in place, so that what is removed is constant. Shapes stay."""
    with torch.no_grad():
        for path, values in removal.columns.items():
            module = model.get_submodule(path)
            weight, places = _out_in(module), torch.tensor(list(values))
            given = torch.tensor(list(values.values()), dtype=torch.float64)
            if given.any():
                bias = cast(Tensor, module.bias)
                bias.copy_(bias.double() + weight[:, places].double() @ given.to(weight.device))
            weight[:, places] = 0.0
        for path in removal.silenced:
            for parameter in model.get_submodule(path).parameters():
                parameter.zero_()


def _out_in(module: nn.Module) -> Tensor:
    """A view [out in] of a projection's weight; Linear keeps it so, Conv1D the other way round."""
    weight = cast(Tensor, module.weight)
    return weight if hasattr(module, "in_features") else weight.T


@dataclass
class _Cut:
    """The outputs and inputs that one projection loses."""

    outputs: set[int] = field(default_factory=set)
    inputs: set[int] = field(default_factory=set)


def shrunk(model: PreTrainedModel, opened: Instrumented, removal: Removal) -> PreTrainedModel | None:
    """A smaller model of the same class that computes what `model`, made constant, does; None where no config says so.

    opened: the same model, under observation.
    """
    config, cuts = copy.deepcopy(model.config), dict[str, _Cut]()
    said = [change(opened, removal, config.get_text_config(), cuts) for change in (_fewer_heads, _fewer_neurons)]
    # Parts of both sorts, of which a config can say one alone, would leave the reader guessing.
    wanted = [any(removal.heads.values()), any(removal.neurons.values())]
    if not any(wanted) or said != wanted:
        return None
    state = dict(model.state_dict())
    for path, cut in cuts.items():
        for name, tensor in _sliced(model.get_submodule(path), cut).items():
            state[f"{path}.{name}"] = tensor
    smaller = cast("PreTrainedModel", type(model)._from_config(config, attn_implementation="eager"))
    cast(nn.Module, smaller).to(model.dtype)
    try:
        smaller.load_state_dict(state)
    except RuntimeError:
        # Further weights have a size per head or neuron, such as a norm over all queries: no config describes the cut.
        return None
    smaller.generation_config = model.generation_config
    return smaller.eval()


def _fewer_heads(opened: Instrumented, removal: Removal, config: Any, cuts: dict[str, _Cut]) -> bool:
    """Cut out the heads that are gone and say so in `config`, where it can."""
    info, kept = opened.info, set[tuple[int, int]]()
    if not any(removal.heads.values()) or not all(getattr(config, name, None) for name in HEAD_FIELDS):
        return False
    pieces: list[tuple[Port, Iterable[int]]] = []
    for layer in range(info.n_layers):
        gone = removal.heads.get(layer, frozenset())
        sizes = [
            sum(h not in gone for h in range(g * info.group, (g + 1) * info.group)) for g in range(info.n_kv_heads)
        ]
        groups = {g for g, size in enumerate(sizes) if size == 0}
        left = {size for size in sizes if size}
        sites = {name: Site(name, layer) for name in ("q", "k", "v", "z")}
        if len(left) != 1 or not opened.sites.issuperset(sites.values()):
            return False
        kept.add((sum(sizes), info.n_kv_heads - len(groups)))
        heads = {"q": gone, "z": gone, "k": groups, "v": groups}
        pieces += [(opened.weights.port(site), heads[name]) for name, site in sites.items()]
    if len(kept) != 1:
        return False
    for port, which in pieces:
        _cut(opened, port, which, cuts)
    config.num_attention_heads, config.num_key_value_heads = kept.pop()
    return True


def _fewer_neurons(opened: Instrumented, removal: Removal, config: Any, cuts: dict[str, _Cut]) -> bool:
    """Cut out the neurons that are gone and say so in `config`, where it can."""
    info = opened.info
    counts = {len(removal.neurons.get(layer, frozenset())) for layer in range(info.n_layers)}
    size = next((name for name in NEURON_FIELDS if hasattr(config, name)), None)
    # GPT-2 says None for four times the residual's width.
    if size is None or counts == {0} or len(counts) != 1 or getattr(config, size) not in (info.d_mlp, None):
        return False
    names = ("mlp_pre", "mlp_up", "mlp_post") if info.gated else ("mlp_pre", "mlp_post")
    for layer in range(info.n_layers):
        for site in (Site(name, layer) for name in names):
            if site not in opened.sites:
                return False
            _cut(opened, opened.weights.port(site), removal.neurons[layer], cuts)
    setattr(config, size, info.d_mlp - counts.pop())
    return True


def _cut(opened: Instrumented, port: Port, which: Iterable[int], cuts: dict[str, _Cut]) -> None:
    """Note which features of an edge belong to heads or neurons that go."""
    module = opened.weights.module(port.module)
    width = in_features(module) if port.side == "in" else out_features(module)
    units = _open(port, width)
    held = cuts.setdefault(port.module, _Cut())
    (held.inputs if port.side == "in" else held.outputs).update(units[list(which)].flatten().tolist())


def _sliced(module: nn.Module, cut: _Cut) -> dict[str, Tensor]:
    """The weight and bias of a projection without the outputs and inputs that it loses."""
    rows = [row for row in range(out_features(module)) if row not in cut.outputs]
    columns = [column for column in range(in_features(module)) if column not in cut.inputs]
    weight = _out_in(module).detach()[rows][:, columns]
    kept = {"weight": weight if hasattr(module, "in_features") else weight.T.contiguous()}
    if isinstance(module.bias, Tensor):
        kept["bias"] = module.bias.detach()[rows]
    return kept
