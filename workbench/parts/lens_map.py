"""The map of the lens, the open cell beside it, and the edits that the cell stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dash import html

from analyses.result import Result
from hooks.tokens import TokenBatch
from workbench.figures import lens
from workbench.figures.numbers import UNIT_WORDS, number, whole
from workbench.figures.table import is_signed
from workbench.parts.ablation_cells import colour_bar, host, readout
from workbench.parts.empty import sentence
from workbench.parts.icons import icon
from workbench.parts.lens_request import Place, part_at, place_of, prompt_of
from workbench.urls import State

SAY = "Click a cell to open it, or walk with the arrow keys and press Enter; a zeroes its stream, p goes to Patch."


@dataclass(frozen=True)
class View:
    """What is looked at. by: the quantity, and its title. editable: whether streams can be edited; can_patch: whether
    there is a corrupt prompt to patch them from.
    """

    state: State
    batch: TokenBatch
    at: str
    by: str
    n_layers: int
    title: str
    editable: bool = True
    can_patch: bool = False

    @property
    def prompt(self) -> int | None:
        return prompt_of(self.state, self.batch)

    def strings(self, width: int) -> tuple[str, ...]:
        """The tokens over the columns; () where several prompts, or a whole image, share them."""
        if self.prompt is None or width == 1 or len(self.batch.strings[self.prompt]) < width:
            return ()
        return tuple(self.batch.strings[self.prompt][:width])

    def place(self, result: Result) -> Place:
        """The open cell."""
        grid = result.grid("rank")
        layers = tuple(int(layer) for layer in grid.coords["layer"])
        return place_of(self.state, self.batch, self.at, layers, grid.values.shape[1], self.n_layers)


def titles(result: Result, prompt: int | None) -> dict[str, str]:
    """What the cells of a lens can be coloured by."""
    return lens.quantities(result.grids, prompt, answers=bool(result.experiment.inputs["clean"].answers))


def drawn(
    id: str, view: View, result: Result, *, beside: Sequence[Result] = (), change_from: Result | None = None
) -> Any:
    """The map with its colour bar, and the open cell. beside: lenses that share the range of colours.

    change_from: the clean lens, whose numbers are subtracted.
    """
    grid, place = lens.quantity_of(result.grids, view.by, view.prompt), view.place(result)
    faces, reach = lens.faces_of(result.grids, view.prompt), lens.reach_of(grid, *_grids(beside, view))
    if change_from is not None:
        grid = lens.difference(lens.quantity_of(change_from.grids, view.by, view.prompt), grid)
        faces, reach = lens.changed_faces(lens.faces_of(change_from.grids, view.prompt), faces), lens.reach_of(grid)
    width = grid.values.shape[1]
    window = lens.window_at(place.position, width)
    picture = lens.lens_cells(grid, faces=faces, strings=view.strings(width), reach=reach, window=window)
    title = view.title if change_from is None else f"{view.title}, edited − clean"
    shown = html.Div(
        [
            html.H3([title, html.Span(f" ({picture.unit})", className="wb-muted")], className="lens-title"),
            _steps(window, width),
            host(id, _spec(view, picture, title, place, width)),
            readout(SAY),
            colour_bar(picture),
            *([html.P("Colours go with the logarithm of 1 + rank.", className="wb-muted")] if picture.ranks else []),
        ],
        className="abl-figure lens-map",
        **{"data-lens-by": view.by},
    )
    return html.Div([shown, cell(view, result, place)], className="lens-work")


def _grids(results: Sequence[Result], view: View) -> list[Any]:
    return [lens.quantity_of(result.grids, view.by, view.prompt) for result in results]


def _spec(view: View, picture: lens.LensCells, title: str, place: Place, width: int) -> dict[str, Any]:
    layers = [int(keys["layer"]) for keys in picture.row_keys]
    positions = [int(pos) for pos in picture.col_keys[0]] if picture.col_keys else []
    strings = view.strings(width)
    targets = [[f"{layer}.{pos} {_part(view, layer, pos, width)}" for pos in positions] for layer in layers]
    names = [f"layer {{layer}}, {_position_words(pos, strings)}" for pos in positions]
    return {
        "rows": picture.rows,
        "cols": picture.cols,
        "rowName": "layer",
        "colName": "position",
        "rowKeys": picture.row_keys,
        "colDim": "pos",
        "colKeys": picture.col_keys,
        "levels": picture.levels,
        "texts": picture.texts,
        "faces": picture.faces,
        "scale": picture.scale,
        "unit": picture.unit,
        "action": "lens",
        "target": "",
        "targets": targets,
        "name": names,
        "kind": "",
        "label": title,
        "inside": None,
        "grey": False,
        "chosen": [layers.index(place.layer), positions.index(place.position)],
    }


def _part(view: View, layer: int, position: int, width: int) -> str:
    return part_at(view.at, layer, position, view.n_layers, whole=width == 1) if view.editable else ""


def _position_words(position: int, strings: Sequence[str]) -> str:
    return f"“{strings[position]}” at {position}" if strings else f"position {position}"


def _steps(window: range, width: int) -> Any:
    """Which positions are drawn, and the way to the others; nothing where all are."""
    if len(window) == width:
        return None
    ways = (("Earlier", window.start - lens.MOST_POSITIONS), ("Later", window.start + lens.MOST_POSITIONS))
    buttons = [
        html.Button(words, type="button", className="wb-button", disabled=not 0 <= to < width, **{"data-lens-to": to})
        for words, to in ways
    ]
    text = f"Positions {whole(window.start)} to {whole(window.stop - 1)} of {whole(width)}"
    return html.Div([html.Span(text, className="wb-muted wb-number"), *buttons], className="lens-steps")


def cell(view: View, result: Result, place: Place) -> Any:
    """The open cell: its numbers, its likeliest tokens, what can be done to its stream."""
    strings = view.strings(result.grid("rank").values.shape[1])
    where = _position_words(place.position, strings) if result.grid("rank").values.shape[1] > 1 else ""
    entry = lens.entry_name(place.layer, view.at, view.n_layers)
    title = [sentence(entry), *([", ", html.Bdi(where, dir="ltr")] if where else [])]
    return html.Div(
        [html.H3(title), _numbers(view, result, place), _tokens(view, result, place), actions(view, place)],
        className="lens-cell",
    )


def _numbers(view: View, result: Result, place: Place) -> Any:
    """Every quantity of the cell."""
    rows = []
    for name, title in titles(result, view.prompt).items():
        grid = lens.quantity_of(result.grids, name, view.prompt).select(layer=place.layer, pos=place.position)
        known = grid.valid is None or bool(grid.valid)
        text = number(float(grid.values), signed=is_signed(grid)) if known else "–"
        unit = "" if grid.unit in ("rank", "prob") else UNIT_WORDS[grid.unit]
        if name != "top":
            rows.append(html.Tr([html.Th(title, scope="row"), html.Td(text), html.Td(unit, className="wb-muted")]))
    return html.Table(html.Tbody(rows), className="lens-numbers wb-number")


def _tokens(view: View, result: Result, place: Place) -> Any:
    if view.prompt is None:
        return html.P("Choose one prompt above to see the tokens of a cell.", className="wb-muted")
    layers = list(result.grid("rank").coords["layer"])
    tops = lens.tops_of(result.grids, view.prompt)[layers.index(place.layer)][place.position]
    head = html.Tr([html.Th("Token", scope="col"), html.Th("Probability", scope="col", colSpan=2)])
    rows = [
        html.Tr(
            [
                html.Td(html.Bdi(top.token, dir="ltr", className="prompt-token"), dir="ltr"),
                html.Td(
                    html.Div(html.Div(style={"width": f"{100 * top.prob:.4g}%"}), className="prompt-bar"),
                    className="lens-bar",
                ),
                html.Td(number(top.prob), className="prompt-number"),
            ]
        )
        for top in tops
    ]
    return html.Table([html.Thead(head), html.Tbody(rows)], className="lens-tokens")


def actions(view: View, place: Place) -> Any:
    """Buttons that put the cell's stream into the tray, and the way to Patch; why there are none."""
    if not view.editable:
        return html.P("The residual stream of this model cannot be edited: see the Model page.", className="wb-muted")
    patch = [_edit("patch", "Patch from corrupt", place.part)] if view.can_patch else []
    name = html.Span(place.part, className="wb-mono")
    go = html.Button(
        [icon("patch", size=16), "Open on Patch (p)"], className="wb-button", type="button", **{"data-lens-patch": ""}
    )
    buttons = html.Div([_edit("zero", "Zero it (a)", place.part), *patch, go], className="wb-tools")
    return html.Div([html.P(["Stream ", name], className="wb-muted"), buttons], className="lens-actions")


def _edit(kind: str, words: str, part: str) -> Any:
    data: Mapping[str, str] = {"data-abl-toggle": f"{kind}:{part}", "data-abl-kind": "", "aria-pressed": "false"}
    return html.Button(words, type="button", className="wb-button lens-edit", **data)
