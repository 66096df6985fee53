"""Analyses on models of every kind, against hooks written here on the unobserved Hugging Face model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import lru_cache
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2ForTokenClassification

from analyses.bench import Bench
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from analyses.metrics import METRICS, MetricName
from analyses.phrases import metric_in_words
from analyses.result import Result
from hooks.errors import InputError, SiteMissing, SpecError
from hooks.model import Instrumented, instrument
from hooks.plan import CapturePlan
from hooks.prompts import PromptSet
from hooks.tiny import build
from tests.conftest import ROOT
from tests.hooks.small_tokenizers import wordpiece

ROWS = [[5, 9, 12, 7, 30], [8, 21, 4, 17, 11]]
D_HEAD = 8


@lru_cache
def opened(variant: str) -> tuple[nn.Module, Instrumented]:
    plain = build(variant)
    return plain, instrument(plain, name=variant)


def result_of(
    model: Instrumented, analysis: str, params: dict[str, Any] | None, clean: dict[str, Any] | None, **bench: Any
) -> Result:
    inputs = {} if clean is None else {"clean": clean}
    spec = {"model": "tiny", "inputs": inputs, "analysis": analysis, "params": params or {}}
    experiment = Experiment.model_validate(spec)
    return run_experiment(experiment, Bench(model, experiment, **bench))


def texts(rows: Sequence[Sequence[int]] = ROWS, **more: Any) -> dict[str, Any]:
    return {"prompts": [{"ids": list(row)} for row in rows], **more}


def choices(*numbers: int) -> list[dict[str, int]]:
    return [{"id": number} for number in numbers]


def without_head(projection: nn.Module, head: int) -> Callable[[], None]:
    """Zero one head's slice of what an output projection reads; the result removes the hook."""

    def cut(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        z = args[0].clone()
        z[..., head * D_HEAD : (head + 1) * D_HEAD] = 0
        return (z, *args[1:])

    return projection.register_forward_pre_hook(cut).remove


def plainly(model: nn.Module, projection: nn.Module | None = None, head: int = 0, **inputs: Tensor) -> Tensor:
    """Logits of the unobserved model, perhaps with one head cut."""
    with ExitStack() as stack, torch.no_grad():
        if projection is not None:
            stack.callback(without_head(projection, head))
        return model(**inputs).logits


# -- masked language models


@pytest.fixture(scope="module")
def masked() -> tuple[nn.Module, Instrumented, Any]:
    torch.manual_seed(0)
    tokenizer = wordpiece()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    )
    plain = BertForMaskedLM._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in plain.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.2)
    return plain, instrument(plain, tokenizer, name="masked"), tokenizer


MASKED = ["the [MASK] sat on the mat", "a [MASK]"]


def test_a_masked_model_is_asked_at_its_mask(masked: tuple[nn.Module, Instrumented, Any]) -> None:
    plain, model, tokenizer = masked
    result = result_of(model, "next_token", {"top_k": 4, "per_prompt": True}, {"prompts": MASKED})
    found = []
    for text in MASKED:
        given = tokenizer(text, return_tensors="pt")
        at = given["input_ids"][0].tolist().index(tokenizer.mask_token_id)
        found.append(plainly(plain, input_ids=given["input_ids"])[0, at].softmax(-1))
    top = torch.stack(found).mean(0).topk(4)
    assert result.grid("prob").values == pytest.approx(top.values.numpy(), abs=1e-5)
    assert "surprisal" not in result.grids and "masked-token" in result.grid("prob").about


