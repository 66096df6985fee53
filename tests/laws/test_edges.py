"""Edges: what one reader receives from some writers, and what readers compute from a given stream."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.testing import assert_close

from hooks.errors import InputError, SiteMissing
from hooks.generate import generate
from hooks.interventions.patch import Patch
from hooks.interventions.via import Via
from hooks.plan import CapturePlan
from hooks.reads import READERS
from hooks.sampling import Sampling
from hooks.sites import MAIN, Part, Site
from tests.laws.conftest import VARIANTS, opened, random_batch

FAMILIES = ("gpt2", "llama", "gemma2", "gpt-neox-parallel", "qwen3", "gptj", "granite", "opt")
LATENT = {"albert", "deepseek-v3"}


def pair(model, length=6):
    """Two batches of prompts of equal length, and what the second one gives as a source."""
    clean, corrupt = random_batch(model, length, length), random_batch(model, length, length, seed=7)
    writers = [
        site for site in model.sites if site.name in ("embed", "pos_embed", "z", "attn_out", "mlp_out", "q", "k", "v")
    ]
    seen = model.run(corrupt, CapturePlan(sites=frozenset(writers))).activations
    return clean, {"corrupt": seen, "clean": model.run(clean, CapturePlan(sites=frozenset(writers))).activations}


def upstream(model, reader):
    """Every writer before a reader: embeddings, heads where they add, whole writes."""
    names = ["embed", "pos_embed", "mlp_out", "z" if model.reads.heads_add(0) else "attn_out"]
    return tuple(
        Part(site) for site in sorted(model.sites) if site.name in names and site < reader and site.stack == MAIN
    )


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_a_reader_computed_from_its_own_stream_is_what_the_model_computed(name):
    model = opened(name)[1]
    wanted = {site for site in model.sites if site.name in READERS and site.stack == MAIN}
    if name in LATENT:
        assert wanted > set(model.reads.readers)
        return
    assert set(model.reads.readers) == wanted
    batch = random_batch(model, 5, 4)
    streams = {model.reads.reader(site).stream for site in wanted}
    seen = model.run(batch, CapturePlan(sites=frozenset(wanted | streams))).activations
    with torch.inference_mode():
        for site in wanted:
            again = model.reads.value(site, seen[model.reads.reader(site).stream])
            assert_close(again, seen[site], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("site", ["q", "k", "v"])
def test_all_edges_into_a_reader_together_are_a_patch_of_it(name, site):
    model = opened(name)[1]
    clean, sources = pair(model)
    reader = Part(Site(site, model.info.n_layers - 1), head=1)
    edge = Via(at=reader, writers=upstream(model, reader.site), source="corrupt")
    whole = model.run(clean, edits=[Patch(at=reader, source="corrupt")], sources=sources).logits
    assert_close(model.run(clean, edits=[edge], sources=sources).logits, whole, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_edge_from_the_run_itself_changes_nothing(name):
    model = opened(name)[1]
    clean, sources = pair(model)
    reader = Part(Site("mlp_in", model.info.n_layers - 1))
    edge = Via(at=reader, writers=upstream(model, reader.site), source="clean")
    assert_close(model.run(clean, edits=[edge], sources=sources).logits, model.run(clean).logits, rtol=1e-5, atol=1e-5)


def test_one_edge_equals_arithmetic_on_the_plain_llama():
    """Head 2 of layer 1 reads, in its queries alone, what head 1 of layer 0 wrote on the corrupt prompt."""
    plain, model = opened("llama")
    clean, sources = pair(model)
    corrupt = random_batch(model, 6, 6, seed=7)
    config, first, second = plain.config, plain.model.layers[0], plain.model.layers[1]
    width = config.hidden_size // config.num_attention_heads
    kept = {}
    first_z = first.self_attn.o_proj.register_forward_pre_hook(lambda _, args: kept.update(z=args[0].clone()))
    with torch.no_grad():
        plain(corrupt.ids)
        there = kept["z"]
        plain(clean.ids)
        here = kept["z"]
    first_z.remove()
    span = slice(width, 2 * width)
    change = (there - here)[..., span] @ first.self_attn.o_proj.weight[:, span].T
    stream = {}
    block = second.register_forward_pre_hook(lambda _, args: stream.update(x=args[0].clone()))

    def read(_, args, output):
        queries = second.self_attn.q_proj.forward(second.input_layernorm.forward(stream["x"] + change))
        output = output.clone()
        output[..., 2 * width : 3 * width] = queries[..., 2 * width : 3 * width]
        return output

    reader = second.self_attn.q_proj.register_forward_hook(read)
    with torch.no_grad():
        expected = plain(clean.ids).logits
    block.remove(), reader.remove()
    edge = Via(at="L1.q[head=2]", writers=("L0.z[head=1]",), source="corrupt")
    assert_close(model.run(clean, edits=[edge], sources=sources).logits, expected, rtol=1e-4, atol=5e-5)


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(heads=st.lists(st.integers(0, 3), min_size=2, max_size=4), pos=st.integers(1, 4))
@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt-neox-parallel"])
def test_edges_packed_in_one_forward_equal_single_runs(name, heads, pos):
    model = opened(name)[1]
    clean, sources = pair(model)
    at = [Part(Site("q", 1), head=head, pos=(pos, 6)) for head in heads]
    worlds = [(Via(at=part, writers=("L0.z[head=0]", "L0.mlp_out", "embed")),) for part in at]
    answers = torch.tensor(clean.answer_at)
    packed = model.run_worlds(clean, worlds, sources=sources, logits_at=answers).logits
    tail = model.run_worlds(clean, worlds, sources=sources, logits_at=answers, start=pos, past=model.past(clean)).logits
    for number, world in enumerate(worlds):
        alone = model.run(clean, edits=world, sources=sources, logits_at=answers).logits
        assert_close(packed[1 + number], alone, rtol=1e-4, atol=5e-5)
        assert_close(tail[1 + number], alone, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize(
    ("at", "writers"),
    [
        ("L0.z[head=1]", ("embed",)),
        ("L0.q[head=1]", ("L0.z[head=0]",)),
        ("L1.q[head=1]", ("L0.pattern",)),
        ("L1.q[head=1]", ("L0.z[head=0,pos=2]",)),
        ("L1.q[head=1]", ()),
    ],
)
def test_what_is_no_edge_is_refused(at, writers):
    with pytest.raises(ValidationError):
        Via(at=at, writers=writers)


def test_heads_that_are_normed_together_are_no_writers():
    model = opened("gemma2")[1]
    clean, sources = pair(model)
    with pytest.raises(SiteMissing, match="normed together"):
        model.run(clean, edits=[Via(at="L1.q[head=1]", writers=("L0.z[head=0]",))], sources=sources)


def test_an_edge_is_refused_while_a_text_grows():
    model = opened("gpt2")[1]
    clean, sources = pair(model)
    edge = Via(at="L1.q[head=1]", writers=("embed",))
    with pytest.raises(InputError, match="while a text grows"):
        generate(model, clean, steps=1, sampling=Sampling(), edits=[edge], sources=sources)
