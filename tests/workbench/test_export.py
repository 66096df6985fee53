"""Exports: what a reader gets, read back with the reader's own tools."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import h5py
import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyses.experiment import Experiment
from analyses.grid import Grid
from analyses.result import Provenance, Result
from hooks.errors import SpecError, WorkbenchError
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from workbench.export import FORMS, Export, export, figure, script
from workbench.export import csv as csv_form
from workbench.replay import compare

HOSTILE = "<script>alert(1)</script>\"\"\"''' \n${1} {{ 7 }} \\ </pre> =1+1"
TOKENS = ("=", "·+", "-", "@", "\t", "\r", "'", "''=", ",", '"', "\n", "<b>", "a")


def result(prompt: str = "a b", model: str = "toy") -> Result:
    """A hand-made result: a map with a missing cell, a number, and ranked tokens."""
    experiment = Experiment(
        model=ModelRef(name=model), inputs={"clean": PromptSet(prompts=(prompt,), answers=(" a",), foils=(" b",))},
        analysis="ablation", params={"over": "head"}, note=prompt,
    )  # fmt: skip
    values = np.array([[0.1, -2.5, 0.0], [1e-8, 3.0, 7.25]], np.float32)
    valid = np.array([[True, True, False], [True, True, True]])
    heads = {"layer": (0, 1), "head": (0, 1, 2)}
    ranks = {"rank": tuple(range(len(TOKENS))), "token": TOKENS}
    grids = (
        Grid("effect", values, ("layer", "head"), heads, "logit", 0.0, "head 0.2 was not measured", valid),
        Grid("metric_clean", np.float32(1.5), (), {}, "logit"),
        Grid("prob", np.linspace(0.5, 0.01, len(TOKENS)), ("rank",), ranks, "prob"),
    )
    provenance = Provenance(
        model_hash="a" * 64, tokenizer_hash="b" * 64, tokens={"clean": (tuple(range(len(TOKENS))),)},
        strings={"clean": (TOKENS,)}, versions={"torch": "2"}, device="cpu", dtype="float32", attention="eager",
        source=prompt, seed=0, started="2026-01-02T03:04:05+00:00", seconds=1.0, peak_bytes=1, warnings=(prompt,),
    )  # fmt: skip
    return Result(experiment, {grid.name: grid for grid in grids}, provenance)


def text(made: Export) -> str:
    return made.data.decode("utf-8")


def strict(document: str) -> dict:
    return json.loads(document, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_C38_json_is_strict_and_a_missing_value_is_null() -> None:
    spec = strict(text(export(result(), "json")))
    assert spec["grids"][0]["values"][0][2] is None and "not measured" in spec["grids"][0]["about"]


def test_C38_csv_cells_that_a_spreadsheet_would_run_are_escaped_and_read_back() -> None:
    rows = list(csv.DictReader(io.StringIO(text(export(result(), "csv")), newline="")))
    cells = [row["token"] for row in rows if row["grid"] == "prob"]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert tuple(cell.removeprefix("'") for cell in cells) == TOKENS


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_C38_the_escape_is_reversible_for_any_text(cell: str) -> None:
    assert csv_form.unescape(csv_form.escape(cell)) == cell
    assert not csv_form.escape(cell).startswith(("=", "+", "-", "@", "\t", "\r"))


def test_csv_has_one_row_per_cell_with_exact_numbers() -> None:
    made = result()
    rows = list(csv.DictReader(io.StringIO(text(export(made, "csv")), newline="")))
    assert list(rows[0]) == ["grid", "layer", "head", "rank", "token", "value", "unit"]
    effect = [row for row in rows if row["grid"] == "effect"]
    assert [(row["layer"], row["head"]) for row in effect] == [(str(i), str(j)) for i in range(2) for j in range(3)]
    values = [np.float32(row["value"]) if row["value"] else None for row in effect]
    assert values == [*made.grid("effect").values[0, :2], None, *made.grid("effect").values[1]]


def test_C40_json_reads_back_as_the_same_result() -> None:
    made = result()
    again = Result.from_json(strict(text(export(made, "json"))))
    assert again.id == made.id and again.provenance == made.provenance and again.experiment == made.experiment
    assert compare(made, again).differences == {"effect": 0.0, "metric_clean": 0.0, "prob": 0.0}


class Page(HTMLParser):
    """The elements and the visible text of a page; scripts are kept apart."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.links: list[str] = []
        self._raw = ""
        self.feed(document)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._raw = tag if tag in ("script", "style") else ""
        self.links += [str(value) for name, value in attributes if name in ("src", "href", "action", "poster")]

    def handle_endtag(self, tag: str) -> None:
        self._raw = ""

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.words.append(data)