@pytest.mark.parametrize("metric", ["prob", "cross_entropy", "rank"])
def test_metrics_of_a_masked_model_are_taken_at_the_mask(
    metric: str, masked: tuple[nn.Module, Instrumented, Any]
) -> None:
    plain, model, tokenizer = masked
    answer = 20
    result = result_of(model, "ablation", {"metric": metric}, {"prompts": MASKED, "answers": choices(answer, answer)})

    def measured(projection: nn.Module | None = None, head: int = 0) -> float:
        values = []
        for text in MASKED:
            given = tokenizer(text, return_tensors="pt")
            at = given["input_ids"][0].tolist().index(tokenizer.mask_token_id)
            logits = plainly(plain, projection, head, input_ids=given["input_ids"])[0, at]
            chosen = float(logits.softmax(-1)[answer])
            each = {"prob": chosen, "cross_entropy": -np.log(chosen), "rank": int((logits > logits[answer]).sum())}
            values.append(each[metric])
        return float(np.mean(values))

    assert float(result.grid("metric_clean").values) == pytest.approx(measured(), abs=1e-4)
    projection = plain.bert.encoder.layer[1].attention.output.dense
    effect = measured(projection, 2) - measured()
    assert result.grid("effect").values[1, 2] == pytest.approx(effect, abs=1e-4)


def test_the_loss_of_next_tokens_is_refused_where_none_are_predicted(
    masked: tuple[nn.Module, Instrumented, Any],
) -> None:
    with pytest.raises(InputError, match="does not predict them") as caught:
        result_of(masked[1], "ablation", {"metric": "loss"}, {"prompts": MASKED})
    assert "cross_entropy" in caught.value.hint


# -- classifiers of texts and images


def test_a_classifier_gives_classes_instead_of_tokens() -> None:
    plain, model = opened("bert-classifier")
    grid = result_of(model, "next_token", None, texts()).grid("prob")
    expected = plainly(plain, input_ids=torch.tensor(ROWS)).softmax(-1).mean(0).sort(descending=True)
    assert grid.values == pytest.approx(expected.values.numpy(), abs=1e-5)
    assert grid.coords["token"] == tuple(f"LABEL_{number}" for number in expected.indices.tolist())
    with pytest.raises(InputError, match="one answer per prompt"):
        result_of(model, "next_token", {"position": 1}, texts())


@pytest.mark.parametrize("metric", ["logit_diff", "cross_entropy", "accuracy", "kl"])
def test_metrics_of_a_classifier_are_taken_on_its_classes(metric: str) -> None:
    plain, model = opened("bert-classifier")
    given = texts(answers=["LABEL_2", "0"], foils=["LABEL_0", "LABEL_1"])
    result = result_of(model, "ablation", {"metric": metric}, given)
    right, wrong = torch.tensor([2, 0]), torch.tensor([0, 1])
    clean = plainly(plain, input_ids=torch.tensor(ROWS))
    cut = plainly(plain, plain.bert.encoder.layer[0].attention.output.dense, 1, input_ids=torch.tensor(ROWS))

    def measured(logits: Tensor) -> float:
        rows = torch.arange(2)
        each = {
            "logit_diff": logits[rows, right] - logits[rows, wrong],
            "cross_entropy": nn.functional.cross_entropy(logits, right, reduction="none"),
            "accuracy": (logits.argmax(-1) == right).float(),
            "kl": nn.functional.kl_div(logits.log_softmax(-1), clean.softmax(-1), reduction="none").sum(-1),
        }
        return float(each[metric].mean())

    assert float(result.grid("metric_clean").values) == pytest.approx(measured(clean), abs=1e-5)
    assert result.grid("effect").values[0, 1] == pytest.approx(measured(cut) - measured(clean), abs=1e-4)


