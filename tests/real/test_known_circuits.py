"""Circuit search on trained models whose important heads are known.

The small published models lie beside the checkout; without them their tests are skipped. The known heads are those of
each model's MODEL.md. Every clean prompt is paired with another of the same form for which another answer is right.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from analyses.bench import Bench
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from analyses.result import Result
from hooks.model import Instrumented, open_model
from tests.real.test_published import LANGUAGE, MODELS, bracket_inputs, ids

Spec = dict[str, Any]
N = 24
KNOWN = {
    "arena-palindrome": ["0.0", "1.0"],
    "arena-palindrome-eagx": ["0.1", "1.0"],
    "arena-palindrome-eagx-hard": ["0.1", "1.0"],
    "arena-sum": ["0.1", "0.2"],
    "arena-sorted-list": ["0.1"],
    "arena-first-unique-char": ["0.1"],
    "arena-brackets-vit": ["0.0", "2.0", "2.1"],
}
"""The heads said to matter; of the unique characters, where every head does, the one whose ablation costs most."""
NOT_BY_EAP_IG = ("arena-first-unique-char", "arena-brackets-vit")


def search(model: Instrumented, clean: Spec, corrupt: Spec, params: Spec) -> Result:
    inputs = {"clean": clean, "corrupt": {"prompts": corrupt["prompts"]}}
    spec = {"model": model.name, "inputs": inputs, "analysis": "circuit_search", "params": params}
    experiment = Experiment.model_validate(spec)
    return run_experiment(experiment, Bench(model, experiment))


def spoiled_palindromes() -> tuple[Spec, Spec]:
    """No palindrome by one token of the second half, and the palindrome that it spoils."""
    draw = torch.Generator().manual_seed(0)
    half = torch.randint(0, 31, (N, 10), generator=draw)
    whole, each = torch.cat([half, half.flip(-1)], dim=1), torch.arange(N)
    spoiled = whole.clone()
    spoiled[each, 11 + each % 7] = (whole[each, 11 + each % 7] + torch.randint(1, 30, (N,), generator=draw)) % 31
    rows, others = ([[31, *row, 32] for row in x.tolist()] for x in (spoiled, whole))
    return {"prompts": ids(rows), "answers": [{"id": 0}] * N, "foils": [{"id": 1}] * N}, {"prompts": ids(others)}


def pairs_for(name: str) -> tuple[Spec, Spec, str]:
    """Clean and corrupt inputs, and the metric."""
    if "palindrome" in name:
        return *spoiled_palindromes(), "logit_diff"
    if name in LANGUAGE:
        drawn = LANGUAGE[name]["data"]()
        first, second = ({key: rows[part] for key, rows in drawn.items()} for part in (slice(N), slice(N, 2 * N)))
        return first, second, "label_loss"
    examples = json.loads((MODELS / name / "examples.json").read_text())
    wrong, right = ([string for string, balanced in examples if balanced is kind][:N] for kind in (False, True))
    return bracket_inputs(wrong, [False] * N), bracket_inputs(right, [True] * N), "logit_diff"


def heads_ranked(result: Result) -> list[str]:
    """Heads as 0.1, by absolute score."""
    grid = result.grid("score")
    size = dict(zip(grid.coords["node"], np.abs(grid.values), strict=True))
    heads = sorted((str(node) for node in size if "head=" in str(node)), key=lambda node: -size[node])
    return [f"{node[1 : node.index('.')]}.{node[node.index('=') + 1 : -1]}" for node in heads]


@pytest.mark.skipif(not MODELS.is_dir(), reason=f"the published models are not there: {MODELS}")
@pytest.mark.parametrize("name", KNOWN)
def test_the_heads_known_to_matter_come_out_on_top(name: str) -> None:
    clean, corrupt, metric = pairs_for(name)
    model = open_model(MODELS / name)
    for method in ("exact",) if name in NOT_BY_EAP_IG else ("exact", "eap_ig"):
        params = {"method": method, "level": "node", "metric": metric}
        ranked = heads_ranked(search(model, clean, corrupt, params))
        assert sorted(ranked[: len(KNOWN[name])]) == KNOWN[name], (method, ranked)


# -- induction in the bundled model


def looking_back(attentions: Sequence[torch.Tensor], layer: int, back: int, start: int) -> list[str]:
    """The heads of a layer, those first that look most at what is `back` positions back, from `start` on."""
    pattern = attentions[layer][:, :, start:]
    queries = torch.arange(start, attentions[layer].shape[-1])
    weight = pattern[:, :, torch.arange(len(queries)), queries - back].mean((0, 2))
    return [f"L{layer}.z[head={head}]" for head in weight.argsort(descending=True).tolist()]


@pytest.mark.parametrize("method", ["exact", "eap_ig"])
def test_the_previous_token_heads_feed_the_keys_of_the_induction_head(method: str, toy: Any) -> None:
    """Random tokens twice; the corrupt prompts have others the first time. Two heads of layer 0 look at the previous
    token. Which heads these are, and which does induction, is seen in plain attention patterns.
    """
    model, draw = open_model(toy, device="cpu"), torch.Generator().manual_seed(0)
    bos, length, again = model.tokenizer.bos_token_id, 12, 6
    first, other = (torch.randint(0, bos, (8, length), generator=draw).tolist() for _ in range(2))
    clean = [[bos, *row, *row[:again]] for row in first]
    corrupt = [[bos, *row, *kept[:again]] for row, kept in zip(other, first, strict=True)]
    with torch.no_grad():
        plain = AutoModelForCausalLM.from_pretrained(toy, attn_implementation="eager").eval()
        attentions = plain(torch.tensor(clean), output_attentions=True).attentions
    previous = looking_back(attentions, 0, back=1, start=1)[:2]
    induction = looking_back(attentions, 1, back=length - 1, start=1 + length)[0]
    answers, foils = ([{"id": row[again]} for row in rows] for rows in (first, other))
    inputs = {"prompts": ids(clean), "answers": answers, "foils": foils}
    grid = search(model, inputs, {"prompts": ids(corrupt)}, {"method": method}).grid("score")
    edges = zip(grid.coords["source"], grid.coords["target"], grid.coords["channel"], grid.values, strict=True)
    into_keys = {source: score for source, target, channel, score in edges if (target, channel) == (induction, "k")}
    heads = sorted((source for source in into_keys if source.startswith("L0.z")), key=lambda head: -into_keys[head])
    assert set(heads[:2]) == set(previous)
    assert into_keys[heads[1]] > max(abs(into_keys[head]) for head in heads[2:])
