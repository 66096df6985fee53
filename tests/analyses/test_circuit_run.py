"""Circuits on the real forward pass, against a plain model whose streams are added up edge by edge."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial

import numpy as np
import pytest
import torch

from analyses.bench import Bench
from analyses.circuit import Graph
from analyses.circuit_run import CircuitRuns
from analyses.experiment import Experiment
from analyses.pairs import measure_of
from hooks import tiny
from hooks.errors import InputError, SiteMissing
from hooks.interventions.via import Via
from hooks.model import instrument
from tests.analyses.by_hand import VARIANTS, build
from tests.analyses.circuit_by_hand import Circuit
from tests.analyses.pairs import CLEAN, CORRUPT, difference, prompts

CASES = [
    ("gpt2", "query_head", "counterfactual"),
    ("gpt2", "query_head", "zero"),
    ("llama", "query_head", "counterfactual"),
    ("llama", "query_head", "mean"),
    ("llama", "kv_head", "counterfactual"),
    ("gpt_neox", "query_head", "counterfactual"),
    ("gpt_neox", "query_head", "zero"),
]


@lru_cache(maxsize=8)
def opened(variant):
    plain = build(variant) if variant in VARIANTS else tiny.build(variant)
    return plain, instrument(plain, name=variant)


def runs(variant, ablation="counterfactual", keys="query_head", *, clean=CLEAN, corrupt=CORRUPT, budget=64 << 20):
    model = opened(variant)[1]
    inputs = {"clean": prompts(clean, answers=True), "corrupt": prompts(corrupt), "reference": prompts(CORRUPT)}
    spec = {"model": variant, "inputs": inputs, "analysis": "circuit_evaluation", "params": {}}
    bench = Bench(model, Experiment.model_validate(spec), budget_bytes=budget)
    return CircuitRuns(bench, Graph.of(model, keys=keys), measure_of("logit_diff", bench), ablation)


def random_masks(graph, *shares, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([graph.allowed & (rng.random(graph.allowed.shape) < share) for share in shares])


def ablated_writes(by_hand, ablation, prompt):
    everything = [by_hand.run(ids, {}, lambda *_: True)[1] for ids in CORRUPT]
    if ablation == "zero":
        return {name: torch.zeros_like(write) for name, write in everything[0].items()}
    if ablation == "mean":
        return {name: torch.stack([run[name] for run in everything]).mean(0) for name in everything[0]}
    return everything[prompt]


@pytest.mark.parametrize(("variant", "keys", "ablation"), CASES)
def test_circuits_equal_streams_added_up_edge_by_edge(variant, keys, ablation):
    found = runs(variant, ablation, keys)
    graph = found.graph
    masks = random_masks(graph, 0.15, 0.6, 0.95)
    values = found.values(masks)
    by_hand = Circuit(variant, opened(variant)[0], merged=keys == "kv_head")
    for mask, row in zip(masks, values, strict=True):
        kept = {edge for edge in graph.edges if mask[graph.node_index[edge[0]], graph.reader_index[edge[1:]]]}
        for prompt, ids in enumerate(CLEAN):
            ablated = ablated_writes(by_hand, ablation, prompt)
            logits, _ = by_hand.run(ids, ablated, lambda *edge, kept=kept: edge in kept)
            assert row[prompt] == pytest.approx(difference(logits, prompt), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("variant", ["gpt2", "llama", "gemma2", "gpt_neox"])
def test_the_full_circuit_is_the_model_and_the_empty_one_the_corrupt_run(variant):
    found = runs(variant)
    plain = opened(variant)[0]
    for values, rows in ((found.full, CLEAN), (found.empty, CORRUPT)):
        with torch.no_grad():
            logits = plain(input_ids=torch.tensor(rows), use_cache=False).logits[:, -1]
        assert values == pytest.approx([difference(row, n) for n, row in enumerate(logits)], abs=1e-5)


@pytest.mark.parametrize("variant", ["gpt2", "llama", "gemma2", "gpt_neox"])
def test_cutting_one_edge_is_handing_its_reader_the_other_write(variant):
    found = runs(variant, keys="kv_head")
    graph, bench = found.graph, found.bench
    inner = [edge for edge in graph.edges if edge[1] != "logits" and edge[0] != "embed"]
    chosen = inner[:: max(1, len(inner) // 6)]
    masks = np.repeat(graph.allowed[None], len(chosen), axis=0)
    for mask, (source, *reader) in zip(masks, chosen, strict=True):
        mask[graph.node_index[source], graph.reader_index[tuple(reader)]] = False
    worlds = [(Via(at=_reader(graph, target, channel), writers=(source,)),) for source, target, channel in chosen]
    at = torch.tensor(found.batch.answer_at)
    logits = bench.worlds("clean", worlds, logits_at=at).logits[1:]
    expected = [[difference(row[0], n) for n, row in enumerate(world)] for world in logits]
    np.testing.assert_allclose(found.values(masks), expected, rtol=1e-4, atol=1e-4)


def _reader(graph, target, channel):
    """The site that an edge's target reads through a channel, as edits name it."""
    layer, _, rest = target.partition(".")
    if channel == "in":
        return f"{layer}.mlp_in"
    if "head=" not in rest:
        return f"{layer}.{channel}"
    head = int(rest.split("head=")[1].rstrip("]"))
    return f"{layer}.{channel}[head={head // graph.info.group if channel in 'kv' else head}]"