def test_an_image_classifier_is_swept_and_its_attention_is_read() -> None:
    plain, model = opened("vit")
    pixels = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    given = {
        "prompts": [{"pixels": image} for image in pixels.tolist()],
        "answers": ["LABEL_0", "LABEL_1"],
        "foils": ["LABEL_2", "LABEL_2"],
    }
    clean, projection = plainly(plain, pixel_values=pixels), plain.vit.layers[1].attention.o_proj
    cut = plainly(plain, projection, 3, pixel_values=pixels)
    gap = [float((logits[[0, 1], [0, 1]] - logits[:, 2]).mean()) for logits in (clean, cut)]
    effect = result_of(model, "ablation", None, given).grid("effect").values
    assert effect[1, 3] == pytest.approx(gap[1] - gap[0], abs=1e-4)
    pattern = result_of(model, "attention_patterns", None, given).grid("pattern")
    assert pattern.values.shape[2] == pattern.values.shape[3] == model.info.n_positions
    assert pattern.values.sum(-1) == pytest.approx(np.ones(pattern.values.shape[:3]), abs=1e-5)
    with pytest.raises(InputError, match="reads images"):
        result_of(model, "head_scores", None, None)
    own = result_of(model, "head_scores", {"scores": ["first_token"]}, given).grid("first_token")
    assert own.values[0, 0] == pytest.approx(pattern.values[0, 0, 1:, 0].mean(), abs=1e-5)


def test_an_encoder_is_scored_on_repeated_random_tokens() -> None:
    model = opened("bert-classifier")[1]
    result = result_of(model, "head_scores", {"n": 6, "sequences": 2}, None)
    assert result.grid("induction").values.shape == (2, 4)
    assert result.grid("entropy").values.max() <= np.log(12) + 1e-6


# -- encoder-decoders


@pytest.mark.parametrize(
    ("at", "projection", "head"),
    [
        ("encoder.L0.z[head=1]", lambda plain: plain.encoder.block[0].layer[0].SelfAttention.o, 1),
        ("L1.cross_z[head=0]", lambda plain: plain.decoder.block[1].layer[1].EncDecAttention.o, 0),
        ("L0.z[head=2]", lambda plain: plain.decoder.block[0].layer[0].SelfAttention.o, 2),
    ],
)
def test_parts_of_both_stacks_and_between_them_are_ablated(
    at: str, projection: Callable[[Any], nn.Module], head: int
) -> None:
    plain, model = opened("t5")
    start = torch.full((2, 1), model.info.decoder_start)
    feed = {"input_ids": torch.tensor(ROWS), "decoder_input_ids": start}
    result = result_of(model, "ablation", {"at": [at], "metric": "logprob"}, texts(answers=choices(3, 40)))
    clean, cut = plainly(plain, **feed), plainly(plain, projection(plain), head, **feed)
    change = cut[:, -1].log_softmax(-1) - clean[:, -1].log_softmax(-1)
    assert float(result.grid("effect").values) == pytest.approx(float(change[[0, 1], [3, 40]].mean()), abs=1e-4)
    shifts = {name for name in result.grids if name.endswith("_shift")}
    assert shifts == {"pattern_shift", "cross_pattern_shift", "encoder_pattern_shift"}
    assert (result.grid("encoder_pattern_shift").values[1].max() > 0) == at.startswith("encoder")


@pytest.mark.parametrize(("params", "at"), [
    ({"over": "head", "stack": "encoder"}, "encoder.L{}.z[head={}]"),
    ({"over": "head", "site": "cross_z"}, "L{}.cross_z[head={}]"),
])  # fmt: skip
def test_heads_of_the_encoder_and_of_cross_attention_are_swept_as_each_alone(params: dict[str, Any], at: str) -> None:
    model, inputs = opened("t5")[1], texts(answers=choices(3, 40))
    effect = result_of(model, "ablation", {**params, "metric": "logprob"}, inputs).grid("effect")
    assert effect.dims == ("layer", "head") and effect.values.shape == (2, 4)
    for layer, head in ((0, 1), (1, 3)):
        alone = result_of(model, "ablation", {"at": [at.format(layer, head)], "metric": "logprob"}, inputs)
        assert effect.values[layer, head] == pytest.approx(float(alone.grid("effect").values), abs=1e-5)