def test_C39_the_report_asks_no_other_host_for_anything() -> None:
    document = text(export(result(), "html"))
    assert Page(document).links == []
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', document)
    assert policy and policy[1].startswith("default-src 'none'") and "http" not in policy[1]
    # plotly.js names hosts in licences and unused map styles; outside of it there is no address at all.
    outside = re.sub(r"<script>.*?</script>", "", document, count=1, flags=re.DOTALL)
    assert re.findall(r"https?://(?!www\.w3\.org)[^\s\"'<]+", outside) == []


def test_C44_user_text_stands_literally_in_the_report() -> None:
    plain, hostile = Page(text(export(result(), "html"))), Page(text(export(result(HOSTILE), "html")))
    assert hostile.tags == plain.tags
    shown = " ".join(hostile.words)
    assert "<script>alert(1)</script>" in shown and "{{ 7 }}" in shown and "<b>" in shown


def test_the_report_shows_numbers_definitions_tokens_and_provenance() -> None:
    shown = " ".join(Page(text(export(result(), "html"))).words)
    for part in ("+7.25", "head 0.2 was not measured", "1.5 logit", "2026-01-02", "a" * 64, "Olsson et al. 2022"):
        assert part in shown


@pytest.mark.parametrize("form", ["script", "notebook"])
def test_C44_user_text_cannot_become_code(form: str) -> None:
    def code(made: Result) -> str:
        whole = text(export(made, form))
        if form == "script":
            return whole
        book = nbformat.reads(whole, as_version=4)
        nbformat.validate(book)
        return "\n".join(cell.source for cell in book.cells if cell.cell_type == "code")

    def names(source: str) -> list[str]:
        return [type(node).__name__ for node in ast.walk(ast.parse(source))]

    assert names(code(result(HOSTILE))) == names(code(result("harmless")))


def test_a_script_holds_every_stored_number() -> None:
    made = result()
    space: dict[str, object] = {}
    exec(compile(f"{script.IMPORTS}\n{script.DECODE}\n{script.stored_code(made)}".replace(
        "from workbench.api import Experiment, run", ""), "stored", "exec"), space)  # fmt: skip
    shape, encoded = space["STORED"]["effect"]
    values = space["stored"](shape, encoded)
    expected = np.where(made.grid("effect").valid, made.grid("effect").values, np.nan)
    np.testing.assert_array_equal(values, expected)
    assert space["TOLERANCE"] == 1e-4


def archive(made: Result) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(export(made, "bundle").data))


