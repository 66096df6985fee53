"""Every number that is stated about the small published models, reproduced through `workbench run`.

The models and their MODEL.md files lie beside the checkout; without them these tests are skipped. Data are drawn anew by
the recipes stated there. A number counts as reproduced when it prints as it is printed there.
"""

from __future__ import annotations

import io
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analyses.result import Result
from tests.conftest import ROOT
from workbench import cli

MODELS = ROOT.parent / "shared" / "models"
pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason=f"the published models are not there: {MODELS}")
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """`run(model, analysis, params, clean)`: the result that `workbench run experiment.json --json` prints."""
    home = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_CACHE", str(home / "cache"))
        patch.setenv("WORKBENCH_WORKSPACE", str(home / "workspace"))
        patch.setenv("HF_HUB_OFFLINE", "1")

        def command(model: str, analysis: str, params: dict[str, Any], clean: dict[str, Any]) -> Result:
            experiment = {
                "version": 1,
                "model": {"name": str(MODELS / model)},
                "inputs": {"clean": clean},
                "analysis": analysis,
                "params": params,
            }
            (home / "experiment.json").write_text(json.dumps(experiment))
            out = io.StringIO()
            with redirect_stdout(out):
                code = cli.run(["run", str(home / "experiment.json"), "--json", "--device", "cpu"], debug=True)
            assert code == 0
            return Result.from_json(json.loads(out.getvalue()))

        yield command


def prints(value: float, printed: str) -> bool:
    """Whether a value is written as it was printed, with as many digits."""
    if "e" in printed:
        return f"{value:.{len(printed.partition('e')[0]) - 2}e}" == printed
    return f"{value:.{len(printed.partition('.')[2])}f}" == printed


def clean_metric(result: Result) -> float:
    return float(result.grid("metric_clean").values)


def after(result: Result) -> np.ndarray:
    """The metric after each ablation, from the clean one and the effect."""
    return np.asarray(clean_metric(result) + result.grid("effect").values.astype(np.float64))


def ids(rows: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    return [{"ids": list(row)} for row in rows]


# -- palindromes: 2,500 sequences, half of them palindromes


@pytest.fixture(scope="module")
def palindromes() -> dict[str, Any]:
    torch.manual_seed(42)
    h, r, f = torch.randint(0, 31, (1250, 10)), torch.randint(0, 31, (1250, 10)), torch.randint(0, 2, (1250, 10)).bool()
    non = torch.cat([h, torch.where(f, r, h.flip(-1))], dim=1)
    h = torch.randint(0, 31, (1250, 10))
    rows = torch.cat([torch.cat([h, h.flip(-1)], dim=1), non])[torch.randperm(2500)]
    right = (rows == rows.flip(-1)).all(-1).long().tolist()
    prompts = ids([[31, *row, 32] for row in rows.tolist()])
    answers, foils = ([{"id": int(label)} for label in labels] for labels in (right, [1 - label for label in right]))
    return {"prompts": prompts, "answers": answers, "foils": foils}


PALINDROMES = {
    "arena-palindrome": {
        "accuracy": "0.9988",
        "cross_entropy": "0.008",
        "logit_diff": "7.489",
        "mean": ["0.614", "6.642", "0.299", "6.815"],
        "zero": ["1.672", "3.477", "2.847", "7.274"],
    },
    "arena-palindrome-eagx": {
        "accuracy": "1.0000",
        "cross_entropy": "9.34e-07",
        "logit_diff": "13.994",
        "mean": ["14.035", "0.353", "3.715", "13.127"],
        "zero": ["13.021", "0.175", "8.394", "10.899"],
    },
    "arena-palindrome-eagx-hard": {
        "accuracy": "0.9988",
        "cross_entropy": "1.30e-02",
        "logit_diff": "12.308",
        "mean": ["12.336", "-0.08", "4.325", "12.096"],
        "zero": ["12.34", "0.128", "3.323", "11.748"],
    },
}


@pytest.mark.parametrize("model", PALINDROMES)
@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy", "logit_diff"])
def test_the_palindrome_classifiers_do_as_well_as_stated(
    model: str, metric: str, run: Run, palindromes: dict[str, Any]
) -> None:
    result = run(model, "ablation", {"over": "head", "metric": metric}, palindromes)
    assert prints(clean_metric(result), PALINDROMES[model][metric]), clean_metric(result)


@pytest.mark.parametrize("kind", ["mean", "zero"])
@pytest.mark.parametrize("model", PALINDROMES)
def test_each_head_of_the_palindrome_classifiers_matters_as_stated(
    model: str, kind: str, run: Run, palindromes: dict[str, Any]
) -> None:
    values = after(run(model, "ablation", {"over": "head", "kind": kind, "metric": "logit_diff"}, palindromes))
    for head, printed in zip(itertools.product(range(2), range(2)), PALINDROMES[model][kind], strict=True):
        assert prints(values[head], printed), (head, values[head])


@pytest.mark.parametrize(
    ("site", "losses"), [("L0.z[head=1{}]", ["0.118", "0.010"]), ("L1.v[head=1{}]", ["0.014", "0.008"])]
)
def test_two_heads_of_the_palindrome_classifier_compensate_at_position_20_only(
    site: str, losses: list[str], run: Run, palindromes: dict[str, Any]
) -> None:
    everywhere, elsewhere = [site.format("")], [site.format(",pos=0:20"), site.format(",pos=21:22")]
    for at, printed in zip((everywhere, elsewhere), losses, strict=True):
        result = run("arena-palindrome", "ablation", {"kind": "mean", "at": at, "metric": "cross_entropy"}, palindromes)
        assert prints(float(after(result)), printed), float(after(result))
