"""Two pairs of prompts given as ids, and experiments on them."""

from __future__ import annotations

from analyses.bench import Bench
from analyses.execute import run_experiment
from analyses.experiment import Experiment
from hooks.model import instrument

CLEAN = [[3, 17, 40, 8, 22, 5], [9, 31, 12, 50, 4, 28]]
CORRUPT = [[3, 33, 40, 8, 22, 5], [9, 31, 44, 50, 4, 28]]
ANSWERS, FOILS = (11, 20), (42, 7)


def difference(logits, prompt):
    """The logit difference of one prompt's answer and foil."""
    return float(logits[ANSWERS[prompt]] - logits[FOILS[prompt]])


def prompts(rows, *, answers=False, positions=None):
    given = {"prompts": [{"ids": row} for row in rows], "positions": positions or {}}
    if answers:
        n = len(rows)
        given |= {"answers": [{"id": a} for a in ANSWERS[:n]], "foils": [{"id": f} for f in FOILS[:n]]}
    return given


def runner(plain, analysis):
    """`run(params, …)`: the result of an analysis on the pairs, with the product's view of a plain model."""
    model = instrument(plain, name="tiny")

    def run(
        params, *, clean=CLEAN, corrupt=CORRUPT, positions=None, corrupt_answers=False, progress=None,
        budget_bytes=64 << 20, seed=0, answers=True,
    ):  # fmt: skip
        inputs = {"clean": prompts(clean, answers=answers, positions=positions)}
        if corrupt is not None:
            inputs["corrupt"] = prompts(corrupt, positions=positions)
        if corrupt_answers:
            inputs["corrupt"] |= {"answers": [{"id": f} for f in FOILS], "foils": [{"id": a} for a in ANSWERS]}
        spec = {"model": "tiny", "inputs": inputs, "analysis": analysis, "params": params, "seed": seed}
        experiment = Experiment.model_validate(spec)
        return run_experiment(experiment, Bench(model, experiment, progress=progress, budget_bytes=budget_bytes))

    return run