@pytest.fixture
def without_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if neither Chromium nor Chrome were there."""
    from choreographer.errors import ChromeNotFoundError

    def missing(*args: object, **kw: object) -> None:
        raise ChromeNotFoundError("none")

    monkeypatch.setattr("plotly.io.write_images", missing)


def test_a_bundle_holds_everything_and_says_how_to_read_it(without_browser: None) -> None:
    made = result()
    with archive(made) as files:
        names = {name.partition("/")[2] for name in files.namelist()}
        folder = files.namelist()[0].partition("/")[0]
        assert {
            "experiment.json",
            "result.json",
            "grids.h5",
            "report.html",
            "replay.py",
            "replay.ipynb",
            "README.txt",
        } <= names
        assert {
            "csv/effect.csv",
            "csv/prob.csv",
            "csv/tokens.csv",
            "figures/effect.html",
            "figures/plotly.min.js",
        } <= names
        assert Experiment.model_validate_json(files.read(f"{folder}/experiment.json")).id == made.id
        with h5py.File(io.BytesIO(files.read(f"{folder}/grids.h5")), "r") as stored:
            np.testing.assert_array_equal(stored["grids/effect/values"][()], made.grid("effect").values)
            np.testing.assert_array_equal(stored["grids/effect/valid"][()], made.grid("effect").valid)
        readme = files.read(f"{folder}/README.txt").decode()
        assert "drop that one '" in readme and "HTML only: svg export needs Chromium" in readme


def test_equal_results_give_equal_bundles(without_browser: None) -> None:
    first, second = archive(result()), archive(result())
    assert {name: first.read(name) for name in first.namelist() if not name.endswith((".h5", ".html"))} == {
        name: second.read(name) for name in second.namelist() if not name.endswith((".h5", ".html"))
    }


def test_C39_an_image_without_a_browser_is_one_sentence(without_browser: None) -> None:
    with pytest.raises(WorkbenchError, match="svg export needs Chromium or Chrome") as caught:
        export(result(), "svg")
    assert "html" in caught.value.hint


def test_C39_an_image_without_a_browser_leaves_no_file(
    without_browser: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench import cli
    from workbench.results import write_folder

    write_folder(result(), tmp_path / "stored")
    (tmp_path / "out").mkdir()
    assert cli.run(["export", str(tmp_path / "stored"), "--as", "png", "--out", str(tmp_path / "out" / "a.png")]) == 1
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.browser
@pytest.mark.parametrize(("form", "start"), [("svg", b"<svg"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_an_image_is_of_its_kind(form: str, start: bytes, browser_for_images: None) -> None:
    assert export(result(), form, grid="effect").data.startswith(start)


@pytest.fixture
def browser_for_images() -> None:
    """Skips (in CI: fails) where kaleido finds no Chromium."""
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))):
        reason = "no Chromium was found: install the package 'chromium'"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


def test_a_figure_says_title_unit_model_date_and_id_inside_the_picture() -> None:
    made = result()
    drawn = figure.picture(made, made.grid("effect"))
    words = " ".join([str(drawn.layout.title.text), *(str(note.text) for note in drawn.layout.annotations)])
    for part in ("effect", "logit", "toy", "2026-01-02", made.id):
        assert part in words


def test_C04_a_figure_shows_user_text_literally() -> None:
    made = result(model="<b>toy</b>")
    drawn = figure.picture(made, made.grid("prob"))
    assert "&lt;b&gt;toy" in str(drawn.layout.annotations) and "<b>toy" not in str(drawn.to_plotly_json()["layout"])


def test_C08_a_token_stands_at_its_own_position() -> None:
    made = result()
    surprisal = Grid("surprisal", np.arange(1, 4), ("pos",), {"pos": (1, 2, 3)}, "nat")
    drawn = figure.picture(Result(made.experiment, {"surprisal": surprisal}, made.provenance), surprisal)
    assert list(drawn.layout.xaxis.ticktext) == ["·+", "-", "@"]


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/../../b", "..", ".", "a\0b", "COM1\\x"])
def test_C45_no_name_of_a_user_becomes_a_path(name: str, without_browser: None) -> None:
    made = result()
    grid = Grid(name, np.zeros(1), ("rank",), {"rank": (0,)}, "rank")
    hostile = Result(made.experiment, {name: grid}, made.provenance)
    assert re.fullmatch(r"[A-Za-z0-9_-]+\.csv", export(hostile, "csv").name)
    with monkeypatched_hdf5(), archive(hostile) as files:
        assert all(re.fullmatch(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*(\.[a-z0-9]+)+", entry) for entry in files.namelist())


@contextmanager
def monkeypatched_hdf5() -> Iterator[None]:
    """HDF5 has rules of its own for names; here only the names of files are looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.export.bundle._hdf5", lambda made: b"")
        yield


def test_an_unknown_form_and_a_form_of_circuits_are_refused() -> None:
    with pytest.raises(SpecError, match="unknown export form 'docx'"):
        export(result(), "docx")
    with pytest.raises(SpecError, match="graphml is a form of circuits"):
        export(result(), "graphml")
    with pytest.raises(SpecError, match="no grid 'nope'"):
        export(result(), "svg", grid="nope")


def test_every_form_has_words_for_a_menu_and_a_media_type() -> None:
    assert all(form.title and "/" in form.media and form.suffix for form in FORMS.values())


def test_further_labels_stand_beside_each_cell_or_along_the_last_axis() -> None:
    values, coords = np.arange(4).reshape(2, 2), {"step": (0, 1), "rank": (0, 1)}
    cells = Grid("prob", values, ("step", "rank"), {**coords, "token": ("a", "b", "c", "=d")}, "prob")
    assert csv_form.grid_csv(cells).splitlines() == [
        "step,rank,token,value", "0,0,a,0.0", "0,1,b,1.0", "1,0,c,2.0", "1,1,'=d,3.0"
    ]  # fmt: skip
    shared = Grid("prob", values, ("step", "rank"), {**coords, "token": ("a", "b")}, "prob")
    assert [row["token"] for row in shared.records()] == ["a", "b", "a", "b"]
