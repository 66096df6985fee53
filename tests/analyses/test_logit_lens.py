"""The logit lens by hand on the plain model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analyses.analysis import sentence
from analyses.bench import Bench
from analyses.catalogue.logit_lens import Params
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from hooks.errors import InputError, SiteMissing
from hooks.tokens import display
from tests.analyses.by_hand import LAYERS, VARIANTS, ByHand
from tests.analyses.pairs import ANSWERS, CLEAN, FOILS, runner
from tests.laws.conftest import opened

LENGTH = len(CLEAN[0])


@pytest.fixture(scope="module", params=VARIANTS)
def by_hand(request):
    return ByHand(request.param)


@pytest.fixture(scope="module")
def lens(by_hand):
    return runner(by_hand.model, "logit_lens")


def head(by_hand, stream):
    """The plain model's final norm, unembedding and soft cap."""
    model = by_hand.model
    norm = {"gpt2": "transformer.ln_f", "gpt_neox": "gpt_neox.final_layer_norm"}.get(by_hand.variant, "model.norm")
    with torch.no_grad():
        logits = model.get_output_embeddings()(model.get_submodule(norm)(stream))
    return 30.0 * torch.tanh(logits / 30.0) if by_hand.variant == "gemma2" else logits


def read(by_hand, n, at, writes=()):
    """Logits [layer pos d_vocab] of every entry of one prompt, in a run with some activations replaced."""
    reads = [(name, layer) for name in ("resid_pre", "resid_post") for layer in range(LAYERS)]
    _, seen = by_hand.run(CLEAN[n], writes, reads)
    streams = [seen[at, layer] for layer in range(LAYERS)]
    streams += [seen["resid_post", LAYERS - 1]] if at == "resid_pre" else []
    return torch.cat([head(by_hand, stream) for stream in streams]).double()


