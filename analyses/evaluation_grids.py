"""What an evaluation reports, as grids: accuracies, calibration, losses, each with its interval, before and after.

Arrays in, grids out. The axis `run` is "before" (the model as it is) and, where there are edits, "after". Intervals are
bootstraps over the items; both runs see the same items in every draw, so that NAME_change, after minus before, has a
paired interval (Efron 1979; Koehn 2004 for its use on systems scored on one test set).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from analyses.averages import METHOD, averaged
from analyses.calibration import Reliability, hits, probabilities, reliability
from analyses.grid import Coord, Grid, Unit
from analyses.statistics import PERCENTILES, Estimate, mean, ratio_of_means, resamples

RUNS = ("before", "after")
Coords = Mapping[str, tuple[Coord, ...]]


def estimate_grids(
    name: str, found: Estimate, coords: Coords, unit: Unit, items: str, about: str, *, baseline: float | None = None
) -> list[Grid]:
    """The grid NAME, and NAME_low and NAME_high where there is an interval. items: what was redrawn: "9 windows"."""
    dims, method = tuple(coords), METHOD.format("").replace(" prompts", items)
    grids = [Grid(name, np.asarray(found.value), dims, coords, unit, baseline, about)]
    for ending, values in (("low", found.low), ("high", found.high)):
        if values is not None:
            words = f"{ending} end of the {method}"
            grids.append(Grid(f"{name}_{ending}", np.asarray(values), dims, coords, unit, baseline, words))
    return grids


@dataclass(frozen=True, eq=False)
class Scores:
    """One number per item and run, and how it is reported. values [item run]."""

    name: str
    values: Float[np.ndarray, "item run"]
    unit: Unit
    about: str
    baseline: float | None = None

    @property
    def runs(self) -> Coords:
        return {"run": RUNS[: self.values.shape[1]]}

    def grids(self, *, per_prompt: bool) -> list[Grid]:
        """The mean by run, the paired change where there are two runs, and the value of every item."""
        grids = averaged(self.name, self.values, ("run",), self.runs, self.unit, baseline=self.baseline,
                         about=self.about, per_prompt=per_prompt, null=False)  # fmt: skip
        if self.values.shape[1] == 1:
            return list(grids)
        moved, about = self.values[:, 1] - self.values[:, 0], f"{self.about}: after minus before"
        return [*grids, *averaged(f"{self.name}_change", moved, (), {}, self.unit, baseline=0.0, about=about)]

    def by_template(self, templates: Sequence[str]) -> list[Grid]:
        """The mean within each group of items, in the order in which the groups come; none where there are none."""
        if not templates:
            return []
        groups = tuple(dict.fromkeys(templates))
        members = [np.array([template == group for template in templates]) for group in groups]
        found = [mean(self.values[member]) for member in members]
        coords = {"template": groups, **self.runs}
        counts = [int(member.sum()) for member in members]
        sizes = f"{counts[0]} each" if len(set(counts)) == 1 else ", ".join(map(str, counts))
        about = f"{self.about}, by template ({sizes})"
        grids = []
        for ending, pick in (("", "value"), ("_low", "low"), ("_high", "high")):
            rows: list[Any] = [getattr(one, pick) for one in found]
            if all(row is not None for row in rows):
                grids.append(Grid(f"{self.name}_by_template{ending}", np.array(rows), tuple(coords), coords,
                                  self.unit, self.baseline, about))  # fmt: skip
        return grids


def choice_grids(
    log_probs: Float[np.ndarray, "run item choice"],
    tokens: Float[np.ndarray, "item choice"],
    right: Bool[np.ndarray, "item choice"],
    *,
    bins: int,
    templates: Sequence[str] = (),
    per_prompt: bool = True,
) -> list[Grid]:
    """Multiple choice. log_probs: −inf, and tokens: 1, where an item has no such choice."""
    probs = np.stack([probabilities(run) for run in log_probs])
    summed = np.stack([hits(run, right) for run in log_probs], axis=1)
    per_token = np.stack([hits(run / tokens, right) for run in log_probs], axis=1)
    scores = [
        Scores("accuracy", summed, "fraction", "share of prompts whose right choice has the largest log-probability"),
        Scores("acc_norm", per_token, "fraction",
               "share of prompts whose right choice has the largest log-probability per token"),
        Scores("prob_right", (probs * right).sum(-1).T, "prob",
               "probability of the right choices together, among the choices of the prompt"),
    ]  # fmt: skip
    grids = [grid for score in scores for grid in score.grids(per_prompt=per_prompt)]
    grids += calibration_grids(probs.max(-1).T, summed, bins)
    grids += [grid for score in scores[:2] for grid in score.by_template(templates)]
    if per_prompt:
        there = np.isfinite(log_probs)
        grids += [
            _by_choice("logprob_by_prompt", log_probs, there, "summed log-probability of each choice"),
            _by_choice("logprob_per_token_by_prompt", log_probs / tokens, there, "the same, per token of the choice"),
        ]
    return grids


def _by_choice(name: str, values: np.ndarray, there: np.ndarray, about: str) -> Grid:
    """[prompt choice run] of [run item choice]; choices that an item lacks are marked as missing."""
    values, there = np.moveaxis(values, 0, -1), np.moveaxis(there, 0, -1)
    names = ("prompt", "choice")
    coords: dict[str, tuple[Coord, ...]] = {
        **{name: tuple(range(size)) for name, size in zip(names, values.shape, strict=False)},
        "run": RUNS[: values.shape[-1]],
    }
    if there.all():
        return Grid(name, values, tuple(coords), coords, "nat", None, about)
    about = f"{about}; missing where a prompt has fewer choices"
    return Grid(name, np.where(there, values, 0.0), tuple(coords), coords, "nat", None, about, there)


def calibration_grids(
    confidence: Float[np.ndarray, "item run"], hit: Float[np.ndarray, "item run"], bins: int
) -> list[Grid]:
    """The expected calibration error with its interval, and the reliability curve by run and bin."""
    n_items, n_runs = confidence.shape
    pairs = [(confidence[:, run], hit[:, run]) for run in range(n_runs)]
    curves = [reliability(*pair, bins) for pair in pairs]
    draws = None if n_items < 2 else np.stack(
        [reliability(*pair, bins, resamples(n_items)).error for pair in pairs], axis=-1
    )  # fmt: skip
    errors = np.array([float(curve.error) for curve in curves])
    about = f"expected calibration error over {bins} bins of equal width of the chosen choice's probability"
    runs, items = {"run": RUNS[:n_runs]}, f"{n_items} prompts"
    grids = estimate_grids("ece", _with_interval(errors, draws), runs, "prob", items, about)
    if n_runs == 2:
        moved = None if draws is None else draws[:, 1] - draws[:, 0]
        change = _with_interval(np.asarray(errors[1] - errors[0]), moved)
        words = f"{about}: after minus before"
        grids += estimate_grids("ece_change", change, {}, "prob", items, words, baseline=0.0)
    return [*grids, *_curve_grids(curves, bins)]


def _curve_grids(curves: Sequence[Reliability], bins: int) -> list[Grid]:
    coords: Coords = {
        "run": RUNS[: len(curves)],
        "bin": tuple(f"{edge / bins:.3g}–{(edge + 1) / bins:.3g}" for edge in range(bins)),
    }
    count = np.stack([curve.count for curve in curves])
    there = None if (count > 0).all() else count > 0
    empty = "" if there is None else "; missing where no prompt falls into the bin"
    return [
        Grid("reliability_accuracy", np.stack([curve.accuracy for curve in curves]), ("run", "bin"), coords,
             "fraction", None, f"accuracy of the prompts in each bin of confidence{empty}", there),
        Grid("reliability_confidence", np.stack([curve.confidence for curve in curves]), ("run", "bin"), coords,
             "prob", None, f"mean confidence of the prompts in each bin{empty}", there),
        Grid("reliability_share", count / count.sum(-1, keepdims=True), ("run", "bin"), coords, "fraction", None,
             "share of the prompts in each bin"),
    ]  # fmt: skip


def _with_interval(value: np.ndarray, draws: np.ndarray | None) -> Estimate:
    if draws is None:
        return Estimate(value)
    low, high = np.percentile(draws, PERCENTILES, axis=0)
    return Estimate(value, low, high)


def pair_grids(
    log_probs: Float[np.ndarray, "run item two"], *, templates: Sequence[str] = (), per_prompt: bool = True
) -> list[Grid]:
    """Minimal pairs: the good sentence is number 0 on the last axis, the bad one number 1."""
    apart = (log_probs[:, :, 0] - log_probs[:, :, 1]).T
    scores = [
        Scores("accuracy", (apart > 0).astype(np.float64), "fraction",
               "share of pairs whose good sentence has the larger summed log-probability"),
        Scores("logprob_diff", apart, "nat", "summed log-probability of the good sentence minus the bad one's",
               baseline=0.0),
    ]  # fmt: skip
    grids = [grid for score in scores for grid in score.grids(per_prompt=per_prompt)]
    grids += scores[0].by_template(templates)
    if per_prompt:
        coords = {"prompt": tuple(range(len(apart))), "sentence": ("good", "bad"), "run": RUNS[: len(log_probs)]}
        values, about = np.moveaxis(log_probs, 0, -1), "summed log-probability of every token after the first"
        grids.append(Grid("logprob_by_prompt", values, tuple(coords), coords, "nat", None, about))
    return grids


def perplexity_grids(
    log_probs: Float[np.ndarray, "run window"],
    tokens: Float[np.ndarray, " window"],
    texts: Sequence[int],
    *,
    per_prompt: bool = True,
) -> list[Grid]:
    """Loss and perplexity over all counted tokens. texts: the number of the text that each window is from."""
    nats, counts, n_runs = -log_probs.T, tokens[:, None], len(log_probs)
    about = "mean over all counted tokens of −log p(token | what comes before it in its window)"
    runs, items = {"run": RUNS[:n_runs]}, f"{len(tokens)} windows"
    grids = estimate_grids("loss", ratio_of_means(nats, counts), runs, "nat", items, about)
    grids += [_raised(grid) for grid in grids]
    if n_runs == 2:
        change, words = ratio_of_means(nats[:, 1] - nats[:, 0], tokens), f"{about}: after minus before"
        grids += estimate_grids("loss_change", change, {}, "nat", items, words, baseline=0.0)
    if per_prompt:
        member = np.eye(max(texts) + 1)[list(texts)]
        by_text = (member.T @ nats) / (member.T @ counts)
        coords: Coords = {"prompt": tuple(range(len(by_text))), **runs}
        grids.append(Grid("loss_by_prompt", by_text, ("prompt", "run"), coords, "nat", None, about))
        coords = {"window": tuple(range(len(tokens))), **runs}
        grids.append(Grid("loss_by_window", nats / counts, ("window", "run"), coords, "nat", None, about))
    return grids


def _raised(grid: Grid) -> Grid:
    """The perplexity of a loss, its bounds included: exp grows with the loss, so percentiles stay percentiles."""
    name, about = grid.name.replace("loss", "perplexity"), f"exponential of the {grid.name}"
    return Grid(name, np.exp(grid.values.astype(np.float64)), grid.dims, grid.coords, "perplexity", None, about)
