"""The real model: parity, the known answer, and a whole sweep against hooks written here on plain transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from analyses.bench import Bench
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from hooks.model import open_model
from hooks.sites import SITES

pytestmark = pytest.mark.real
PROMPT = "When Mary and John went to the store, John gave a drink to"
IOI = {"clean": {"prompts": [PROMPT], "answers": [" Mary"], "foils": [" John"]}}
N_LAYERS, N_HEADS, D_HEAD = 30, 9, 64


@pytest.fixture(scope="module")
def opened(smollm2):
    return open_model(smollm2, name="smollm2-135m", device="cpu")


@pytest.fixture(scope="module")
def plain(smollm2):
    return AutoModelForCausalLM.from_pretrained(smollm2, attn_implementation="eager", dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer(smollm2):
    return AutoTokenizer.from_pretrained(smollm2)


def experiment(analysis, **params):
    return Experiment.model_validate(
        {"model": {"name": "smollm2-135m"}, "inputs": IOI, "analysis": analysis, "params": params}
    )


def test_parity_is_exact_and_every_site_but_the_learned_positions_is_proved(opened):
    assert opened.proof.parity == 0.0 and opened.proof.identity == 0.0
    of_other_models = {"mixer_out", "router_logits", "router", "expert_post"}
    of_other_models |= {name for name in SITES if name.startswith("cross_")}
    assert opened.proof.names() == set(SITES) - {"pos_embed"} - of_other_models
    read_only = opened.proof.names() - opened.proof.names(writable=True)
    assert read_only == {"scores", "head_out", "logits"}
    info = opened.info
    assert (info.n_layers, info.n_heads, info.n_kv_heads, info.d_head) == (N_LAYERS, N_HEADS, 3, D_HEAD)
    assert (info.positions, info.norm_kind, info.gated, info.parallel) == ("rotary", "RMSNorm", True, False)


def test_the_answer_to_the_worked_prompt_is_mary(opened):
    result = run_experiment(experiment("next_token"), Bench(opened, experiment("next_token")))
    assert result.grid("prob").coords["token"][0] == "·Mary"


def test_the_sweep_over_270_heads_equals_plain_hooks(opened, plain, tokenizer):
    mary, john = (tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in (" Mary", " John"))
    ids = torch.tensor([tokenizer(PROMPT)["input_ids"]])

    def difference():
        with torch.no_grad():
            logits = plain(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1]
        return float(logits[mary] - logits[john])

    clean, expected = difference(), {}
    # Every fourth head: each layer and each head number comes up, in a quarter of the time.
    for layer, head in list(np.ndindex(N_LAYERS, N_HEADS))[::4]:

        def cut(_, args, head=head):
            z = args[0].clone()
            z[..., head * D_HEAD : (head + 1) * D_HEAD] = 0
            return (z,)

        handle = plain.model.layers[layer].self_attn.o_proj.register_forward_pre_hook(cut)
        expected[layer, head] = difference() - clean
        handle.remove()
    sweep = experiment("ablation", kind="zero", over="head", metric="logit_diff")
    result = run_experiment(sweep, Bench(opened, sweep))
    assert result.grid("metric_clean").values == pytest.approx(clean, abs=1e-4)
    effect = result.grid("effect").values
    assert [{place[axis] for place in expected} for axis in (0, 1)] == [set(range(N_LAYERS)), set(range(N_HEADS))]
    assert all(abs(effect[place] - value) < 1e-4 for place, value in expected.items())