def check(result, n, logits):
    """The numbers of a prompt against the logits of its entries, [layer pos d_vocab], of which the last is the end."""
    logs, answer = logits.log_softmax(-1), logits[..., ANSWERS[n]]
    expected = {
        "prob": logs.exp()[..., ANSWERS[n]],
        "rank": (logits > answer[..., None]).sum(-1),
        "kl": (logs[-1].exp() * (logs[-1] - logs)).sum(-1),
        "logit_diff": answer - logits[..., FOILS[n]],
    }
    for name, values in expected.items():
        assert result.grid(f"{name}_by_prompt").values[n] == pytest.approx(values.numpy(), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("at", ["resid_pre", "resid_post"])
def test_c25_every_entry_is_the_models_own_head_on_the_stream(by_hand, lens, at):
    result = lens({"at": at, "per_prompt": True})
    assert result.grid("prob").coords["layer"] == tuple(range(LAYERS + (at == "resid_pre")))
    for n in range(len(CLEAN)):
        check(result, n, read(by_hand, n, at))


def test_the_last_entry_is_the_models_own_answer_exactly(by_hand, lens):
    result = lens({"per_prompt": True})
    assert not result.grid("kl").values[-1].any()
    with torch.no_grad():
        logits = by_hand.model(input_ids=torch.tensor(CLEAN), use_cache=False).logits
    probs = logits.softmax(-1)[torch.arange(2)[:, None], torch.arange(LENGTH), torch.tensor(ANSWERS)[:, None]]
    assert result.grid("prob_by_prompt").values[:, -1] == pytest.approx(probs.numpy(), abs=1e-6)


EDITS = ["L0.z[head=2]", "L2.resid_pre[pos=3]"]


@pytest.mark.parametrize(("at", "budget"), [("resid_pre", 64 << 20), ("resid_post", 1)])
def test_under_edits_every_entry_is_read_in_the_edited_run(by_hand, lens, at, budget):
    edits = [{"kind": "zero", "at": part} for part in EDITS]
    result = lens({"at": at, "per_prompt": True, "edits": edits}, budget_bytes=budget)
    zeroed = [("z", 0, lambda z: z.index_fill(2, torch.tensor(2), 0.0)),
              ("resid_pre", 2, lambda x: x.index_fill(1, torch.tensor(3), 0.0))]  # fmt: skip
    for n in range(len(CLEAN)):
        check(result, n, read(by_hand, n, at, zeroed))


def test_an_edit_behind_the_last_stream_is_in_every_entry():
    edits = [{"kind": "zero", "at": "ln_final[pos=2]"}]
    result = runner(ByHand("llama").model, "logit_lens")({"edits": edits})
    # Without a bias, nothing but zeros comes out of the unembedding there: all 64 tokens are equally likely.
    assert result.grid("prob").values[:, 2] == pytest.approx(1 / 64)
    assert not result.grid("kl").values[:, 2].any() and result.grid("kl").values[:-1, 1].all()


def test_edits_are_written_only_where_there_are_any():
    assert "edits" not in Params().model_dump() and "zero head 1.2" in sentence_of([EDITS[0].replace("L0", "L1")])


def sentence_of(parts):
    edits = [{"kind": "zero", "at": part} for part in parts]
    spec = {"model": "tiny", "inputs": {"clean": {"prompts": ["a"]}}, "analysis": "logit_lens"}
    return sentence(Experiment.model_validate({**spec, "params": {"edits": edits}}))


def test_the_top_tokens_of_every_cell_are_listed(by_hand, lens):
    top = lens({"top_k": 3}).grid("top_prob")
    assert top.dims == ("prompt", "layer", "pos", "rank") and top.values.shape == (2, LAYERS + 1, LENGTH, 3)
    tokens = np.array(top.coords["token"]).reshape(top.values.shape)
    for n in range(2):
        expected = read(by_hand, n, "resid_pre").softmax(-1).topk(3)
        assert top.values[n] == pytest.approx(expected.values.numpy(), abs=1e-5)
        words = display(None, expected.indices.flatten().tolist())
        assert tokens[n].ravel().tolist() == list(words)


def test_without_answers_the_models_own_first_choice_is_followed(by_hand, lens):
    result = lens({}, answers=False)
    assert not result.grid("rank").values[-1].any()
    assert "ranks first" in result.grid("rank").about


@pytest.mark.parametrize("budget", [1, 1 << 30])
def test_the_numbers_do_not_depend_on_how_many_layers_share_a_forward(budget):
    run = runner(ByHand("llama").model, "logit_lens")
    reference = run({"per_prompt": True})
    other = run({"per_prompt": True}, budget_bytes=budget)
    for name, grid in reference.grids.items():
        assert other.grid(name).values == pytest.approx(grid.values, abs=2e-5)


def test_padding_has_no_value():
    result = runner(ByHand("gpt2").model, "logit_lens")({}, clean=[CLEAN[0], CLEAN[1][:3]])
    top = result.grid("top_prob")
    assert not top.valid[1, :, 3:].any() and top.valid[1, :, :3].all() and top.valid[0].all()
    alone = runner(ByHand("gpt2").model, "logit_lens")({}, clean=[CLEAN[0]])
    assert result.grid("prob").values[:, 3:] == pytest.approx(alone.grid("prob").values[:, 3:], abs=1e-5)


def look(variant, params, rows):
    model = opened(variant)[1]
    spec = {"model": variant, "inputs": {"clean": rows}, "analysis": "logit_lens", "params": params}
    experiment = Experiment.model_validate(spec)
    return run_experiment(experiment, Bench(model, experiment))


@pytest.mark.parametrize("variant", ["bloom", "bert", "cohere", "mixtral"])
def test_other_heads_are_the_models_own_too(variant):
    result = look(variant, {"at": "resid_post"}, {"prompts": [{"ids": CLEAN[0]}]})
    assert not result.grid("kl").values[-1].any() and result.grid("kl").values[0].max() > 1e-3


def test_a_stream_that_blocks_do_not_have_is_refused():
    with pytest.raises(SiteMissing, match="resid_mid"):
        look("gpt-neox-parallel", {"at": "resid_mid"}, {"prompts": [{"ids": CLEAN[0]}]})
    with pytest.raises(InputError, match="ranks no tokens"):
        look("bert-features", {}, {"prompts": [{"ids": CLEAN[0]}]})
