"""Every number that is stated about the small published models, reproduced through `workbench run`.

The models and their MODEL.md files lie beside the checkout; without them these tests are skipped. Data are drawn anew
by the recipes stated there. A number counts as reproduced when it prints as it is printed there.

One table cannot be printed again: accuracy and head contributions of the bracket classifier are of 3,114 strings that
are neither beside the checkout nor drawn by a stated recipe. There the numbers of as many strings drawn here, as many
of them balanced, must lie within sampling error of the stated ones.
"""

from __future__ import annotations

import io
import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ViTForImageClassification

from analyses.result import Result
from hooks.model import open_model
from hooks.plan import CapturePlan
from hooks.prompts import PromptSet
from tests.conftest import ROOT
from workbench import cli

MODELS = ROOT.parent / "shared" / "models"
pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason=f"the published models are not there: {MODELS}")
Spec = dict[str, Any]
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """`run(model, analysis, params, clean, **others)`: what `workbench run experiment.json --json` prints."""
    home = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_CACHE", str(home / "cache"))
        patch.setenv("WORKBENCH_WORKSPACE", str(home / "workspace"))
        patch.setenv("WORKBENCH_BUDGET", str(64 << 20))
        patch.setenv("HF_HUB_OFFLINE", "1")

        def command(model: str, analysis: str, params: Spec, clean: Spec, **others: Spec) -> Result:
            experiment = {
                "version": 1,
                "model": {"name": str(MODELS / model)},
                "inputs": {"clean": clean, **others},
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


def check_heads(result: Result, printed: Sequence[str]) -> None:
    """The metric after each head's ablation prints as stated, heads in the order 0.0, 0.1, …"""
    values = after(result)
    for head, text in zip(np.ndindex(values.shape), printed, strict=True):
        assert prints(values[head], text), (head, values[head])


def ids(rows: Sequence[Sequence[int]]) -> list[Spec]:
    return [{"ids": list(row)} for row in rows]


# -- palindromes: 2,500 sequences, half of them palindromes


@pytest.fixture(scope="module")
def palindromes() -> Spec:
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
        "mean": ["12.336", "-0.080", "4.325", "12.096"],
        "zero": ["12.340", "0.128", "3.323", "11.748"],
    },
}


@pytest.mark.parametrize("model", PALINDROMES)
@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy"])
def test_the_palindrome_classifiers_do_as_well_as_stated(model: str, metric: str, run: Run, palindromes: Spec) -> None:
    result = run(model, "ablation", {"over": "attn", "layers": [1], "metric": metric}, palindromes)
    assert prints(clean_metric(result), PALINDROMES[model][metric]), clean_metric(result)


@pytest.mark.parametrize("kind", ["mean", "zero"])
@pytest.mark.parametrize("model", PALINDROMES)
def test_each_head_of_the_palindrome_classifiers_matters_as_stated(
    model: str, kind: str, run: Run, palindromes: Spec
) -> None:
    result = run(model, "ablation", {"over": "head", "kind": kind, "metric": "logit_diff"}, palindromes)
    assert prints(clean_metric(result), PALINDROMES[model]["logit_diff"]), clean_metric(result)
    check_heads(result, PALINDROMES[model][kind])


@pytest.mark.parametrize(
    ("site", "losses"), [("L0.z[head=1{}]", ["0.118", "0.010"]), ("L1.v[head=1{}]", ["0.014", "0.008"])]
)
def test_two_heads_of_the_palindrome_classifier_compensate_at_position_20_only(
    site: str, losses: list[str], run: Run, palindromes: Spec
) -> None:
    everywhere, elsewhere = [site.format("")], [site.format(",pos=0:20"), site.format(",pos=21:22")]
    for at, printed in zip((everywhere, elsewhere), losses, strict=True):
        result = run("arena-palindrome", "ablation", {"kind": "mean", "at": at, "metric": "cross_entropy"}, palindromes)
        assert prints(float(after(result)), printed), float(after(result))


# -- language models read at several positions


