"""Generation: what is captured and edited while a prompt grows is what one forward over the final sequence has."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from hooks.activations import Activations
from hooks.errors import Cancelled, InputError, ModelError
from hooks.generate import generate
from hooks.interventions.base import Intervention
from hooks.interventions.mean import Mean
from hooks.interventions.patch import Patch
from hooks.interventions.zero import Zero
from hooks.plan import CapturePlan
from hooks.prompts import IdsPrompt, PromptSet
from hooks.sampling import Sampling
from hooks.schedule import stack_of
from hooks.sites import MAIN, Part, Site
from tests.laws.conftest import VARIANTS, ids_batch, opened
from tests.laws.test_edits import hook_counts, writable

PROPERTY = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
STEPS = 4


def continues(model):
    try:
        model.require_causal()
    except ModelError:
        return False
    return True


CAUSAL = [name for name, family in VARIANTS.items() if name not in family.classes]
WITH_ENCODER = ["bart", "t5", "whisper"]
# One of each way to keep keys and values: whole, shared by heads, behind windows, with slopes, latent, of a mixer,
# beside those of an encoder.
KINDS = ["gpt2", "llama", "gemma2", "bloom", "falcon-multi-query", "deepseek-v3", "gpt-oss", "jamba", "t5"]
of_each_kind = pytest.mark.parametrize("variant", KINDS)


@pytest.fixture(params=[*CAUSAL, *WITH_ENCODER])
def variant(request):
    """The models that continue a text."""
    return request.param


def everything(model):
    return CapturePlan(sites=model.sites)


def sequence(model, continuation):
    """The final sequence as a prompt of its own, with what its encoder read."""
    if continuation.batch.sides:
        return continuation.batch
    ids = tuple(continuation.batch.ids[0].tolist())
    return model.tokens(PromptSet(prompts=(IdsPrompt(ids=ids),)))


def assert_same(found: Activations, expected: Activations, tolerance: float) -> None:
    """Every site within `tolerance` of its own largest value; the lowest number of a mask is nobody's value."""
    assert set(found) == set(expected)
    for site in expected:
        assert found[site].shape == expected[site].shape, site
        masked = expected[site] < -1e30
        assert torch.equal(found[site] < -1e30, masked), site
        ours, theirs = found[site].masked_fill(masked, 0), expected[site].masked_fill(masked, 0)
        assert (ours - theirs).abs().max() <= tolerance * max(float(theirs.abs().max()), 1e-3), site


def test_c13_captures_while_generating_equal_one_forward_over_the_final_sequence(model, batch_of):
    for cache in {False, model.takes_cache}:
        for continuation in generate(
            model, batch_of(6, 4), steps=STEPS, plan=everything(model), cache=cache, stop_at_end=False
        ):
            whole = model.run(sequence(model, continuation), everything(model)).activations
            assert continuation.batch.ids.shape[1] in (6 + STEPS, 4 + STEPS)
            assert_same(continuation.activations, whole, 1e-4)


def test_greedy_tokens_are_those_of_the_unhooked_model_one_prompt_at_a_time(plain, model, batch_of):
    batch = batch_of(6, 4)
    found = generate(model, batch, steps=STEPS, cache=model.takes_cache, stop_at_end=False)
    for prompt, (ids, continuation) in enumerate(zip(batch.id_lists(), found, strict=True)):
        row, read, name = list(ids), {}, "input_ids"
        if "encoder" in batch.sides:
            side, name = batch.sides["encoder"], "decoder_input_ids"
            read = {key: values[[prompt]] for key, values in side.inputs.items()} or {
                "input_ids": torch.tensor([side.id_lists()[prompt]])
            }
        for choice in continuation.choices:
            with torch.no_grad():
                logits = plain(**read, **{name: torch.tensor([row])}, use_cache=False).logits[0, -1]
            row.append(int(logits.argmax()))
            assert choice.token == row[-1]
            assert choice.prob == pytest.approx(float(logits.softmax(-1).max()), rel=1e-4)


@of_each_kind
def test_c13_two_runs_are_identical(model, batch_of):
    batch, sampling = batch_of(5), Sampling(greedy=False, temperature=1.5, seed=3)
    first, second = (
        generate(model, batch, steps=STEPS, plan=everything(model), sampling=sampling, cache=model.takes_cache)[0]
        for _ in range(2)
    )
    assert first.ids == second.ids
    assert all(torch.equal(first.activations[site], second.activations[site]) for site in first.activations)


class Counting(Intervention):
    """Zeroes a part and notes the shape of what it was given."""

    kind: str = "counting"

    def edit(self, x, ctx):
        SEEN.append(tuple(x.shape))
        return torch.zeros_like(x)


SEEN: list[tuple[int, ...]] = []


