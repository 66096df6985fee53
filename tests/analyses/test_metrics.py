"""Metrics against arithmetic done here, their gradients, and the user's own expressions."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.analysis import normalised, sentence
from analyses.experiment import Experiment
from analyses.expression import LONGEST, Expression, evaluate, parse, unit_of
from analyses.metric_choice import metric_of, title_of
from analyses.metrics import METRICS, Target
from hooks.errors import InputError, SpecError
from hooks.prompts import PromptSet
from tests.hooks.test_tokens import BARE

PROMPTS = ("Mary went to the store", "John went to the weather")


def ident(text):
    return BARE(text)["input_ids"][0]


MARY, JOHN, STORE, WENT = (ident(text) for text in (" Mary", " John", " store", " went"))


@pytest.fixture
def target(model):
    """Two prompts, the first with two answers and three foils; random clean logits at every position."""

    def go(answers=((" Mary", " store"), (" John",)), foils=((" went", " John", " to"), (" Mary", " went"))):
        batch = model.tokens(PromptSet(prompts=PROMPTS, answers=answers, foils=foils))
        logits = torch.randn(2, batch.ids.shape[1], len(BARE), generator=torch.Generator().manual_seed(1))
        return Target(batch, logits)

    return go


def changed(target, seed=2):
    return torch.randn(target.clean.shape, generator=torch.Generator().manual_seed(seed))


def probabilities(logits):
    exps = [[math.exp(float(value)) for value in row] for row in logits[:, -1]]
    return [[value / sum(row) for value in row] for row in exps]


def test_a_probability_difference_is_all_answers_minus_all_foils(target):
    at = target()
    logits = changed(at)
    p = probabilities(logits)
    expected = [
        p[0][MARY] + p[0][STORE] - p[0][WENT] - p[0][JOHN] - p[0][ident(" to")],
        p[1][JOHN] - p[1][MARY] - p[1][WENT],
    ]
    assert METRICS["prob_diff"].compute(logits, at).tolist() == pytest.approx(expected, abs=1e-6)


def test_cutoff_sharpness_is_the_first_answer_minus_the_foil_before_the_last(target):
    # Years as tokens: foils … start − 1, start; answers start + 1, …
    at = target()
    logits = changed(at)
    p = probabilities(logits)
    expected = [p[0][MARY] - p[0][JOHN], p[1][JOHN] - p[1][MARY]]
    assert METRICS["cutoff_sharpness"].compute(logits, at).tolist() == pytest.approx(expected, abs=1e-6)


def test_cutoff_sharpness_needs_the_foil_before_the_last(target, model):
    batch = target(foils=((" went", " to"), (" Mary",))).batch
    with pytest.raises(InputError, match="needs 2 foils per prompt, in ascending order; one prompt has 1") as caught:
        METRICS["cutoff_sharpness"].check(batch, model.info)
    assert caught.value.hint


def test_two_way_accuracy_asks_for_the_sign_of_the_logit_difference_and_top_one_for_the_first_place(target):
    at = target(answers=(" Mary", " John"), foils=(" John", " Mary"))
    logits = torch.zeros(2, 3, len(BARE))
    logits[:, -1, MARY], logits[:, -1, STORE] = 1.0, 2.0
    assert METRICS["accuracy_two_way"].compute(logits, at).tolist() == [1.0, 0.0]
    assert METRICS["accuracy"].compute(logits, at).tolist() == [0.0, 0.0]
    assert METRICS["accuracy"].compute(logits - 2 * (logits == 2), at).tolist() == [1.0, 0.0]


def test_divergence_everywhere_is_the_mean_over_real_positions(target, model):
    batch = model.tokens(PromptSet(prompts=("Mary went to the store", "John went")))
    clean = torch.randn(2, batch.ids.shape[1], len(BARE), generator=torch.Generator().manual_seed(1))
    at = Target(batch, clean)
    logits = changed(at)
    expected = []
    for row, length in enumerate(batch.lengths):
        each = []
        for pos in range(length):
            p, q = (x[row, pos].double().softmax(-1) for x in (clean, logits))
            each.append(float((p * (p / q).log()).sum()))
        expected.append(sum(each) / length)
    assert METRICS["kl_everywhere"].compute(logits, at).tolist() == pytest.approx(expected, abs=1e-5)
    assert METRICS["kl"].compute(logits[:1], Target(batch.select([0]), clean[:1])).tolist() != expected[:1]


SMOOTH = ("logit_diff", "logprob", "prob", "prob_diff", "cutoff_sharpness", "kl", "kl_everywhere", "loss",
          "cross_entropy")  # fmt: skip


@pytest.mark.parametrize("metric", [*SMOOTH, "logit(answer) - max(logit(' went'), logit(foil))", "log(prob(answer))"])
def test_smooth_metrics_have_the_gradient_of_a_finite_difference(metric, target, model):
    at = target()
    chosen = METRICS.get(metric) or metric_of(Expression(expression=metric, unit="logit"), model)
    logits = changed(at).double().requires_grad_()
    at = Target(at.batch, at.clean.double())
    (gradient,) = torch.autograd.grad(chosen.compute(logits, at).sum(), logits)
    direction = torch.randn(logits.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        ahead, behind = (chosen.compute(logits + step * direction, at).sum() for step in (1e-4, -1e-4))
    assert float((gradient * direction).sum()) == pytest.approx(float((ahead - behind) / 2e-4), rel=1e-5, abs=1e-7)


def test_gradients_work_after_the_same_answers_were_measured_in_inference_mode(target):
    at = target(answers=((" Mary", " went"), (" store",)))
    with torch.inference_mode():
        METRICS["prob"].compute(changed(at), at)
    logits = changed(at).requires_grad_()
    METRICS["prob"].compute(logits, at).sum().backward()
    assert logits.grad is not None and logits.grad.abs().sum() > 0


# -- expressions


def own(text, model, unit="logit"):
    return metric_of(Expression(expression=text, unit=unit), model)


def test_an_expression_is_measured_as_it_is_written(target, model):
    at = target()
    logits = changed(at)
    last, p = logits[:, -1].tolist(), probabilities(logits)
    cases = {
        "logit(' Mary') - logit(' John')": lambda i: last[i][MARY] - last[i][JOHN],
        "logit(' Mary') - max(logit(' John'), logit(' went'))": lambda i: last[i][MARY] - max(last[i][JOHN],
                                                                                              last[i][WENT]),
        f"2 * logit({MARY}) / (1 + 3) − 1": lambda i: 2 * last[i][MARY] / 4 - 1,
        "prob(' Mary') / (prob(' Mary') + prob(\" John\"))": lambda i: p[i][MARY] / (p[i][MARY] + p[i][JOHN]),
        "1 - 2 - logit(' went')": lambda i: -1 - last[i][WENT],
        "-abs(logit(' went')) * -2": lambda i: 2 * abs(last[i][WENT]),
        "exp(logprob(' went'))": lambda i: p[i][WENT],
        "mean(logit(' Mary'), 3) + min(1, logit(' Mary')) - sum(1, 2, 3)": lambda i: (last[i][MARY] + 3) / 2
        + min(1, last[i][MARY]) - 6,
        "rank(' Mary')": lambda i: sum(value > last[i][MARY] for value in last[i]),
    }  # fmt: skip
    for text, expected in cases.items():
        values = own(text, model).compute(logits, at).tolist()
        assert values == pytest.approx([expected(0), expected(1)], rel=1e-4, abs=1e-5), text


def test_answer_and_foil_are_each_prompts_own(target, model):
    at = target()
    logits = changed(at)
    for text, name in (("logit(answer) - logit(foil)", "logit_diff"), ("logprob(answer)", "logprob"),
                       ("prob(answer) - prob(foil)", "prob_diff"), ("rank(answer)", "rank")):  # fmt: skip
        assert torch.allclose(own(text, model).compute(logits, at), METRICS[name].compute(logits, at), atol=1e-6)
    assert own("logit(answer) - logit(' Mary')", model).needs == ("answers",)
    assert own("logit(' Mary')", model).needs == ()


def test_a_sweep_measures_an_expression_like_the_metric_it_spells(run):
    named = run("ablation", {"metric": "logit_diff"})
    spelt = run("ablation", {"metric": {"expression": "logit(' Mary') - logit(' John')"}})
    assert spelt.grid("effect").values == pytest.approx(named.grid("effect").values, abs=1e-5)
    assert "measure logit(' Mary') - logit(' John')" in sentence(spelt.experiment)


def test_c38_a_division_by_zero_is_masked_and_said_and_written_as_null(run):
    result = run("ablation", {"metric": {"expression": "logit(' Mary') / (1 - 1)", "unit": "logit"}, "over": "mlp"})
    effect = result.grid("effect")
    assert effect.valid is not None and not effect.valid.any() and "not a finite number" in effect.about
    text = json.dumps(result.to_json(), allow_nan=False)
    assert json.loads(text)["grids"][0]["values"] == [None] * 3


def experiment(metric):
    clean = {"prompts": ["a"], "answers": [" Mary"], "foils": [" John"]}
    spec = {"model": "tiny", "inputs": {"clean": clean}, "analysis": "ablation", "params": {"metric": metric}}
    return normalised(Experiment.model_validate(spec))


def test_an_expression_travels_as_json_and_names_keep_their_identity():
    asked = experiment({"expression": "logit(answer)"})
    again = Experiment.model_validate(json.loads(json.dumps(asked.to_json())))
    assert normalised(again).id == asked.id != experiment("logit_diff").id
    assert experiment("logit_diff").params["metric"] == "logit_diff"
    assert title_of("logit_diff") == "logit difference"


def test_a_text_of_several_tokens_is_refused_with_its_pieces(model):
    with pytest.raises(InputError, match=r"the token ' Mary went' is 2 tokens for this model: ·Mary \| ·went"):
        own("logit(' Mary went')", model)
    with pytest.raises(InputError, match="names token 99999"):
        own("logit(99999)", model)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("logit(' Mary'", "wrong at character 14, the end: expected a closing parenthesis"),
        ("logit(' Mary') +", "wrong at character 17, the end: expected a number"),
        ("logit(' Mary') 3", "wrong at character 16, '3': expected an operator or the end"),
        ("logits(3)", "wrong at character 1, 'logits': no such function; known: logit, logprob"),
        ("logit(answer) ; x", "wrong at character 15, ';': not understood"),
        ("logit(' Mary)", "wrong at character 7, ''': a text without its closing quote"),
        ("logit(1.5)", "wrong at character 7, '1.5': expected a token"),
        ("logit('')", "expected a token"),
        ("log(1, 2)", "wrong at character 6, ',': log takes one value"),
        ("max()", "wrong at character 5"),
        ("1 + 2", "measures nothing"),
        ("answer", "such as logit\\(answer\\)"),
        ("1e999 * logit(3)", "too large a number"),
        ("(" * 60 + "logit(3)" + ")" * 60, "nested deeper than 32"),
        ("-" * 60 + "logit(3)", "nested deeper than 32"),
        ("__import__('os')", "no such function"),
        ("logit(3).real", "character 9, '.': not understood"),
        ("logit(3) ** 2", "wrong at character 11"),
    ],
)
def test_a_fault_is_named_with_its_place(text, says):
    with pytest.raises(SpecError, match=says) as caught:
        parse(text)
    assert caught.value.hint
    with pytest.raises(SpecError, match=r"ablation: params\.metric"):
        experiment({"expression": text})


def test_an_expression_of_too_many_characters_is_refused_and_a_long_sum_is_read():
    with pytest.raises(SpecError, match="502 characters; 500 are allowed"):
        parse("1" * (LONGEST + 2))
    long = "logit(3)" + "+1" * 240
    assert float(evaluate(parse(long), lambda _: torch.tensor([2.0]))) == 242.0


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("logit(1) - max(logit(2), 3)", "logit"),
        ("2 * prob(1) / 3", "prob"),
        ("logprob(1) - logprob(2)", "nat"),
        ("rank(1)", "rank"),
        ("prob(1) / prob(2)", None),
        ("1 / prob(1)", None),
        ("prob(1) * prob(2)", None),
        ("logit(1) + prob(1)", None),
        ("exp(logprob(1))", None),
    ],
)
def test_the_unit_follows_from_one_sort_of_quantity_or_has_to_be_given(text, unit):
    assert unit_of(parse(text)) == unit
    if unit is None:
        with pytest.raises(SpecError, match="say what the numbers are"):
            experiment({"expression": text})
        assert experiment({"expression": text, "unit": "fraction"}).params["metric"]["unit"] == "fraction"


VALUES = {("logit", 1): 1.25, ("logit", 2): -3.0, ("prob", 3): 0.25}
LEAVES = [(f"{name}({token})", value) for (name, token), value in VALUES.items()]
WRITTEN = st.recursive(
    st.sampled_from([*LEAVES, ("2", 2.0), ("0.5", 0.5), (".7e1", 7.0)]),
    lambda below: st.one_of(
        st.tuples(below, below).map(lambda t: (f"({t[0][0]} + {t[1][0]})", t[0][1] + t[1][1])),
        st.tuples(below, below).map(lambda t: (f"({t[0][0]}-{t[1][0]})", t[0][1] - t[1][1])),
        st.tuples(below, below).map(lambda t: (f"({t[0][0]}) * ({t[1][0]})", t[0][1] * t[1][1])),
        st.tuples(below, below).map(lambda t: (f"max({t[0][0]}, {t[1][0]})", max(t[0][1], t[1][1]))),
        below.map(lambda t: (f"-({t[0]})", -t[1])),
    ),
    max_leaves=6,
)


@settings(max_examples=40)
@given(st.sampled_from(LEAVES), WRITTEN)
def test_any_tree_has_the_value_that_arithmetic_gives_it(leaf, more):
    text, expected = f"{leaf[0]} - {more[0]} / 4", leaf[1]
    expected -= more[1] / 4
    found = evaluate(parse(text), lambda q: torch.tensor([VALUES[q.name, q.token]], dtype=torch.float64))
    assert float(found) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@settings(max_examples=150)
@given(st.one_of(st.text(max_size=80), st.text(alphabet="logit(' abs)-+*/,.0123\"\\answerfoil−max\n", max_size=80)))
def test_any_text_is_either_read_or_refused(text):
    try:
        parse(text)
    except SpecError as error:
        assert error.message and error.hint