def test_patterns_of_the_encoder_and_between_the_stacks_are_read_on_request() -> None:
    model = opened("t5")[1]
    assert result_of(model, "attention_patterns", {"stack": "encoder"}, texts()).grid("pattern").values.shape == (
        2, 4, 5, 5,
    )  # fmt: skip
    cross = result_of(model, "attention_patterns", {"cross": True}, texts()).grid("pattern")
    assert cross.values.shape == (2, 4, 1, 5)
    assert cross.values.sum(-1) == pytest.approx(np.ones((2, 4, 1)), abs=1e-5)
    with pytest.raises(InputError, match="reads two inputs"):
        result_of(model, "head_scores", None, None)


# -- mixtures of experts, hybrids


def test_an_expert_is_ablated_at_the_router() -> None:
    model = opened("mixtral")[1]
    results = [
        result_of(model, "ablation", {"at": [f"L0.router[expert={expert}]"], "metric": "kl"}, texts())
        for expert in range(model.info.n_experts)
    ]
    batch = model.tokens(PromptSet.model_validate(texts()))
    chosen = model.run(batch, CapturePlan.of("L0.router"))["L0.router"]
    for expert, result in enumerate(results):
        assert (float(result.grid("effect").values) > 1e-6) == bool((chosen[..., expert] > 0).any())


def test_experts_are_swept_with_a_column_for_each_and_layers_without_any_are_named() -> None:
    model = opened("qwen2-moe")[1]
    effect = result_of(model, "ablation", {"over": "expert", "metric": "kl"}, texts()).grid("effect")
    assert effect.dims == ("layer", "expert") and effect.coords["expert"] == (0, 1, 2, 3)
    assert effect.valid is not None and effect.valid.tolist() == [[False] * 4, [True] * 4]
    assert "layer 0 has no router" in effect.about
    alone = result_of(model, "ablation", {"at": ["L1.router[expert=2]"], "metric": "kl"}, texts()).grid("effect")
    assert effect.values[1, 2] == pytest.approx(float(alone.values), abs=1e-6)
    with pytest.raises(SpecError, match="no mixture of experts"):
        result_of(opened("gpt2")[1], "ablation", {"over": "expert", "metric": "kl"}, texts())


def test_layers_without_attention_are_left_out_of_a_sweep_over_heads_and_named() -> None:
    model = opened("jamba")[1]
    result = result_of(model, "ablation", {"metric": "kl"}, texts())
    for name in ("effect", "kl"):
        grid = result.grid(name)
        assert grid.valid is not None and grid.valid.tolist() == [[False] * 4, [True] * 4]
        assert "layer 0 has no z" in grid.about
    layers = result_of(model, "ablation", {"metric": "kl", "over": "layer"}, texts()).grid("effect")
    both = result_of(model, "ablation", {"metric": "kl", "at": ["L0.mixer_out", "L0.mlp_out"]}, texts())
    assert layers.valid is None
    assert layers.values[0] == pytest.approx(float(both.grid("effect").values), rel=1e-3)
    scores = result_of(model, "head_scores", {"n": 4, "sequences": 1}, None).grid("entropy")
    assert scores.valid is not None and not scores.valid[0].any() and scores.valid[1].all()
    shift = both.grid("pattern_shift")
    assert shift.valid is not None and not shift.valid[0].any()
    assert result_of(model, "attention_patterns", None, texts()).grid("pattern").coords["layer"] == (1,)


@pytest.mark.parametrize("analysis", ["ablation", "attention_patterns", "head_scores"])
def test_a_model_without_attention_says_so(analysis: str) -> None:
    model = opened("mamba")[1]
    params = {"metric": "kl"} if analysis == "ablation" else {}
    with pytest.raises(SiteMissing, match=r"cannot be (read|edited)"):
        result_of(model, analysis, params, None if analysis == "head_scores" else texts())


# -- models that give an embedding, a similarity, a number