@of_each_kind
def test_c13_an_edit_of_every_generated_token_acts_once_in_each_step_that_runs_one(model, batch_of):
    if not model.takes_cache:
        pytest.skip("keeps no key/value cache")
    SEEN.clear()
    edit = Counting(at=Part.parse("L1.resid_post[pos=new]"))
    (found,) = generate(model, batch_of(5), steps=STEPS, plan=CapturePlan.of("L1.resid_post"), edits=[edit])
    # The prompt's own forward holds no generated token; the last token runs because its capture is wanted.
    assert [(1, 1, model.info.d_model)] * len(found.ids) == SEEN
    written = found.activations["L1.resid_post"][0]
    assert (written[5:] == 0).all() and (written[:5] != 0).any(-1).all()


@of_each_kind
def test_c13_an_edit_without_a_position_acts_on_all_positions_of_each_step(model, batch_of):
    if not model.takes_cache:
        pytest.skip("keeps no key/value cache")
    SEEN.clear()
    (found,) = generate(model, batch_of(5), steps=STEPS, edits=[Counting(at=Part.parse("L0.resid_post"))])
    assert [shape[1] for shape in SEEN] == [5] + [1] * (len(found.ids) - 1)


@st.composite
def edited(draw):
    """A causal model with one to three parts to cut, at positions before, at and after the end of 5 tokens."""
    variant = draw(st.sampled_from(sorted(VARIANTS)))
    model = opened(variant)[1]
    assume(continues(model) and model.takes_cache)
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        site = draw(st.sampled_from(writable(model)))
        fields = {}
        if site.kind.head_axis and draw(st.booleans()):
            fields["head"] = draw(st.integers(0, model.info.size(site.kind.head_axis) - 1))
        for axis in ("pos", "q_pos", "k_pos"):
            if axis in site.axes and draw(st.booleans()):
                grows = stack_of(site, axis) == MAIN
                within = st.integers(0, 7) | st.sampled_from(["last", "new", (1, 4), (3, 8)])
                fields[axis] = draw(within if grows else st.integers(0, 3) | st.sampled_from(["last", (1, 4)]))
        parts.append(Part(site, **fields))
    return variant, parts


@PROPERTY
@given(edited(), st.booleans())
def test_with_and_without_the_cache_tokens_and_captures_are_the_same_under_edits(chosen, greedy):
    variant, parts = chosen
    model = opened(variant)[1]
    batch, edits = ids_batch(model, 5, 4), [Zero(at=part) for part in parts]
    sampling = Sampling(greedy=greedy, temperature=1.2, top_k=20, top_p=0.9, seed=5)
    kept, anew = (
        generate(model, batch, steps=STEPS, sampling=sampling, plan=everything(model), edits=edits, cache=cache)
        for cache in (True, False)
    )
    for ours, theirs in zip(kept, anew, strict=True):
        assert ours.ids == theirs.ids
        assert_same(ours.activations, theirs.activations, 1e-5)
        for mine, other in zip(ours.choices, theirs.choices, strict=True):
            assert_close(mine.probs, other.probs, rtol=1e-4, atol=1e-6)


def absolute(part: Part, length: int, final: int) -> Part:
    """The part with the positions that "new" and "last" mean, as numbers."""
    meant = {"new": (length, final), "last": length - 1}
    fields = {name: getattr(part, name) for name in ("pos", "q_pos", "k_pos")}
    fields |= {name: meant.get(at, at) for name, at in fields.items() if stack_of(part.site, name) == MAIN}
    return Part(part.site, head=part.head, unit=part.unit, **fields)


@PROPERTY
@given(edited())
def test_positions_are_absolute_so_the_final_sequence_under_the_same_edits_gives_the_same_captures(chosen):
    variant, parts = chosen
    # One forward edits a query over all keys, a step only over those there were; and it has no positions yet to come.
    assume(all(part.site.name != "pattern" or part.k_pos is not None for part in parts))
    model = opened(variant)[1]
    batch = ids_batch(model, 5)
    (found,) = generate(
        model, batch, steps=STEPS, plan=everything(model), edits=[Zero(at=part) for part in parts], stop_at_end=False
    )
    edits = [Zero(at=absolute(part, 5, 5 + STEPS)) for part in parts]
    assert_same(found.activations, model.run(sequence(model, found), everything(model), edits).activations, 1e-4)


@of_each_kind
def test_keys_behind_a_sliding_window_keep_their_columns_with_weight_zero(model, batch_of):
    windows = [layer for layer, window in enumerate(model.info.windows) if window is not None]
    if not windows or not model.takes_cache:
        pytest.skip("no sliding window")
    (found,) = generate(
        model, batch_of(6), steps=STEPS, plan=CapturePlan.of("L*.pattern"), stop_at_end=False, cache=True
    )
    for layer in windows:
        pattern, window = found.activations[Site("pattern", layer)][0], model.info.windows[layer]
        q, k = torch.meshgrid(torch.arange(6 + STEPS), torch.arange(6 + STEPS), indexing="ij")
        assert pattern.shape[1:] == q.shape
        assert (pattern[:, (k > q) | (q - k >= window)] == 0).all()
        # A sink takes its share; nothing else does.
        assert (pattern.sum(-1) <= 1 + 1e-5).all() and (pattern.sum(-1) > 0).all()