def test_circuits_run_together_alone_or_after_one_another_are_the_same():
    masks = random_masks(runs("llama").graph, 0.2, 0.5, 0.9)
    together = runs("llama").values(masks)
    np.testing.assert_allclose(runs("llama", budget=1).values(masks), together, atol=1e-5)
    np.testing.assert_allclose(runs("llama").values(masks, remember=True), together, atol=1e-5)


@pytest.mark.parametrize("variant", ["gpt2", "llama", "llama-multi-query", "gpt_neox", "opt", "mixtral"])
@pytest.mark.parametrize("ablation", ["counterfactual", "mean"])
@pytest.mark.parametrize("keys", ["query_head", "kv_head"])
def test_a_circuit_edited_step_by_step_is_the_circuit_run_at_once(variant, ablation, keys):
    edited, rng = runs(variant, ablation, keys), np.random.default_rng(3)
    graph = edited.graph
    mask = random_masks(graph, 0.3, seed=2)[0]
    edited.values(mask[None], remember=True)
    edges = np.argwhere(graph.allowed)
    for count in (1, 1, 2, 1, 5, 1):
        mask = mask.copy()
        mask[tuple(edges[rng.choice(len(edges), count, replace=False)].T)] ^= True
        stepped = edited.values(mask[None], remember=True)
        np.testing.assert_allclose(stepped, runs(variant, ablation, keys).values(mask[None]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", ["gpt2", "llama"])
def test_after_an_edit_only_the_parts_run_that_read_otherwise(variant):
    """A chain embed → first MLP → logits beside embed → last MLP → logits; one edge of the second goes."""
    found = runs(variant)
    graph = found.graph
    last = f"L{graph.info.n_layers - 1}.mlp_out"
    mask = np.zeros_like(graph.allowed)
    for source, target in (("embed", "L0.mlp_out"), ("L0.mlp_out", "logits"), ("L0.mlp_out", last),
                           ("embed", last), (last, "logits")):  # fmt: skip
        mask[graph.node_index[source], graph.reader_index[target, "in"]] = True
    found.values(mask[None], remember=True)
    assert found.bench.model.edge_runs.stills
    mask = mask.copy()
    mask[0, graph.reader_index[last, "in"]] = False
    with calls(found.bench.model, variant) as seen:
        found.values(mask[None], remember=True)
    assert seen == [last]


@contextmanager
def calls(model, variant):
    """The parts whose output projection runs, in order."""
    plain = opened(variant)[0]
    seen = []
    with ExitStack() as stack:
        for name, module in plain.named_modules():
            layer = next((piece for piece in name.split(".") if piece.isdigit()), None)
            kind = {"o_proj": "attn_out", "out_proj": "attn_out", "down_proj": "mlp_out", "fc2": "mlp_out",
                    "c_proj": "mlp_out" if ".mlp." in name else "attn_out"}.get(name.rpartition(".")[2])  # fmt: skip
            if kind is not None:
                told = partial(lambda part, *_: seen.append(part), f"L{layer}.{kind}")
                stack.callback(module.register_forward_hook(told).remove)
        yield seen


@pytest.mark.parametrize("variant", ["gpt2", "llama", "gpt_neox", "gptj", "opt", "bloom", "mpt", "falcon-multi-query",
                                     "mistral", "mixtral", "qwen2-moe", "gemma2", "gemma3", "phi", "cohere", "granite",
                                     "gpt-oss", "smollm3", "stablelm-parallel"])  # fmt: skip
def test_circuits_of_pairs_that_begin_alike_are_those_of_streams_added_up(variant):
    """Only the positions from the first difference on run; a longer text before it changes no number."""
    ahead = [7, 3, 9, 1, 4]
    clean, corrupt = ([ahead + list(ids) for ids in rows] for rows in (CLEAN, CORRUPT))
    found = runs(variant, clean=clean, corrupt=corrupt)
    whole = runs(variant, clean=clean, corrupt=corrupt)
    whole._window = lambda _: None
    masks = random_masks(found.graph, 0.3, 0.8)
    np.testing.assert_allclose(found.values(masks), whole.values(masks), rtol=1e-4, atol=1e-4)
    assert {opened.window.start for opened in found._kept.values() if opened.window} <= {len(ahead) + 1}


@pytest.mark.parametrize("variant", ["qwen3", "phi3", "llama-multi-query", "granite"])
def test_query_heads_that_keep_the_same_keys_are_as_if_they_shared_them(variant):
    """Also in a forward beside circuits whose heads differ, for which attention takes its rows once per member."""
    shared, own = runs(variant, keys="kv_head"), runs(variant)
    merged = random_masks(shared.graph, 0.5)[0]
    mask = np.zeros_like(own.graph.allowed)
    for place, (target, channel) in enumerate(own.graph.readers):
        heads, group = own.graph.attending(_layer(target), channel), own.graph.info.group
        first = heads[heads.index(target) // group * group] if channel in "kv" else target
        mask[:, place] = merged[:, shared.graph.reader_index[first, channel]]
    differing = random_masks(own.graph, 0.5, seed=4)[0]
    np.testing.assert_allclose(own.values(np.stack([mask, differing]))[0], shared.values(merged[None])[0], atol=1e-5)
    assert own.bench.model.edge_runs.keeps_apart


def _layer(target):
    return 0 if target == "logits" else int(target[1 : target.index(".")])


def test_what_has_been_measured_is_not_run_again():
    found = runs("gpt2")
    masks = random_masks(found.graph, 0.3, 0.7)
    first, forwards = found.values(masks), found.bench.forwards
    np.testing.assert_array_equal(found.values(masks[::-1]), first[::-1])
    assert found.bench.forwards == forwards


def test_edges_that_lead_nowhere_change_nothing_under_counterfactual_ablation():
    found = runs("llama")
    masks = random_masks(found.graph, 0.1, 0.3)
    pruned = np.stack([found.graph.prune(mask) for mask in masks])
    assert (pruned.sum((1, 2)) < masks.sum((1, 2))).any()
    np.testing.assert_allclose(found.values(pruned), found.values(masks), atol=1e-5)


def test_a_model_whose_parts_do_not_add_up_is_refused():
    with pytest.raises(SiteMissing, match="not the sum of what its nodes write"):
        _ = runs("bert").full


def test_c42_pairs_of_different_token_length_are_refused_with_both_counts():
    with pytest.raises(InputError, match="has 6 tokens, the corrupt one 5"):
        runs("gpt2", corrupt=[CORRUPT[0][:5], CORRUPT[1]])


def test_c43_each_prompt_of_a_batch_equals_its_run_alone():
    clean, corrupt = [CLEAN[0], CLEAN[1][:4]], [CORRUPT[0], CORRUPT[1][:4]]
    both = runs("llama", clean=clean, corrupt=corrupt)
    masks = random_masks(both.graph, 0.3, 0.8)
    single = runs("llama", clean=clean[:1], corrupt=corrupt[:1]).values(masks)
    np.testing.assert_allclose(both.values(masks)[:, :1], single, atol=1e-5)
