"""Direct logit attribution as pictures: what each layer writes towards the answer, and which parts write most.

Pure: grids in, frozen values and figures out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from analyses.grid import Grid
from workbench.figures import theme as themes
from workbench.figures.numbers import number

KINDS = {"attention": "Attention", "mlp": "MLP", "rest": "Other"}
TICKS = {"embedding": "emb.", "biases": "bias"}
_LAYER = re.compile(r"(\d+)$")
_SITES = {"MLP": "mlp_out", "attention": "attn_out", "mixer": "mixer_out", "cross-attention": "cross_attn_out"}


@dataclass(frozen=True)
class Written:
    """What one part writes towards the answer. layer: None before the first and behind the last.

    part: its address, "" for what is no part, such as a bias.
    """

    name: str
    value: float
    kind: str
    layer: int | None
    part: str = ""


def of_prompt(grids: Mapping[str, Grid], name: str, prompt: int | None) -> Grid | None:
    """A grid of the result, of one prompt where there are several; None where the result has none."""
    if prompt is not None and f"{name}_by_prompt" in grids:
        return grids[f"{name}_by_prompt"].select(prompt=prompt)
    return grids.get(name)


def heads_of(grids: Mapping[str, Grid], prompt: int | None = None) -> Grid | None:
    """The map of heads; None where what layers write is no sum of heads."""
    grid = of_prompt(grids, "effect", prompt)
    return grid if grid is not None and grid.dims == ("layer", "head") else None


def parts_of(grids: Mapping[str, Grid], prompt: int | None = None) -> tuple[Written, ...]:
    """Every addend once: each head, or attention whole where it is no sum of heads; MLPs, embeddings, biases."""
    heads = heads_of(grids, prompt)
    found: list[Written] = []
    if heads is not None:
        known = np.ones(heads.values.shape, dtype=bool) if heads.valid is None else heads.valid
        for row, head in np.argwhere(known):
            layer = int(heads.coords["layer"][row])
            name, value = f"{layer}.{head}", float(heads.values[row, head])
            found.append(Written(f"head {name}", value, "attention", layer, f"L{layer}.z[head={head}]"))
    whole = of_prompt(grids, "effect" if heads is None else "others", prompt)
    for row in whole.records() if whole is not None else ():
        found.append(component(str(row["component"]), float(row["value"] or 0.0)))
    return tuple(found)


def component(name: str, value: float) -> Written:
    """An addend that is named in words, such as "MLP 3", with the part that it is."""
    match = _LAYER.search(name)
    layer = int(match[1]) if match else None
    word = name[: match.start()].strip() if match else name
    if layer is None:
        return Written(name, value, "rest", None)
    kind = "mlp" if "MLP" in word else "attention" if "attention" in word or word == "heads" else "rest"
    site = _SITES.get(word, "")
    return Written(name, value, kind, layer, f"L{layer}.{site}" if site else "")


def total_of(grids: Mapping[str, Grid], prompt: int | None = None) -> float:
    """What all addends sum to."""
    grid = of_prompt(grids, "total", prompt)
    return float(grid.values) if grid is not None else 0.0


def strongest(parts: Sequence[Written], count: int = 12) -> list[Written]:
    """The parts that write most, in either direction."""
    return sorted((part for part in parts if part.value), key=lambda part: -abs(part.value))[:count]


def by_layer(parts: Sequence[Written], n_layers: int) -> dict[str, np.ndarray]:
    """What is written of each kind, [start, layers …, end]: the rest at the start, biases at the end."""
    sums = {kind: np.zeros(n_layers + 2) for kind in KINDS}
    for part in parts:
        place = part.layer + 1 if part.layer is not None else n_layers + 1 if "bias" in part.name else 0
        sums[part.kind][place] += part.value
    return sums


def limits_of(*sums: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """The range of values that some strips share, with room above and below."""
    ends = [0.0]
    for one in sums:
        stack = np.stack(list(one.values()))
        running = stack.sum(0).cumsum()
        ends += [np.where(stack > 0, stack, 0).sum(0).max(), np.where(stack < 0, stack, 0).sum(0).min()]
        ends += [running.max(), running.min()]
    room = 0.06 * (max(ends) - min(ends) or 1.0)
    return float(min(ends) - room), float(max(ends) + room)


def strip(
    sums: Mapping[str, np.ndarray], *, of: str, limits: tuple[float, float], theme: themes.ThemeName = "light"
) -> go.Figure:
    """What is written in each layer, attention and MLP stacked, and the running sum that ends at the difference itself.

    of: what the addends sum to, such as "logit difference".
    """
    count = len(next(iter(sums.values())))
    names = ["embedding", *map(str, range(count - 2)), "biases"]
    ends = not any(values[-1] for values in sums.values())
    shown = count - 1 if ends else count
    colours = dict(zip(KINDS, (themes.OKABE_ITO[0], themes.OKABE_ITO[1], themes.role("muted", theme)), strict=True))
    figure = go.Figure()
    for kind, values in sums.items():
        hover = [f"{_place(name)}, {KINDS[kind]}: <b>{number(float(v), signed=True)}</b> logits"
                 for name, v in zip(names, values, strict=True)]  # fmt: skip
        figure.add_bar(x=list(range(shown)), y=values[:shown], name=KINDS[kind], marker_color=colours[kind],
                       hovertext=hover[:shown], hovertemplate="%{hovertext}<extra></extra>")  # fmt: skip
    running = np.sum(list(sums.values()), axis=0).cumsum()
    hover = [f"{_place(name)}, sum so far: <b>{number(float(v), signed=True)}</b> logits"
             for name, v in zip(names, running, strict=True)]  # fmt: skip
    figure.add_scatter(x=list(range(shown)), y=running[:shown], name="Sum so far", mode="lines+markers",
                       line={"color": themes.role("text", theme), "width": 1.5, "shape": "hvh"}, marker={"size": 4},
                       hovertext=hover[:shown], hovertemplate="%{hovertext}<extra></extra>")  # fmt: skip
    step = max(1, (count - 2) // 15)
    ticks = [n for n in range(shown) if n in (0, count - 1) or (n - 1) % step == 0]
    figure.update_layout(template=themes.template(theme), barmode="relative", bargap=0.2, hovermode="closest",
                         legend={"orientation": "h", "y": 1.12, "x": 0}, margin={"t": 28, "r": 8})  # fmt: skip
    figure.update_xaxes(
        title_text="layer",
        tickvals=ticks,
        ticktext=[TICKS.get(names[n], names[n]) for n in ticks],
        tickangle=0,
        showgrid=False,
    )
    figure.update_yaxes(title_text=f"{of} (logits)", range=list(limits))
    return figure


def _place(name: str) -> str:
    return f"layer {name}" if name.isdigit() else name