@of_each_kind
def test_a_patch_of_the_prompt_copies_from_the_paired_prompt_and_goes_on(model, batch_of):
    clean, corrupt = batch_of(5, 4, seed=1), batch_of(5, 4, seed=2)
    source = {"corrupt": model.run(corrupt, CapturePlan.of("L1.resid_pre")).activations}
    edit = Patch(at=Part.parse("L1.resid_pre[pos=0:4]"), source="corrupt")
    for cache in {False, model.takes_cache}:
        found = generate(
            model, clean, steps=2, plan=CapturePlan.of("L1.resid_pre"), edits=[edit], sources=source, cache=cache
        )
        for prompt, continuation in enumerate(found):
            copied = continuation.activations["L1.resid_pre"][0, :4]
            assert torch.equal(copied, source["corrupt"]["L1.resid_pre"][prompt, :4])


@of_each_kind
def test_a_mean_over_positions_stands_for_generated_tokens_too(model, batch_of):
    batch = batch_of(5, 4)
    source = {"clean": model.run(batch, CapturePlan.of("L1.resid_pre")).activations}
    values = source["clean"]["L1.resid_pre"]
    expected = (values[0].sum(0) + values[1, :4].sum(0)) / 9
    edit = Mean(at=Part.parse("L1.resid_pre[pos=new]"), over="positions")
    for continuation in generate(
        model,
        batch,
        steps=2,
        plan=CapturePlan.of("L1.resid_pre"),
        edits=[edit],
        sources=source,
        cache=model.takes_cache,
    ):
        assert_close(continuation.activations["L1.resid_pre"][0, -1], expected, rtol=1e-5, atol=1e-6)


@of_each_kind
def test_a_patch_of_a_generated_token_is_refused_since_the_source_has_none(model, batch_of):
    batch = batch_of(5)
    source = {"corrupt": model.run(batch, CapturePlan.of("L1.resid_pre")).activations}
    for part in ("L1.resid_pre", "L1.resid_pre[pos=new]", "L1.resid_pre[pos=3:7]"):
        with pytest.raises(InputError, match="'corrupt' has 5 tokens"):
            generate(model, batch, steps=3, edits=[Patch(at=Part.parse(part))], sources=source, cache=model.takes_cache)


@of_each_kind
def test_what_cannot_be_generated_is_refused_before_anything_runs(model, batch_of):
    batch = batch_of(5)
    with pytest.raises(InputError, match="0 steps"):
        generate(model, batch, steps=0)
    with pytest.raises(InputError, match="positions 0–7"):
        generate(model, batch, steps=3, edits=[Zero(at=Part.parse("L1.resid_pre[pos=8]"))])
    with pytest.raises(InputError, match="no position is called 'subject'"):
        generate(model, batch, steps=3, edits=[Zero(at=Part.parse("L1.resid_pre[pos=subject]"))], cache=False)
    if model.info.positions == "learned":
        with pytest.raises(InputError, match=f"positions for {model.info.n_ctx}"):
            generate(model, batch, steps=model.info.n_ctx)


@of_each_kind
def test_a_token_that_ends_the_text_is_the_last_one_unless_told_otherwise(model, batch_of, monkeypatch):
    batch = batch_of(5)
    free = generate(model, batch, steps=STEPS, stop_at_end=False, cache=False)[0]
    monkeypatch.setitem(vars(model), "end_tokens", frozenset({free.ids[1]}))
    stopped = generate(model, batch, steps=STEPS, cache=False)[0]
    first = free.ids.index(free.ids[1])
    assert stopped.ended and stopped.ids == free.ids[: first + 1]
    assert generate(model, batch, steps=STEPS, stop_at_end=False, cache=False)[0].ids == free.ids


class Broken(Counting):
    """Breaks when it meets a generated token."""

    def edit(self, x, ctx):
        raise RuntimeError("broken edit")


@of_each_kind
def test_c14_nothing_outlives_a_generation_that_is_cancelled_or_breaks(plain, model, batch_of):
    batch, before = batch_of(5), hook_counts(plain)
    logits = model.run(batch).logits

    def cancel(done, total):
        assert total == STEPS
        if done == 2:
            raise Cancelled("cancelled.")

    with pytest.raises(Cancelled):
        generate(model, batch, steps=STEPS, stop_at_end=False, cache=model.takes_cache, on_step=cancel)
    with pytest.raises(RuntimeError):
        generate(model, batch, steps=STEPS, stop_at_end=False, edits=[Broken(at=Part.parse("L0.resid_post[pos=new]"))],
                 cache=model.takes_cache)  # fmt: skip
    assert hook_counts(plain) == before
    assert torch.equal(model.run(batch).logits, logits)