def following(rows: torch.Tensor, first: int, stop: int) -> list[list[int | None]]:
    """The next token as the label of positions `first` to `stop`, nothing elsewhere."""
    width = rows.shape[1]
    return [[row[pos + 1] if first <= pos < stop else None for pos in range(width)] for row in rows.tolist()]


def first_unique(row: Sequence[int]) -> list[int]:
    """At each position the first character that occurs exactly once so far, "?" (10) if there is none."""
    known = [list(row[1 : pos + 1]) for pos in range(len(row))]
    return [next((token for token in seen if seen.count(token) == 1), 10) for seen in known]


def unique_characters() -> Spec:
    torch.manual_seed(42)
    rows = torch.cat([torch.full((1000, 1), 10), torch.randint(0, 10, (1000, 19))], dim=1).tolist()
    return {"prompts": ids(rows), "labels": [first_unique(row) for row in rows]}


def sums() -> Spec:
    """3,000 additions of two numbers below 5,000, digits drawn one column group at a time."""
    torch.manual_seed(42)
    a, b = (torch.cat([torch.randint(0, 5, (3000, 1)), torch.randint(0, 10, (3000, 3))], dim=1) for _ in range(2))
    places = torch.tensor([1000, 100, 10, 1])
    total = ((a + b) * places).sum(-1)
    digits = torch.stack([total // place % 10 for place in places], dim=1)
    plus, equals = torch.full((3000, 1), 10), torch.full((3000, 1), 11)
    rows = torch.cat([a, plus, b, equals, digits], dim=1)
    return {"prompts": ids(rows.tolist()), "labels": following(rows, 9, 13)}


def sorted_lists() -> Spec:
    torch.manual_seed(43)
    lists = torch.argsort(torch.rand(1000, 51), dim=-1)[:, :10]
    rows = torch.cat([lists, torch.full((1000, 1), 51), lists.sort(-1).values], dim=1)
    return {"prompts": ids(rows.tolist()), "labels": following(rows, 10, 20)}


LANGUAGE = {
    "arena-first-unique-char": {
        "data": unique_characters,
        "stated": {"cross_entropy": "0.0174", "mean": "0.9878", "least": "0.0013"},
        "mean": ["11.252", "20.303", "8.575", "3.462", "5.363", "5.411"],
        "zero": ["12.088", "18.577", "7.975", "2.442", "5.171", "4.990"],
    },
    "arena-sum": {
        "data": sums,
        "stated": {"cross_entropy": "0.0065", "mean": "0.9936", "median": "0.9962", "least": "0.656"},
        "mean": ["1.623", "16.618", "20.220", "8.533", "4.368", "9.239"],
        "zero": ["7.889", "26.555", "21.593", "14.887", "6.431", "12.919"],
    },
    "arena-sorted-list": {
        "data": sorted_lists,
        "stated": {"cross_entropy": "0.0378", "mean": "0.9660", "median": "0.9809"},
        "mean": ["0.959", "5.007"],
        "zero": ["1.165", "5.996"],
    },
}


@pytest.mark.parametrize("model", LANGUAGE)
def test_the_algorithmic_language_models_do_as_well_as_stated(model: str, run: Run) -> None:
    result = run(model, "next_token", {"per_prompt": True}, LANGUAGE[model]["data"]())
    grid = result.grid("label_surprisal_by_prompt")
    surprisal = grid.values.astype(np.float64)
    surprisal = surprisal.ravel() if grid.valid is None else surprisal[grid.valid]
    probability = np.exp(-surprisal)
    found = {"cross_entropy": surprisal.mean(), "mean": probability.mean(), "median": np.median(probability)}
    found["least"] = probability.min()
    for name, printed in LANGUAGE[model]["stated"].items():
        assert prints(found[name], printed), (name, found[name])


@pytest.mark.parametrize("kind", ["mean", "zero"])
@pytest.mark.parametrize("model", LANGUAGE)
def test_each_head_of_the_algorithmic_language_models_matters_as_stated(model: str, kind: str, run: Run) -> None:
    params = {"over": "head", "kind": kind, "metric": "label_loss"}
    check_heads(run(model, "ablation", params, LANGUAGE[model]["data"]()), LANGUAGE[model][kind])


def test_the_unique_character_model_is_right_as_often_as_stated(run: Run) -> None:
    params = {"over": "attn", "layers": [1], "metric": "label_accuracy"}
    assert prints(clean_metric(run("arena-first-unique-char", "ablation", params, unique_characters())), "0.9955")


# -- the compiled program: one output, an exactly known circuit


@pytest.fixture(scope="module")
def shares() -> Spec:
    """All 256 strings of length 4, and the share of x among the tokens so far; nothing is asked at the BOS."""
    strings = list(itertools.product("wxyz", repeat=4))
    labels = [[None, *(string[:n].count("x") / n for n in range(1, 5))] for string in strings]
    return {"prompts": [" ".join(string) for string in strings], "labels": labels}


def test_the_compiled_program_computes_with_the_parts_that_its_circuit_has(run: Run, shares: Spec) -> None:
    attention = run("tracr-frac-prevs", "ablation", {"over": "attn", "metric": "squared_error"}, shares)
    mlp = run("tracr-frac-prevs", "ablation", {"over": "mlp", "metric": "squared_error"}, shares)
    assert prints(clean_metric(attention), "6.5e-10"), clean_metric(attention)
    assert attention.grid("effect").values[0] == 0.0 and mlp.grid("effect").values[1] == 0.0
    assert prints(after(attention)[1], "0.160") and prints(after(mlp)[0], "0.160"), (after(attention), after(mlp))


# -- brackets: an image model


def fault(string: str) -> str:
    """What is wrong with a string that is read from its right end, + for each ")" and − for each "("."""
    elevation = np.cumsum([1 if character == ")" else -1 for character in reversed(string)])
    total, negative = elevation[-1] != 0, elevation.min() < 0
    return "both" if total and negative else "negative" if negative else "total" if total else "none"


def pixels(string: str) -> list[list[list[float]]]:
    """A one-hot code of ( 3, ) 4 and, at the end, [end] 2, as an image of 5 channels and one row."""
    codes = [3 if character == "(" else 4 for character in string] + [2]
    return [[[float(code == channel) for code in codes]] for channel in range(5)]


@pytest.fixture(scope="module")
def brackets() -> list[tuple[str, bool]]:
    return [
        (string, bool(right)) for string, right in json.loads((MODELS / "arena-brackets-vit/examples.json").read_text())
    ]


def bracket_inputs(strings: Sequence[str], balanced: Sequence[bool]) -> Spec:
    names = ["balanced" if right else "unbalanced" for right in balanced]
    wrong = ["unbalanced" if right else "balanced" for right in balanced]
    return {"prompts": [{"pixels": pixels(string)} for string in strings], "answers": names, "foils": wrong}


def test_the_bracket_classifier_is_right_on_every_example(run: Run, brackets: list[tuple[str, bool]]) -> None:
    strings, balanced = zip(*brackets, strict=True)
    params = {"over": "attn", "layers": [2], "metric": "accuracy"}
    assert clean_metric(run("arena-brackets-vit", "ablation", params, bracket_inputs(strings, balanced))) == 1.0


@pytest.mark.parametrize(
    ("head", "ascending"), [(0, ["negative", "both", "total"]), (1, ["total", "both", "negative"])]
)
def test_one_head_counts_brackets_and_the_other_sees_negative_elevation(
    head: int, ascending: list[str], run: Run, brackets: list[tuple[str, bool]]
) -> None:
    """What a head adds to unbalanced minus balanced is what its mean over balanced strings takes away in its place."""
    unbalanced = [string for string, right in brackets if not right]
    balanced = [string for string, right in brackets if right]
    params = {"kind": "mean", "reference": "balanced", "at": [f"L2.z[head={head},pos=0]"], "per_prompt": True}
    inputs, others = (bracket_inputs(each, [each is balanced] * len(each)) for each in (unbalanced, balanced))
    effect = run("arena-brackets-vit", "ablation", params, inputs, balanced=others).grid("effect_by_prompt").values
    faults = np.array([fault(string) for string in unbalanced])
    added = [float(-effect[faults == name].mean()) for name in ascending]
    assert added == sorted(added) and added[-1] > 1.5, dict(zip(ascending, added, strict=True))
    if head == 1:
        assert abs(added[0]) < 0.1


def balanced_string(draw: random.Random, length: int = 40) -> str:
    """Uniform over balanced strings: of the rotations of any row of one "(" too many, one is "(" and such a string."""
    steps = [1] * (length // 2 + 1) + [-1] * (length // 2)
    draw.shuffle(steps)
    heights = np.cumsum(steps)
    first = int(np.flatnonzero(heights == heights.min())[-1]) + 1
    return "".join("(" if step == 1 else ")" for step in (steps[first:] + steps[:first])[1:])


def unbalanced_strings(draw: random.Random, length: int = 40) -> Iterator[str]:
    """Uniform over unbalanced strings."""
    while True:
        string = "".join(draw.choice("()") for _ in range(length))
        if fault(string) != "none":
            yield string


# By fault: how many of the published strings, and the contribution of heads 2.0 and 2.1.
STATED = {"both": (2084, 7.51, 13.76), "negative": (312, 6.53, 14.82), "total": (331, 8.17, 4.93)}
STRINGS, STATED_ACCURACY = 3114, 0.9984


def test_accuracy_and_contributions_are_those_stated_but_for_the_sampling_of_strings() -> None:
    """A contribution is what a head writes at position 0, through the final norm as it stands, onto unbalanced minus
    balanced, less its mean over balanced strings."""
    draw, n_unbalanced = random.Random(0), sum(count for count, *_ in STATED.values())
    strings = list(itertools.islice(unbalanced_strings(draw), n_unbalanced))
    strings += [balanced_string(draw) for _ in range(STRINGS - n_unbalanced)]
    faults = np.array([fault(string) for string in strings])
    model = open_model(MODELS / "arena-brackets-vit", device="cpu")
    batch = model.tokens(PromptSet.model_validate(bracket_inputs(strings, [fault == "none" for fault in faults])))
    run = model.run(batch, CapturePlan.of("L2.head_out", "L2.resid_post"))
    right = (run.logits[:, 0].argmax(-1).numpy() == 1) == (faults == "none")
    assert abs(right.mean() - STATED_ACCURACY) < 4 * np.sqrt(2 * STATED_ACCURACY * (1 - STATED_ACCURACY) / STRINGS)

    writes, stream = run["L2.head_out"][:, 0], run["L2.resid_post"][:, 0]
    plain = ViTForImageClassification.from_pretrained(MODELS / "arena-brackets-vit")
    spread = (stream.var(-1, unbiased=False) + plain.vit.layernorm.eps).sqrt()[:, None, None]
    direction = plain.vit.layernorm.weight * (plain.classifier.weight[0] - plain.classifier.weight[1])
    added = (((writes - writes.mean(-1, keepdim=True)) / spread) @ direction.detach()).numpy()
    at_rest = added[faults == "none"]
    for name, (count, *means) in STATED.items():
        found = added[faults == name]
        # Both samples vary, and so do the balanced strings of both.
        error = np.sqrt(2 * at_rest.var(0) / len(at_rest) + found.var(0) * (1 / count + 1 / len(found)))
        assert (np.abs(found.mean(0) - at_rest.mean(0) - means) < 4 * error).all(), (name, found.mean(0), error)
        assert (error < 0.4).all(), (name, error)


# -- stories: greedy text


def test_the_story_model_continues_once_upon_a_time_as_stated(run: Run) -> None:
    from transformers import AutoTokenizer

    prob = run("stories260k", "generation", {"steps": 60}, {"prompts": ["Once upon a time"]}).grid("prob")
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "stories260k")
    text = tokenizer.decode([int(token) for token in prob.coords["id"]])
    stated = (
        ", there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball."
    )
    assert text.startswith(stated), text