def test_a_model_without_a_head_is_measured_by_the_direction_of_its_embedding() -> None:
    plain, model = opened("bert-features")
    result = result_of(model, "ablation", {"metric": "embedding_cosine"}, texts())
    with ExitStack() as stack, torch.no_grad():
        clean = plain(input_ids=torch.tensor(ROWS)).last_hidden_state.mean(1)
        stack.callback(without_head(plain.encoder.layer[0].attention.output.dense, 3))
        cut = plain(input_ids=torch.tensor(ROWS)).last_hidden_state.mean(1)
    cosine = float(nn.functional.cosine_similarity(clean, cut).mean())
    assert float(result.grid("metric_clean").values) == pytest.approx(1.0, abs=1e-6)
    assert result.grid("effect").values[0, 3] == pytest.approx(cosine - 1.0, abs=1e-5)
    assert result.grid("effect").unit == "cosine" and "kl" not in result.grids


@pytest.mark.parametrize(("variant", "usual"), [("bert-features", "embedding_cosine"), ("clip", "value")])
def test_what_is_no_choice_has_no_next_token_and_no_logit_difference(variant: str, usual: str) -> None:
    model = instrument(build(variant), wordpiece(), name=variant)
    pair = {"pixels": torch.zeros(3, 8, 8).tolist(), "text": "a"}
    given = {"prompts": [pair]} if variant == "clip" else texts()
    for analysis in ("next_token", "ablation"):
        with pytest.raises(InputError, match=r"gives (one number|an embedding)") as caught:
            result_of(model, analysis, None, given)
        assert usual in caught.value.hint


