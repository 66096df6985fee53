"""The kinds of edits: what each does to its part, and that it does nothing else, by values made in the tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from hooks.draws import partners
from hooks.embeddings import ROWS, embedding_sd
from hooks.errors import InputError, SpecError
from hooks.generate import generate
from hooks.interventions import KINDS, parse_intervention
from hooks.plan import CapturePlan
from hooks.sites import Part, Site
from hooks.sources import VECTOR, as_source
from tests.laws.conftest import opened, random_batch

# GPT-2 (learned positions), Llama (grouped queries), Gemma 2 (soft-caps, scaled embeddings), NeoX (parallel blocks).
KINDS_OF_MODEL = ["gpt2", "llama", "gemma2", "gpt-neox-parallel"]
LAYER = 1


@pytest.fixture(params=KINDS_OF_MODEL)
def variant(request):
    return request.param


def everything(model, batch):
    return {"clean": model.run(batch, CapturePlan(sites=model.sites)).activations}


def edit(**fields):
    return parse_intervention(fields)


def one_of_each(d_model, seed=0):
    """Every kind at parts that a decoder has, with values that change something."""
    vector = [float(x) for x in np.random.default_rng(seed).standard_normal(d_model)]
    return [
        edit(kind="zero", at="L1.z[head=1]"),
        edit(kind="mean", at="L1.resid_pre[pos=2]"),
        edit(kind="patch", at="L1.resid_pre[pos=1:3]", source="clean"),
        edit(kind="freeze", at="L1.mlp_out[pos=2]"),
        edit(kind="resample", at="L1.resid_pre[pos=3]", seed=1),
        edit(kind="noise", at="L1.resid_pre", sd=0.5, seed=2),
        edit(kind="add", at="L1.resid_post", vector=vector, coefficient=0.5),
        edit(kind="project_out", at="L1.resid_post", vector=vector),
        edit(kind="scale", at="L0.mlp_out", factor=0.5),
        edit(kind="set", at="L0.mlp_post[unit=3]", value=1.5),
        edit(kind="mask_edge", at="L1.pattern[head=1,k_pos=1]"),
    ]


def test_the_kinds_are_those_of_the_definitions():
    assert set(KINDS) == {
        "zero", "mean", "patch", "resample", "noise", "add", "project_out", "scale", "set", "freeze", "mask_edge",
        "via",
    }  # fmt: skip
    # Edges between a writer and a reader have laws of their own: tests/laws/test_edges.py.
    assert {one.kind for one in one_of_each(8)} == set(KINDS) - {"via"}


# -- identity


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "freeze", "at": "L1.z"},
        {"kind": "scale", "at": "L1.mlp_out", "factor": 1.0},
        {"kind": "add", "at": "L1.resid_pre", "vector": [1.0], "coefficient": 0.0},
        {"kind": "noise", "at": "L1.resid_pre", "sd": 0.0},
    ],
    ids=lambda fields: fields["kind"],
)
def test_an_edit_that_changes_nothing_leaves_every_bit(model, batch_of, fields):
    batch = batch_of(6, 4)
    if "vector" in fields:
        fields = {**fields, "vector": [1.0] * model.info.d_model}
    clean = everything(model, batch)
    assert torch.equal(model.run(batch, edits=[edit(**fields)], sources=clean).logits, model.run(batch).logits)


def test_cutting_an_edge_that_has_no_weight_changes_nothing(model, batch_of):
    batch = batch_of(6)
    cut = model.run(batch, edits=[edit(kind="mask_edge", at="L1.pattern[q_pos=2,k_pos=4]")]).logits
    assert_close(cut, model.run(batch).logits, rtol=1e-5, atol=1e-5)


def test_c16_all_of_the_first_stream_is_the_other_run_and_all_heads_are_the_attention(model, batch_of):
    ours, theirs = batch_of(6, 6, seed=1), batch_of(6, 6, seed=2)
    other = everything(model, theirs)

    def patched(at):
        return model.run(ours, edits=[edit(kind="patch", at=at, source="clean")], sources=other).logits

    assert torch.equal(patched("L0.resid_pre"), model.run(theirs).logits)
    assert_close(patched("L1.z"), patched("L1.attn_out"), rtol=1e-5, atol=1e-5)


# -- locality, rows, continuations


def test_an_edit_of_any_kind_changes_its_part_alone_and_nothing_upstream(model, batch_of):
    batch = batch_of(6, 6, 6)
    clean = everything(model, batch)
    for one in one_of_each(model.info.d_model):
        site = one.at.site
        upstream = [other for other in model.sites if other.layer is not None and other.layer < site.layer]
        plan = CapturePlan(sites=frozenset([*upstream, site]))
        found = model.run(batch, plan, [one], sources=clean)
        assert all(torch.equal(found[other], clean["clean"][other]) for other in upstream), one.kind
        # Of a pattern, the rest of the row is divided anew.
        reached = replace(one.at, k_pos=None) if site.name == "pattern" else one.at
        outside = torch.ones_like(found[site], dtype=torch.bool)
        outside[place(reached)] = False
        assert torch.equal(found[site][outside], clean["clean"][site][outside]), one.kind
        changed = not torch.equal(found[site], clean["clean"][site])
        assert changed == (one.kind not in ("patch", "freeze")), one.kind


def place(part):
    """Where a part lies in the tensor of its site, all prompts being of one length."""
    fields = {"pos": part.pos, "q_pos": part.q_pos, "k_pos": part.k_pos, "head": part.head, "kv_head": part.head}
    values = [fields.get(axis, part.unit) for axis in part.site.axes[1:]]
    spans = [value if isinstance(value, tuple) or value is None else (value, value + 1) for value in values]
    return (slice(None), *(slice(None) if span is None else slice(*span) for span in spans))


def test_edits_of_all_kinds_packed_in_one_forward_equal_single_runs(model, batch_of):
    batch = batch_of(6, 6, 6)
    worlds = [(one,) for one in one_of_each(model.info.d_model)]
    clean = everything(model, batch)
    packed = model.run_worlds(batch, worlds, sources=clean).logits
    for number, world in enumerate(worlds):
        alone = model.run(batch, edits=world, sources=clean).logits
        rows = packed.reshape(1 + len(worlds), 3, *alone.shape[1:])[1 + number]
        assert_close(rows, alone, rtol=1e-4, atol=5e-5)


def test_behind_the_clean_past_edits_of_all_kinds_equal_runs_of_whole_prompts(model, batch_of):
    if not model.tails:
        pytest.skip("runs whole prompts")
    batch = batch_of(6, 6, 6)
    clean, at = everything(model, batch), torch.tensor(batch.answer_at)
    edges = [edit(kind="mask_edge", at="L1.pattern[head=1,q_pos=4,k_pos=1]")]
    rest = [one for one in one_of_each(model.info.d_model) if one.kind != "mask_edge"]
    edges += [one.model_copy(update={"at": replace(one.at, pos=4)}) for one in rest]
    worlds = [(one,) for one in edges]
    tail = model.run_worlds(batch, worlds, sources=clean, logits_at=at, start=3, past=model.past(batch)).logits
    for number, world in enumerate(worlds):
        whole = model.run(batch, edits=world, sources=clean, logits_at=at).logits
        assert_close(tail[1 + number], whole, rtol=1e-4, atol=5e-5)


def test_c13_in_a_continuation_every_kind_gives_the_same_with_the_cache_and_without(model, batch_of):
    batch = batch_of(5, 5)
    clean = everything(model, batch)
    for one in one_of_each(model.info.d_model):
        kept, anew = (
            generate(model, batch, steps=2, edits=[one], sources=clean, cache=cache, stop_at_end=False)[0]
            for cache in (True, False)
        )
        assert kept.ids == anew.ids, one.kind
        assert_close(kept.choices[-1].probs, anew.choices[-1].probs, rtol=1e-4, atol=1e-6)


def test_c13_values_of_generated_tokens_are_made_and_those_to_be_copied_are_refused():
    model = opened("llama")[1]
    batch, d_model = random_batch(model, 5, 4, 5, 4), model.info.d_model
    clean, plan = everything(model, batch), CapturePlan.of("L1.resid_pre")
    made = [
        edit(kind="set", at="L1.resid_pre[pos=new]", vector=[2.0] * d_model),
        edit(kind="scale", at="L1.resid_pre[pos=new]", factor=1.5),
        edit(kind="add", at="L1.resid_pre[pos=new]", vector=[1.0] * d_model),
    ]
    found = generate(model, batch, steps=2, plan=plan, edits=made, sources=clean)[1].activations["L1.resid_pre"]
    assert torch.equal(found[0, 4:], torch.full_like(found[0, 4:], 4.0))
    for kind, name in (("freeze", "source"), ("patch", "source"), ("resample", "reference")):
        for at in ("L1.resid_pre[pos=new]", "L1.resid_pre"):
            with pytest.raises(InputError, match=r"'clean' has \d tokens, so nothing to copy"):
                generate(model, batch, steps=3, edits=[edit(kind=kind, at=at, **{name: "clean"})], sources=clean)


# -- attention edges


def masked_scores(plain, batch, cuts):
    """Logits of the plain model with −∞ added to scores of its layer; cuts are (head, query, key), None for all."""
    attention = [
        module for name, module in plain.named_modules() if name.endswith((".attn", ".attention", "self_attn"))
    ]

    def before(_, args, kwargs):
        mask = kwargs["attention_mask"].expand(-1, plain.config.num_attention_heads, -1, -1).clone()
        for head, query, key in cuts:
            heads = slice(None) if head is None else head
            mask[:, heads, query, key] = torch.finfo(mask.dtype).min
        return args, {**kwargs, "attention_mask": mask}

    handle = attention[LAYER].register_forward_pre_hook(before, with_kwargs=True)
    try:
        with torch.no_grad():
            return plain(input_ids=batch.ids, use_cache=False).logits
    finally:
        handle.remove()


@pytest.mark.parametrize("variant", [*KINDS_OF_MODEL, "gpt-oss"])
def test_cutting_edges_equals_masking_their_scores(plain, model, batch_of, variant):
    """Sinks (gpt-oss) and soft-caps (Gemma 2) included; edges of a head, of all heads, of ranges, of two edits."""
    batch = batch_of(6, 6)
    cases = {
        ("L1.pattern[head=1,q_pos=5,k_pos=2]",): [(1, 5, 2)],
        ("L1.pattern[q_pos=last,k_pos=0]",): [(None, 5, 0)],
        ("L1.pattern[head=2,q_pos=5,k_pos=0:5]",): [(2, 5, slice(0, 5))],
        ("L1.pattern[head=0,q_pos=2:6,k_pos=1]",): [(0, slice(2, 6), 1)],
        ("L1.pattern[head=3,q_pos=4,k_pos=1]", "L1.pattern[head=3,q_pos=4,k_pos=3]"): [(3, 4, 1), (3, 4, 3)],
    }
    for parts, cuts in cases.items():
        cut = model.run(batch, edits=[edit(kind="mask_edge", at=at) for at in parts]).logits
        assert_close(cut, masked_scores(plain, batch, cuts), rtol=1e-4, atol=1e-4)
        assert (cut - model.run(batch).logits).abs().max() > 1e-3


def test_a_row_of_which_nothing_is_left_mixes_nothing_in(model, batch_of):
    found = model.run(
        batch_of(6), CapturePlan.of("L1.pattern", "L1.z"), [edit(kind="mask_edge", at="L1.pattern[head=1,k_pos=0]")]
    )
    assert (found["L1.pattern"][0, 1, 0] == 0).all() and (found["L1.z"][0, 0, 1] == 0).all()
    assert_close(found["L1.pattern"][0, 1, 1:].sum(-1), torch.ones(5), rtol=1e-5, atol=1e-5)


def test_where_nearly_all_weight_is_cut_the_rest_keeps_its_proportions():
    class Row:
        addressed = (slice(None), slice(None), slice(None), slice(0, 1))

    logits = torch.tensor([20.0, 1.0, 0.0])
    cut = edit(kind="mask_edge", at="L0.pattern[k_pos=0]").edit(logits.softmax(-1)[None, None, None], Row())
    assert_close(cut[0, 0, 0], torch.tensor([0.0, *logits[1:].softmax(-1)]), rtol=1e-5, atol=0)


# -- vectors


def test_a_vector_is_added_projected_out_or_set_at_the_addressed_positions(model, batch_of):
    batch, site = batch_of(6, 4), Site("resid_post", LAYER)
    clean = model.run(batch, CapturePlan.of(site))[site]
    v = torch.randn(model.info.d_model, generator=torch.Generator().manual_seed(0))
    numbers = [float(x) for x in v]

    def after(**fields):
        return model.run(batch, CapturePlan.of(site), [edit(at="L1.resid_post[pos=last]", **fields)])[site]

    for prompt, last in ((0, 5), (1, 3)):
        x, u = clean[prompt, last], v / v.norm()
        assert_close(after(kind="add", vector=numbers, coefficient=-2.0)[prompt, last], x - 2 * v)
        assert_close(after(kind="set", vector=numbers)[prompt, last], v)
        assert_close(after(kind="set", value=0.25)[prompt, last], torch.full_like(x, 0.25))
        assert_close(after(kind="scale", factor=3.0)[prompt, last], 3 * x)
        projected = after(kind="project_out", vector=numbers)[prompt, last]
        assert abs(float(projected @ u)) < 1e-5
        assert_close(projected + (x @ u) * u, x, rtol=1e-5, atol=1e-5)


def test_a_named_vector_with_a_head_axis_gives_each_head_its_own():
    model = opened("llama")[1]
    batch, site = random_batch(model, 6), Site("z", LAYER)
    clean = model.run(batch, CapturePlan.of(site))[site]
    v = torch.randn(clean.shape[2:], generator=torch.Generator().manual_seed(0))
    sources = {f"{VECTOR}mood": as_source(v, site)}
    for at, heads in (("L1.z", slice(0, 4)), ("L1.z[head=2]", slice(2, 3))):
        found = model.run(batch, CapturePlan.of(site), [edit(kind="add", at=at, vector="mood")], sources=sources)[site]
        assert_close(found[:, :, heads], clean[:, :, heads] + v[heads])


def test_a_vector_that_does_not_fit_is_refused_with_both_lengths():
    model = opened("llama")[1]
    batch, d_model = random_batch(model, 6), model.info.d_model
    with pytest.raises(InputError, match=rf"its vector has 3 numbers, and L1\.resid_pre has {d_model}"):
        model.run(batch, edits=[edit(kind="add", at="L1.resid_pre", vector=[1.0, 2.0, 3.0])])
    with pytest.raises(InputError, match="no vector is called 'mary'"):
        model.run(batch, edits=[edit(kind="set", at="L1.resid_pre", vector="mary")])


# -- noise


def test_the_noise_of_a_prompt_does_not_depend_on_what_runs_beside_it(model, batch_of):
    """Alone, in a part of the batch, beside longer prompts, and at fewer positions: the same numbers."""
    batch, site = batch_of(6, 4, 5), Site("resid_pre", LAYER)

    def noise(of, at="L1.resid_pre"):
        return model.run(of, CapturePlan.of(site), [edit(kind="noise", at=at, sd=1.0, seed=3)])[site] - clean(of)

    def clean(of):
        return model.run(of, CapturePlan.of(site))[site]

    together = noise(batch)
    for prompt, length in enumerate(batch.lengths):
        alone = noise(batch.rows(prompt, prompt + 1))[0]
        assert_close(alone[:length], together[prompt, :length], rtol=0, atol=1e-4)
        at_last = noise(batch, "L1.resid_pre[pos=last]")[prompt]
        assert_close(at_last[length - 1], together[prompt, length - 1], rtol=0, atol=1e-4)
        assert at_last[: length - 1].abs().max() == 0
    assert (together[0, :4] - together[1, :4]).abs().max() > 0.1


def test_noise_has_the_standard_deviation_that_is_asked_for(plain, model, batch_of):
    """By default three times that of the embeddings as they are added: Gemma multiplies them by √d_model."""
    batch, site = batch_of(*[10] * 30), Site("embed")
    clean = model.run(batch, CapturePlan.of(site))[site]
    added = plain.get_input_embeddings().weight.detach()
    spread = float(added.std(correction=0)) * (plain.config.hidden_size**0.5 if "gemma" in model.name else 1.0)
    for fields, expected in (({}, 3 * spread), ({"scale": 0.5}, spread / 2), ({"sd": 0.7}, 0.7)):
        found = model.run(batch, CapturePlan.of(site), [edit(kind="noise", at="embed", **fields)])[site] - clean
        # 9,600 numbers: the standard deviation of their standard deviation is 0.7 %.
        assert float(found.std()) == pytest.approx(expected, rel=0.03)
        assert abs(float(found.mean())) < 0.05 * expected


def test_the_spread_of_a_table_of_many_rows_is_summed_in_blocks():
    class Wired:
        def __init__(self):
            view = type("View", (), {"scale": 2.0})
            self.ports = {Site("embed"): type("Port", (), {"module": "table", "view": view})}

    model = torch.nn.ModuleDict({"table": torch.nn.Embedding(ROWS + 7, 3)})
    found = embedding_sd(model, Wired())
    assert float(found) == pytest.approx(2 * float(model["table"].weight.detach().std(correction=0)), rel=1e-5)


def test_noise_depends_on_seed_and_site():
    model = opened("llama")[1]
    batch = random_batch(model, 6)
    logits = [
        model.run(batch, edits=[edit(kind="noise", at=at, sd=0.1, seed=seed)]).logits
        for at, seed in (("L1.resid_pre", 0), ("L1.resid_pre", 0), ("L1.resid_pre", 1), ("L0.resid_post", 0))
    ]
    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(logits[0], logits[2]) and not torch.allclose(logits[0], logits[3])


# -- other prompts


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(3, 5), min_size=1, max_size=4), st.integers(0, 2**31))
def test_a_resampled_prompt_is_never_the_prompt_itself_and_each_gives_once(lengths, seed):
    batch = random_batch(opened("llama")[1], *lengths, *lengths)
    taken = partners(batch, batch, "clean", seed)
    assert sorted(taken) == list(range(len(batch)))
    assert all(other != prompt for prompt, other in enumerate(taken))
    assert all(batch.lengths[other] == batch.lengths[prompt] for prompt, other in enumerate(taken))
    assert taken == partners(batch, batch, "clean", seed)


def test_resampling_draws_uniformly_among_derangements():
    batch = random_batch(opened("llama")[1], 4, 4, 4, 4)
    found = [partners(batch, batch, "clean", seed) for seed in range(900)]
    assert len(set(found)) == 9 and min(map(found.count, set(found))) > 60


def test_from_another_set_a_prompt_of_the_same_length_with_other_tokens_is_drawn():
    """Also where it holds as many prompts of the same lengths, since one of them may be the prompt itself."""
    model = opened("llama")[1]
    ours, theirs = random_batch(model, 4), random_batch(model, 4, 5, 4)
    assert ours.id_lists()[0] == theirs.id_lists()[0]
    assert {partners(ours, theirs, "reference", seed) for seed in range(20)} == {(2,)}
    swapped = theirs.select([2, 1, 0])
    taken = {partners(theirs.select([0, 2]), swapped.select([0, 2]), "corrupt", seed) for seed in range(20)}
    assert taken == {(0, 1)}


def test_resampling_puts_in_the_value_of_the_drawn_prompt(model, batch_of):
    batch, site = batch_of(5, 4, 5, 4), Site("resid_pre", LAYER)
    clean = everything(model, batch)
    taken = partners(batch, batch, "clean", 7)
    one = edit(kind="resample", at="L1.resid_pre[pos=last]", seed=7)
    found = model.run(batch, CapturePlan.of(site), [one], sources=clean)[site]
    for prompt, length in enumerate(batch.lengths):
        assert torch.equal(found[prompt, length - 1], clean["clean"][site][taken[prompt], length - 1])
        # In parts of the batch as well, since the draw is of the whole of it.
        part = batch.rows(prompt, prompt + 1)
        assert torch.equal(
            model.run(part, CapturePlan.of(site), [one], sources=clean)[site][0, length - 1], found[prompt, length - 1]
        )


def test_a_prompt_without_another_of_its_length_cannot_be_resampled():
    model = opened("llama")[1]
    batch = random_batch(model, 5, 4, 5)
    with pytest.raises(InputError, match=r"prompt 1 has 4 tokens, and 'clean' has no other"):
        model.run(batch, edits=[edit(kind="resample", at="L1.z")], sources=everything(model, batch))


def test_the_mean_within_templates_is_over_the_reference_prompts_of_the_same_one(model, batch_of):
    site = Site("resid_post", LAYER)
    ours = replace(batch_of(5, 4, 5), templates=("long", "short", "long"))
    reference = replace(batch_of(4, 5, 4, 5, 7, 5, seed=2), templates=("short", "long", "short", "long", "x", "long"))
    sources = {"abc": model.run(reference, CapturePlan.of(site)).activations}
    values = sources["abc"][site]
    expected = {"short": (values[0] + values[2]) / 2, "long": (values[1] + values[3] + values[5]) / 3}
    one = edit(kind="mean", at="L1.resid_post", reference="abc", over="template")
    found = model.run(ours, CapturePlan.of(site), [one], sources=sources)[site]
    for prompt, length in enumerate(ours.lengths):
        assert_close(found[prompt, :length], expected[ours.templates[prompt]][:length], rtol=1e-5, atol=1e-5)
        alone = model.run(ours.rows(prompt, prompt + 1), CapturePlan.of(site), [one], sources=sources)[site]
        assert_close(alone[0, :length], found[prompt, :length], rtol=1e-6, atol=1e-6)


def test_a_mean_within_templates_that_is_not_defined_says_why():
    model = opened("llama")[1]
    batch = random_batch(model, 4, 4, 5)
    one = edit(kind="mean", at="L1.z", over="template")

    def run(ours, theirs):
        model.run(ours, edits=[one], sources=everything(model, theirs))

    def named(*templates):
        return replace(batch, templates=templates)

    with pytest.raises(InputError, match="the input that is run names none"):
        run(batch, named("a", "a", "b"))
    with pytest.raises(InputError, match="'clean' has no prompt of template 'b'"):
        run(named("a", "a", "b"), named("a", "a", "c"))
    with pytest.raises(InputError, match="within template 'b' is the value itself"):
        run(named("a", "a", "b"), named("a", "a", "b"))
    with pytest.raises(InputError, match=r"within template 'a' needs prompts of equal length.* 4 to 5 tokens"):
        run(named("a", "a", "a"), named("a", "a", "a"))


# -- as JSON

PARTS = {
    "any": ["embed", "L0.z[head=1]", "L3.resid_pre[pos=last]", "L1.mlp_post[pos=2:5,unit=7]"],
    "whole": ["embed", "L0.z[head=1]", "L3.resid_pre[pos=last]"],
    "edges": ["L1.pattern", "L0.pattern[head=2,q_pos=last,k_pos=0:3]", "L2.cross_pattern[k_pos=4]"],
}
NUMBERS = st.floats(-1e6, 1e6)
NAMES = st.text(min_size=1, max_size=8)
VECTORS = NAMES | st.lists(NUMBERS, min_size=1, max_size=4).filter(any)
SEEDS = st.integers(0, 2**32)
FIELDS = {
    "zero": {},
    "mean": {"reference": NAMES, "over": st.sampled_from(["prompts", "positions", "template"])},
    "patch": {"source": NAMES},
    "freeze": {"source": NAMES},
    "resample": {"reference": NAMES, "seed": SEEDS},
    "noise": {"sd": st.floats(0, 10), "seed": SEEDS},
    "add": {"vector": VECTORS, "coefficient": NUMBERS},
    "project_out": {"vector": VECTORS},
    "scale": {"factor": NUMBERS},
    "set": {"vector": VECTORS},
    "mask_edge": {},
}


@st.composite
def as_json(draw):
    kind = draw(st.sampled_from(sorted(FIELDS)))
    parts = PARTS[{"mask_edge": "edges", "project_out": "whole"}.get(kind, "any")]
    return {"kind": kind, "at": draw(st.sampled_from(parts)), **draw(st.fixed_dictionaries(FIELDS[kind]))}


@settings(max_examples=150, deadline=None)
@given(as_json())
def test_an_edit_of_any_kind_is_the_same_after_json(given_as):
    one = parse_intervention(given_as)
    printed = one.model_dump(mode="json")
    assert parse_intervention(printed) == one and printed["at"] == str(Part.parse(given_as["at"]))
    assert all(printed[name] == value for name, value in given_as.items() if name != "at")


@pytest.mark.parametrize(
    ("given_as", "problem"),
    [
        ({"kind": "steer", "at": "L0.z"}, "is not an intervention"),
        ({"kind": "add", "at": "L0.resid_pre"}, "vector: Field required"),
        ({"kind": "add", "at": "L0.pattern", "vector": [1.0]}, "the last axis of L0.pattern is k_pos"),
        ({"kind": "project_out", "at": "L0.mlp_post[unit=1]", "vector": "v"}, "leave out unit=1"),
        ({"kind": "project_out", "at": "L0.resid_pre", "vector": [0.0, 0.0]}, "has no direction"),
        ({"kind": "set", "at": "L0.z"}, "give value or vector"),
        ({"kind": "set", "at": "L0.z", "value": 1, "vector": [1.0]}, "give value or vector"),
        ({"kind": "noise", "at": "L0.resid_pre", "sd": 1, "scale": 3}, "give sd or scale"),
        ({"kind": "noise", "at": "L0.resid_pre", "sd": -1}, "sd: Input should be greater"),
        ({"kind": "noise", "at": "L0.pattern"}, "noise needs features"),
        ({"kind": "mask_edge", "at": "L0.z[head=1]"}, "address a pattern, not z"),
        ({"kind": "scale", "at": "L0.z", "factor": float("nan")}, "factor: Input should be a finite number"),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused_with_the_reason(given_as, problem):
    with pytest.raises(SpecError, match=problem):
        parse_intervention(given_as)
