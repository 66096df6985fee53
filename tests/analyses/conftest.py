"""A tiny random model with a tokenizer, a bench over it, and plain arithmetic to compare with."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from analyses.bench import Bench
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from hooks.model import instrument
from tests.hooks.test_tokens import BARE

PROMPTS = ["Mary went to the store", "John went to the weather"]


@pytest.fixture(scope="session")
def plain():
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(BARE),
    )
    model = LlamaForCausalLM._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0.0, 0.2)
    return model


@pytest.fixture(scope="session")
def model(plain):
    return instrument(plain, BARE, name="tiny")


@pytest.fixture
def run(model):
    """`run(analysis, params, prompts=…)`: the result on the tiny model."""

    def go(analysis, params=None, *, prompts=PROMPTS, progress=None, inputs=None, seed=0, budget_bytes=64 << 20):
        answers = {"answers": [" Mary"] * len(prompts), "foils": [" John"] * len(prompts)}
        inputs = {"clean": {"prompts": prompts, **answers}} if inputs is None else inputs
        spec = {"model": "tiny", "inputs": inputs, "analysis": analysis, "params": params or {}, "seed": seed}
        experiment = Experiment.model_validate(spec)
        return run_experiment(experiment, Bench(model, experiment, progress=progress, budget_bytes=budget_bytes))

    return go


@pytest.fixture
def logits_of(plain):
    """Plain logits at the last position of one prompt, with one head's z zeroed by a hook of the test's."""

    def go(text, layer=None, head=None, width=8):
        handles = []
        if layer is not None:
            projection = plain.model.layers[layer].self_attn.o_proj

            def cut(_, args):
                z = args[0].clone()
                z[..., head * width : (head + 1) * width] = 0
                return (z,)

            handles.append(projection.register_forward_pre_hook(cut))
        with torch.no_grad():
            out = plain(input_ids=torch.tensor([BARE(text)["input_ids"]]), use_cache=False).logits[0, -1]
        for handle in handles:
            handle.remove()
        return out

    return go