@pytest.fixture(scope="module")
def tagger() -> tuple[nn.Module, Instrumented]:
    """One output per position."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=32, n_embd=32, n_layer=2, n_head=4, n_positions=16, num_labels=1)
    plain = GPT2ForTokenClassification._from_config(config, attn_implementation="eager").eval()
    return plain, instrument(plain, name="tagger")


def test_an_output_is_compared_with_the_numbers_that_are_right(tagger: tuple[nn.Module, Instrumented]) -> None:
    plain, model = tagger
    labels = [[None, 0.5, 1.0, None, 0.25], [0.0, None, None, 1.0, -2.0]]
    result = result_of(model, "ablation", {"metric": "squared_error", "over": "attn"}, texts(labels=labels))
    out = plainly(plain, input_ids=torch.tensor(ROWS))[:, :, 0]
    errors = [
        np.mean([(float(out[row, pos]) - label) ** 2 for pos, label in enumerate(given) if label is not None])
        for row, given in enumerate(labels)
    ]
    assert float(result.grid("metric_clean").values) == pytest.approx(np.mean(errors), rel=1e-5)
    value = result_of(model, "ablation", {"metric": "value", "over": "attn"}, texts())
    assert float(value.grid("metric_clean").values) == pytest.approx(float(out[:, -1].mean()), abs=1e-6)


# -- labels


LABELS = [[None, 4, None, 63, None], [1, None, None, None, 2]]


@pytest.mark.parametrize("metric", ["label_loss", "label_prob", "label_accuracy"])
def test_labels_are_averaged_over_their_positions_then_over_prompts(metric: str) -> None:
    plain, model = opened("gpt2")
    result = result_of(model, "ablation", {"metric": metric, "over": "mlp"}, texts(labels=LABELS))
    logprobs = plainly(plain, input_ids=torch.tensor(ROWS)).log_softmax(-1)
    by_prompt = []
    for row, given in enumerate(LABELS):
        pairs = [(logprobs[row, pos], label) for pos, label in enumerate(given) if label is not None]
        each = {
            "label_loss": [-float(values[label]) for values, label in pairs],
            "label_prob": [float(values[label].exp()) for values, label in pairs],
            "label_accuracy": [float(int(values.argmax()) == label) for values, label in pairs],
        }
        by_prompt.append(np.mean(each[metric]))
    assert float(result.grid("metric_clean").values) == pytest.approx(np.mean(by_prompt), abs=1e-4)
    surprisal = result_of(model, "next_token", {"per_prompt": True}, texts(labels=LABELS))
    grid = surprisal.grid("label_surprisal_by_prompt")
    assert grid.values[1, 4] == pytest.approx(-float(logprobs[1, 4, 2]), abs=1e-4)
    assert grid.valid is not None and grid.valid.sum() == 4


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([[1, 2, 3, 4, 5]], "2 prompts but 1 rows of labels"),
        ([[1, 2], [None] * 4 + [1]], "has 5 answers and 2 labels"),
        ([[None] * 5, [1] * 5], "has no label"),
        ([[64] * 5, [1] * 5], "is no token or class"),
        ([[0.5] * 5, [1] * 5], "is no token or class"),
    ],
)
def test_labels_that_do_not_fit_the_prompts_are_refused(labels: list[Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        result_of(opened("gpt2")[1], "ablation", {"metric": "label_loss"}, texts(labels=labels))
    assert caught.value.hint


def test_labels_that_are_missing_are_asked_for() -> None:
    with pytest.raises(InputError, match="needs labels: one per position"):
        result_of(opened("gpt2")[1], "ablation", {"metric": "label_loss"}, texts())


# -- many prompts: forwards split by rows


MANY = [[5, 9, 12, 7, 30], [8, 21, 4, 17, 11], [3, 3, 9, 40, 41], [60, 2, 50, 13, 6], [7, 7, 7, 8, 9]]


@pytest.mark.parametrize("variant", ["gpt2", "t5", "vit"])
@pytest.mark.parametrize("kind", ["mean", "resample", "zero"])
def test_prompts_that_exceed_the_budget_run_in_parts_with_equal_results(variant: str, kind: str) -> None:
    model = opened(variant)[1]
    if variant == "vit":
        images = torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(3)).tolist()
        clean, corrupt = ({"prompts": [{"pixels": image} for image in half]} for half in (images[:5], images[5:]))
    else:
        clean, corrupt = texts(MANY), texts([row[::-1] for row in MANY])
    for where in ({"over": "head"}, {"at": ["L1.z[head=0]", "L0.resid_pre[pos=0]"]}):
        params = {"kind": kind, "metric": "kl", "per_prompt": True, **where}
        spec = {"model": "tiny", "inputs": {"clean": clean, "corrupt": corrupt}, "analysis": "ablation"}
        experiment = Experiment.model_validate({**spec, "params": params})
        whole, *parts = (
            run_experiment(experiment, Bench(model, experiment, budget_bytes=budget)) for budget in (1 << 30, 1, 60_000)
        )
        for part in parts:
            for name, grid in whole.grids.items():
                assert part.grid(name).values == pytest.approx(grid.values, abs=1e-5), name


def test_patching_from_another_number_of_prompts_is_refused_in_parts_too() -> None:
    model = opened("gpt2")[1]
    spec = {"model": "tiny", "inputs": {"clean": texts(MANY), "corrupt": texts(MANY[:2])}, "analysis": "ablation"}
    experiment = Experiment.model_validate({**spec, "params": {"kind": "resample", "metric": "kl"}})
    for budget in (1 << 30, 1):
        with pytest.raises(InputError, match="5 prompts here and 2 there"):
            run_experiment(experiment, Bench(model, experiment, budget_bytes=budget))


# -- the table of metrics


def test_every_metric_is_named_documented_and_put_in_words() -> None:
    assert set(get_args(MetricName)) == set(METRICS)
    text = (ROOT / "docs" / "analyses.md").read_text("utf-8")
    clean = texts(answers=choices(1, 2), foils=choices(3, 4))
    spec = {"model": "tiny", "inputs": {"clean": clean}, "analysis": "ablation"}
    for name in METRICS:
        assert f"| `{name}` |" in text
        assert metric_in_words(name, Experiment.model_validate(spec))
