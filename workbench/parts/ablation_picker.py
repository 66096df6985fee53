"""The part picker: every head, attention block, MLP and layer as a cell; neurons by number; positions by token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dash_mantine_components as dmc
from dash import html

from hooks.tokens import TokenBatch
from workbench.parts.ablation_cells import host, readout
from workbench.parts.ablation_request import Selection, group_of, head_axis, name_template, template
from workbench.parts.ablation_scope import Scope
from workbench.parts.chips import chips_of

PREFIXES = {"": "", "encoder": "encoder ", "cross": "cross-attention ", "vision": "image "}
BLOCKS = {"attn": "attn", "mlp": "MLP", "layer": "layer"}
HINT = "Click a part to ablate it; click again to take it out."


def picker(info: Mapping[str, Any], chosen: Selection, scope: Scope | None = None) -> html.Div:
    """The grid of parts of a stack: layers as rows; heads, attention, MLP and whole layer as columns.

    scope: what can be edited; without it, every layer of the main stack has all parts.
    """
    spec = picker_spec(info, chosen) if scope is None else scoped_spec(scope, chosen)
    return html.Div([host("abl-picker", spec), readout(HINT)], className="abl-figure")


def scoped_spec(scope: Scope, chosen: Selection) -> dict[str, Any]:
    """The same as `picker_spec` for the parts of a scope: a layer's cell is empty where it has no such part."""
    axis = head_axis(chosen.site)
    heads = list(range(int(scope.sizes["n_kv_heads" if axis == "kv_head" else "n_heads"])))
    if not scope.there.get(scope.site(chosen.site)):
        heads = []
    layers, blocks = list(range(int(scope.sizes["n_layers"]))), scope.blocks
    spec = picker_spec({**scope.sizes, "n_heads": len(heads), "n_kv_heads": len(heads)}, chosen)
    targets = [
        [scope.head_target(layer, head, chosen.site, chosen.where) for head in heads]
        + [scope.targets(layer, block, chosen.where) for block in blocks]
        for layer in layers
    ]
    group = int(scope.sizes["n_heads"]) // int(scope.sizes["n_kv_heads"] or 1)
    names = [name_template("head", chosen.site, head, group) for head in heads] + [block_name(b) for b in blocks]
    words = ", ".join(blocks.values())
    word = "key/value head" if axis == "kv_head" else "head"
    return {
        **spec,
        "cols": [str(head) for head in heads] + list(blocks.values()),
        "colKeys": [heads + [0] * len(blocks)] * len(layers),
        "target": "",
        "targets": targets,
        "name": [f"{PREFIXES[scope.name]}{name}" for name in names],
        "gap": len(heads),
        "label": f"Parts of the model: layers as rows; {word}s, {words} as columns",
    }


def block_name(block: str) -> str:
    """What a cell beside the heads is called, with {layer} to be filled in."""
    number = block.removeprefix("expert ")
    if number != block:
        return f"expert {number} of layer {{layer}}"
    return "mixer {layer}" if block == "mixer" else name_template(block)


def picker_spec(info: Mapping[str, Any], chosen: Selection) -> dict[str, Any]:
    """What the browser needs to draw the picker. Parts added keep the position of the tray.

    The columns of heads are key/value heads where keys or values are replaced, each named with its query heads.
    """
    axis = head_axis(chosen.site)
    heads = list(range(int(info["n_kv_heads" if axis == "kv_head" else "n_heads"])))
    layers = list(range(int(info["n_layers"])))
    word = "key/value head" if axis == "kv_head" else "head"
    return {
        "rows": [str(layer) for layer in layers],
        "cols": [str(head) for head in heads] + list(BLOCKS.values()),
        "rowName": "layer",
        "colName": word,
        "rowKeys": [{"layer": layer} for layer in layers],
        "colDim": axis,
        "colKeys": [heads + [0] * len(BLOCKS)] * len(layers),
        "levels": None,
        "texts": None,
        "scale": "pick",
        "unit": "",
        "action": "toggle",
        "target": [template("head", chosen.where, chosen.site)] * len(heads)
        + [template(b, chosen.where) for b in BLOCKS],
        "name": [name_template("head", chosen.site, head, group_of(info)) for head in heads]
        + [name_template(block) for block in BLOCKS],
        "kind": chosen.kind,
        "gap": len(heads),
        "label": f"Parts of the model: layers as rows; {word}s, attention, MLP and whole layer as columns",
        "say": HINT,
    }


def neuron_adder(info: Mapping[str, Any]) -> html.Div:
    """Two numbers and a button: one neuron by layer and unit."""
    layers, units = int(info["n_layers"]), int(info["d_mlp"])
    return html.Div(
        [
            _number("abl-neuron-layer", f"Layer, 0 to {layers - 1}", layers),
            _number("abl-neuron-unit", f"Neuron, 0 to {units - 1}", units),
            dmc.Button("Add neuron", id="abl-neuron-add", variant="default"),
        ],
        className="abl-neuron",
    )


def _number(id: str, label: str, count: int) -> dmc.NumberInput:
    whole = {"allowDecimal": False, "allowNegative": False, "clampBehavior": "strict"}
    return dmc.NumberInput(id=id, label=label, min=0, max=count - 1, **whole)


def position_chips(batch: TokenBatch, where: int | None) -> html.Div:
    """One chip for all positions and one per token: where the parts are replaced."""
    chips = [_chip("all positions", None, where is None)]
    chips += [_chip(chip.shown, chip.index, where == chip.index) for chip in chips_of(batch)]
    label = {"aria-label": "Positions at which the parts are replaced"}
    return html.Div(chips, id="abl-chips", className="abl-chips", role="group", dir="ltr", **label)


def _chip(text: str, index: int | None, on: bool) -> html.Button:
    name = "Replace at all positions" if index is None else f"Replace only at position {index}: {text}"
    return html.Button(
        html.Bdi(text, dir="auto"),
        type="button",
        className="wb-chip" if index is not None else "abl-chip-all",
        **{
            "data-abl-where": "" if index is None else str(index),
            "aria-pressed": "true" if on else "false",
            "aria-label": name,
            "title": "" if index is None else f"position {index}",
        },
    )
