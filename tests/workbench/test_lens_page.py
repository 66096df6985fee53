"""The Lens page without a browser: what it asks for, what its cells and strips say, what a cell stands for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyses.analysis import normalised
from analyses.experiment import Experiment
from analyses.grid import Grid
from analyses.result import Result
from hooks.prompts import PromptSet
from tests.workbench.components import all_of, text_of
from workbench.figures import direct, lens
from workbench.pages.lens import layout
from workbench.parts import lens_layout, lens_map
from workbench.parts.kinds import Kind
from workbench.parts.lens_request import part_at, refusal, streams_of
from workbench.parts.lens_watch import Asked, clean, edited
from workbench.parts.results_links import page_link
from workbench.requests import ExperimentRequest
from workbench.urls import State, read
from workbench.workspace import Workspace

PROMPT = "When Mary and John went to"
EDIT = "zero:L0.z[head=1]"


@pytest.fixture(scope="module")
def state(tiny_folder: Path) -> Callable[..., State]:
    """States of the page on the tiny model."""
    given = {"model": str(tiny_folder), "prompt": PROMPT, "corrupt": "", "answer": "!", "foil": "?"}
    return lambda **fields: State(**{**given, **fields})


def finished(workspace: Workspace, state: State, of: str, *, edited: bool = False) -> Result:
    request = ExperimentRequest(experiment=Asked(workspace, state, "me", of).experiment(edited=edited))
    job = workspace.wait(workspace.submit(request, session="me").id)
    assert job.state == "done", job.error
    result = workspace.result(request.id)
    assert result is not None
    return result


@pytest.fixture(scope="module")
def both(opened: Workspace, state: Callable[..., State]) -> Iterator[dict[str, Result]]:
    """The lens and the direct attribution of one prompt, clean and with a head zeroed."""
    runs = [(of, under) for of in ("lens", "direct") for under in (False, True)]
    yield {f"{of}{'-edited' * under}": finished(opened, state(edits=EDIT), of, edited=under) for of, under in runs}


def spec_of(content: Any, id: str) -> dict[str, Any]:
    (host,) = all_of(content, lambda item: getattr(item, "id", None) == id)
    spec: dict[str, Any] = json.loads(getattr(host, "data-cells"))
    return spec


# ---- What is asked for


@pytest.mark.parametrize("under", [False, True])
def test_a_state_becomes_the_experiment_that_any_other_door_would_send(
    under: bool, opened: Workspace, state: Callable[..., State]
) -> None:
    given = state(edits=EDIT, lens_at="resid_mid")
    edit = {"kind": "zero", "at": "L0.z[head=1]"}
    by_hand = Experiment(
        model=given.model,
        inputs={"clean": PromptSet(prompts=(PROMPT,), answers=("!",), foils=("?",))},
        analysis="logit_lens",
        params={"at": "resid_mid", "top_k": 10} | ({"edits": [edit]} if under else {}),
    )
    assert Asked(opened, given, "me", "lens").experiment(edited=under).id == normalised(by_hand).id


def test_an_unreadable_edit_is_told_where_the_edited_run_would_be(
    both: Any, opened: Workspace, state: Callable[..., State]
) -> None:
    asked = Asked(opened, state(edits="zero:L0.nothing"), "me", "lens")
    assert spec_of(clean(asked)[1], "lens-map")["rows"] == ["0", "1", "2"]
    assert "unknown site" in text_of(edited(asked)[1]).lower()


@pytest.mark.parametrize("fields", [{}, {"lens_at": "resid_post"}, {"edits": EDIT}])
def test_a_result_leads_back_to_the_page_that_asks_for_it(
    fields: dict[str, Any], opened: Workspace, state: Callable[..., State]
) -> None:
    want = Asked(opened, state(**fields), "me", "lens").experiment(edited=bool(fields.get("edits")))
    link = page_link(want)
    assert link is not None and link[0].startswith("/lens?")
    back = Asked(opened, read(link[0].partition("?")[2]), "me", "lens")
    assert back.experiment(edited=bool(fields.get("edits"))).id == want.id


# ---- Cells


def test_each_cell_shows_the_token_that_comes_first_and_its_number(both: dict[str, Result]) -> None:
    result, shape = both["lens"], both["lens"].grid("rank").values.shape
    faces, grid = lens.faces_of(result.grids, 0), lens.quantity_of(result.grids, "top", 0)
    tokens = np.array(result.grid("top_prob").coords["token"]).reshape(result.grid("top_prob").values.shape)
    assert [list(row) for row in faces] == tokens[..., 0].tolist()
    picture = lens.lens_cells(grid, faces=faces, strings=(), reach=lens.reach_of(grid), window=range(1, 3))
    assert picture.high == "1.00" and picture.cols == ("1", "2") and len(picture.rows) == shape[0]
    assert picture.levels[2][0] == pytest.approx(grid.values[2, 1], abs=1e-3)
    assert picture.at(2, 1) == {"layer": 2, "pos": 2}


def test_a_rank_of_0_is_the_deepest_colour_and_ranks_go_with_their_logarithm() -> None:
    levels = [lens.level_of(rank, 99, ranks=True, signed=False) for rank in (0, 9, 99)]
    assert levels == pytest.approx([1.0, 0.5, 0.0])
    assert lens.level_of(-9, 99, ranks=True, signed=True) == pytest.approx(-0.5)


def test_the_difference_is_edited_minus_clean_and_names_only_tokens_that_changed() -> None:
    coords = {"layer": (0,), "pos": (0, 1)}
    before, after = (Grid("kl", np.array([values]), ("layer", "pos"), coords, "nat", 0.0)
                     for values in ([1.0, 2.0], [1.5, 0.0]))  # fmt: skip
    change = lens.difference(before, after)
    assert change.values.tolist() == [[0.5, -2.0]]
    faces = lens.changed_faces([["a", "b"]], [["a", "<b>"]])
    picture = lens.lens_cells(change, faces=faces, strings=("x", "y"), reach=lens.reach_of(change), window=range(2))
    assert picture.faces == (("", "<b>"),) and picture.texts == (("+0.500", "−2.00"),) and picture.scale == "signed"
    assert picture.levels == ((0.25, -1.0),)


def test_compared_lenses_share_their_range(both: dict[str, Result]) -> None:
    grids = [lens.quantity_of(both[name].grids, "kl", 0) for name in ("lens", "lens-edited")]
    assert lens.reach_of(*grids) == pytest.approx(max(grid.values.max() for grid in grids))
    assert lens.reach_of(lens.quantity_of(both["lens"].grids, "prob", 0)) == 1.0


def test_long_prompts_are_drawn_a_window_at_a_time() -> None:
    assert list(lens.window_at(70, 100)) == list(range(64, 100)) and len(lens.window_at(3, 400)) == 64


@pytest.mark.parametrize(
    ("at", "layer", "part"),
    [("resid_pre", 1, "L1.resid_pre[pos=3]"), ("resid_pre", 2, "L1.resid_post[pos=3]"),
     ("resid_mid", 0, "L0.resid_mid[pos=3]")],
)  # fmt: skip
def test_a_cell_stands_for_the_stream_that_it_reads(at: str, layer: int, part: str) -> None:
    assert part_at(at, layer, 3, 2) == part and part_at(at, layer, 3, 2, whole=True) == part.partition("[")[0]


def test_the_open_cell_lists_its_tokens_and_offers_its_edits(
    both: Any, opened: Workspace, state: Callable[..., State]
) -> None:
    asked = Asked(opened, state(edits=EDIT, lens_layer=1, position=2, corrupt=PROMPT), "me", "lens")
    content = clean(asked)[1]
    assert spec_of(content, "lens-map")["chosen"] == [1, 2]
    edits = [getattr(item, "data-abl-toggle") for item in all_of(content, lambda x: hasattr(x, "data-abl-toggle"))]
    assert edits == ["zero:L1.resid_pre[pos=2]", "patch:L1.resid_pre[pos=2]"]
    first = lens.tops_of(both["lens"].grids, 0)[1][2][0].token
    assert first in text_of(content) and "Before layer 1" in text_of(content)
    change = spec_of(edited(Asked(opened, asked.state.model_copy(update={"lens_change": True}), "me", "lens"))[1],
                     "lens-edited-map")  # fmt: skip
    assert change["scale"] == "signed" and change["label"].endswith("edited − clean")


def test_several_prompts_are_averaged_or_looked_at_one_by_one(opened: Workspace, state: Callable[..., State]) -> None:
    rows = "\n".join(json.dumps({"prompt": text, "answer": "!", "foil": "?"}) for text in (PROMPT, "The cat sat"))
    many = state(data=opened.tables.put("two", "jsonl", rows))
    result = finished(opened, many, "lens")
    assert "top" not in lens_map.titles(result, None) and "top" in lens_map.titles(result, 1)
    one = lens.quantity_of(result.grids, "prob", 1)
    alone = finished(opened, state(prompt="The cat sat"), "lens").grid("prob").values
    assert one.values[:, : alone.shape[1]] == pytest.approx(alone, rel=1e-4, abs=1e-4)
    assert one.valid is not None and not one.valid[:, alone.shape[1] :].any()
    assert "Choose one prompt" in text_of(clean(Asked(opened, many, "me", "lens"))[1])


# ---- What wrote the answer


def test_the_strip_stacks_every_part_once_and_its_running_sum_ends_at_the_difference(both: dict[str, Result]) -> None:
    parts = direct.parts_of(both["direct"].grids)
    total = float(both["direct"].grid("metric_clean").values)
    assert sum(part.value for part in parts) == pytest.approx(total, rel=1e-4, abs=1e-4)
    sums = direct.by_layer(parts, 2)
    heads = both["direct"].grid("effect").values
    assert sums["attention"][1:3] == pytest.approx(heads.sum(1), rel=1e-4, abs=1e-4)
    figure = direct.strip(sums, of="logit difference", limits=direct.limits_of(sums))
    assert [trace.type for trace in figure.data] == ["bar", "bar", "bar", "scatter"]
    assert figure.data[3].y[-1] == pytest.approx(total, rel=1e-4, abs=1e-4)


def test_a_zeroed_head_writes_nothing_in_the_edited_strip_and_both_share_their_axis(
    both: dict[str, Result], opened: Workspace, state: Callable[..., State]
) -> None:
    assert (
        direct.heads_of(both["direct-edited"].grids).values[0, 1]
        == 0
        != direct.heads_of(both["direct"].grids).values[0, 1]
    )
    asked = Asked(opened, state(edits=EDIT), "me", "direct")
    graphs = [all_of(content, lambda item: type(item).__name__ == "Graph")[0].figure
              for _, content in (clean(asked), edited(asked))]  # fmt: skip
    assert graphs[0].layout.yaxis.range == graphs[1].layout.yaxis.range
    assert spec_of(clean(asked)[1], "direct-heads")["targets"][1][3] == "zero:L1.z[head=3]"


def test_parts_that_are_no_sum_of_heads_are_listed_whole() -> None:
    names = ("token embedding", "attention 0", "MLP 0", "bias of attention 1", "rest of layer 1", "unembedding bias")
    values = np.arange(1.0, 7.0)
    effect = Grid("effect", values, ("component",), {"component": names}, "logit", 0.0)
    found = [direct.Written(*part) for part in (
        ("token embedding", 1.0, "rest", None), ("attention 0", 2.0, "attention", 0, "L0.attn_out"),
        ("MLP 0", 3.0, "mlp", 0, "L0.mlp_out"), ("bias of attention 1", 4.0, "attention", 1),
        ("rest of layer 1", 5.0, "rest", 1), ("unembedding bias", 6.0, "rest", None))]  # fmt: skip
    assert [direct.component(str(row["component"]), float(row["value"] or 0)) for row in effect.records()] == found
    assert direct.by_layer(found, 2)["rest"].tolist() == [1.0, 0.0, 5.0, 6.0]


# ---- What cannot be


def test_without_an_answer_the_lens_follows_the_model_and_direct_attribution_asks_for_one(
    opened: Workspace, state: Callable[..., State]
) -> None:
    given = state(answer="", foil="")
    assert "Give an answer" in text_of(clean(Asked(opened, given, "me", "direct"))[1])
    assert "own top token" in lens_map.titles(finished(opened, given, "lens"), 0)["rank"]
    page = layout(opened, given)
    offered = lens_layout.offered_by(given, 1, answers=False, foils=False)
    assert "logit_diff" not in offered and "Layer by layer" in text_of(page)


def test_a_model_without_an_output_head_says_why_it_has_no_lens() -> None:
    kind = Kind("features", (), True, False, False, "embedding")
    assert "no such head" in refusal(kind, "minilm") and not refusal(
        Kind("causal", (), True, False, False, "choice"), "x"
    )


def test_streams_that_blocks_lack_are_not_offered() -> None:
    rows = [{"site": site, "stack": "decoder", "readable": site != "resid_mid"} for site in
            ("resid_pre", "resid_mid", "resid_post")]  # fmt: skip
    assert list(streams_of({"sites": rows})) == ["resid_pre", "resid_post"]
