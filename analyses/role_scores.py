"""What labels heads: every role's score over (layer, head), its threshold beside it, and the labels.

`analyses.roles` has the formulas; here they become grids, for all heads or for some.

Sources: Olsson et al. 2022, arXiv 2209.11895; Wang et al. 2022, arXiv 2211.00593; McDougall et al. 2023, arXiv
2310.04625.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from pydantic import Field

from analyses.averages import averaged
from analyses.bench import Bench
from analyses.grid import Coord, Grid, Unit
from analyses.head_patterns import Score, duplicate_token, induction, previous_token, repeated_tokens
from analyses.metric_choice import MetricChoice
from analyses.pairs import CLEAN, Measure, check_pairs, measure_of
from analyses.roles import attention_to_answer, lost_through_queries, ov_shares
from analyses.statistics import SAME
from hooks.errors import InputError
from hooks.plan import CapturePlan
from hooks.sites import Site
from hooks.spec import Spec

PATTERNS: Mapping[str, tuple[Callable[..., Score], str]] = {
    "previous_token": (previous_token, "attention to the token just before"),
    "induction": (induction, "attention from a repeated token to the token after its first occurrence"),
    "duplicate_token": (duplicate_token, "attention from a repeated token to its first occurrence"),
}
WORDS = {
    "previous_token": "previous token",
    "induction": "induction",
    "duplicate_token": "duplicate token",
    "name_mover": "name mover",
    "s_inhibition": "S-inhibition",
    "copy_suppression": "copy suppression",
}


Heads = Sequence[tuple[int, int]]
"""Heads as (layer, head)."""


class Thresholds(Spec):
    """From which score on a head has a role. s_inhibition: as a share of the metric on the clean prompts."""

    previous_token: float = Field(default=0.4, gt=0)
    induction: float = Field(default=0.4, gt=0)
    duplicate_token: float = Field(default=0.4, gt=0)
    name_mover: float = Field(default=0.3, gt=0)
    s_inhibition: float = Field(default=0.05, gt=0)
    copy_suppression: float = Field(default=0.3, gt=0)


class RoleParams(Spec):
    """thresholds: per role. top_k: how near the top or bottom of the logits a token is copied or suppressed.

    n, sequences: of the repeated random tokens. metric: what S-inhibition is measured by.
    """

    thresholds: Thresholds = Field(default_factory=Thresholds)
    top_k: int = Field(default=5, ge=1)
    n: int = Field(default=50, ge=2)
    sequences: int = Field(default=8, ge=1)
    metric: MetricChoice = "logit_diff"
    per_prompt: bool = False


def role_grids(params: RoleParams, bench: Bench, among: Heads | None = None) -> tuple[Grid, ...]:
    """The labels first, then every score. among: the heads whose part in S-inhibition is measured, all without it.

    Raises InputError where the prompts do not pair up or do not hold their answers.
    """
    check_pairs(bench)
    batch = bench.batch(CLEAN)
    if not batch.answers:
        raise InputError("head roles need answers: one token per prompt.", 'Add "answers" to inputs.clean.')
    measure = measure_of(params.metric, bench)
    grids = [*pattern_grids(params, bench), *_movers(params, bench)]
    movers = next(grid for grid in grids if grid.name == "name_mover")
    grids += _inhibition(params, bench, measure, movers, among)
    return (_labels(params, {grid.name: grid for grid in grids}), *grids)


def _grids(
    params: RoleParams,
    bench: Bench,
    name: str,
    values: np.ndarray,
    unit: Unit,
    about: str,
    valid: np.ndarray | None = None,
) -> tuple[Grid, ...]:
    """A score [prompt layer head], with its threshold where it gives a role."""
    info = bench.model.info
    coords: dict[str, tuple[Coord, ...]] = {"layer": tuple(range(info.n_layers)), "head": tuple(range(info.n_heads))}
    if name in WORDS:
        about += f"; threshold for the label: {getattr(params.thresholds, name):g}"
    return averaged(name, values, ("layer", "head"), coords, unit, baseline=0.0, about=about, valid=valid,
                    per_prompt=params.per_prompt, null=name == "s_inhibition")  # fmt: skip


def pattern_grids(params: RoleParams, bench: Bench) -> list[Grid]:
    """The scores on repeated random tokens."""
    batch, offset = repeated_tokens(bench, params.n, params.sequences)
    info = bench.model.info
    sites = [site for layer in range(info.n_layers) if (site := Site("pattern", layer)) in bench.model.sites]
    plan = CapturePlan(sites=frozenset(sites or [Site("pattern", 0)]))
    values = {name: np.zeros((len(batch), info.n_layers, info.n_heads)) for name in PATTERNS}
    for row in range(len(batch)):
        bench.step(row, len(batch), "scoring heads on repeated tokens")
        captured = bench.capture(batch.select([row]), plan)
        for site in sites:
            for name, (score, _) in PATTERNS.items():
                values[name][row, site.layer] = score(captured[site][0].float(), params.n, offset).cpu().numpy()
    there = np.array([Site("pattern", layer) in sites for layer in range(info.n_layers)])
    valid = _mask(there[:, None], values["induction"])
    return [
        grid
        for name, (_, about) in PATTERNS.items()
        for grid in _grids(params, bench, name, values[name], "attention", f"{about}, on repeated tokens", valid)
    ]


def _movers(params: RoleParams, bench: Bench) -> list[Grid]:
    """Attention to the answer, what OV circuits do with tokens, and the two products."""
    batch, attention = bench.batch(CLEAN), attention_to_answer(bench)
    if not attention.present.any():
        raise InputError(
            "no prompt holds its own answer, so no head can move it.", "Take prompts of a copying task, such as ioi."
        )
    tokens = sorted({token for ids in (*batch.answers, *batch.foils) for token in ids})
    shares = ov_shares(bench, tokens, params.top_k)
    heard = attention.known[:, None] & attention.present[:, None, None]
    lacking = int((~attention.present).sum())
    less = f"; {lacking} prompts do not hold their answer and are left out" if lacking else ""
    where = f"attention from the answer position to the answer in the prompt{less}"
    grids = [*_grids(params, bench, "attention_to_answer", attention.values, "attention", where,
                     _mask(heard, attention.values))]  # fmt: skip
    ends = {"copying": "highest", "suppression": "lowest"}
    for role, share in (("name_mover", "copying"), ("copy_suppression", "suppression")):
        about = (
            f"share of {len(tokens)} tokens (answers and foils) that are among the {params.top_k} {ends[share]} logits "
            "of the head's OV applied to the first MLP's output for them"
        )
        grids.append(_share(bench, share, shares[share], about))
        product = attention.values * np.nan_to_num(shares[share])
        known = _mask(heard & np.isfinite(shares[share]), product)
        grids += _grids(params, bench, role, product, "fraction", f"attention_to_answer × {share}", known)
    return grids


def _mask(known: np.ndarray, values: np.ndarray) -> np.ndarray | None:
    return None if known.all() else np.broadcast_to(known, values.shape)


def _share(bench: Bench, name: str, values: np.ndarray, about: str) -> Grid:
    info, known = bench.model.info, np.isfinite(values)
    coords: dict[str, tuple[Coord, ...]] = {"layer": tuple(range(info.n_layers)), "head": tuple(range(info.n_heads))}
    if not known.all():
        about += "; missing where what a head makes of one token is no known part of the stream"
    valid = None if known.all() else known
    return Grid(name, np.where(known, values, 0.0), ("layer", "head"), coords, "fraction", 0.0, about, valid)


def _inhibition(
    params: RoleParams, bench: Bench, measure: Measure, movers: Grid, among: Heads | None
) -> tuple[Grid, ...]:
    """What the metric loses through the name movers' queries, as a share of the metric."""
    reached = movers.values >= params.thresholds.name_mover
    if movers.valid is not None:
        reached &= movers.valid
    heads = [(int(layer), int(head)) for layer, head in np.argwhere(reached)]
    whole = float(measure.values(CLEAN).mean())
    shape = (len(bench.batch(CLEAN)), *movers.values.shape)
    about = "share of the metric on clean prompts that is lost when the head's corrupt value reaches the queries of "
    if not heads or abs(whole) <= SAME:
        why = "no head reaches the name movers' threshold" if not heads else "the metric on clean prompts is 0"
        about += f"name movers; undefined: {why}"
        none = np.zeros(shape, dtype=bool)
        return _grids(params, bench, "s_inhibition", np.zeros(shape), "fraction", about, none)
    lost = lost_through_queries(bench, heads, measure, among) / whole
    about += f"the name movers {', '.join(f'{layer}.{head}' for layer, head in heads)} alone (path patching)"
    known = np.isfinite(lost)
    return _grids(params, bench, "s_inhibition", np.nan_to_num(lost), "fraction", about, _mask(known, lost))


def _labels(params: RoleParams, grids: Mapping[str, Grid]) -> Grid:
    """The label of every head, as text beside the largest of its scores over their thresholds."""
    first = grids["induction"]
    ratios = np.stack(
        [
            np.where(True if (valid := grids[name].valid) is None else valid, grids[name].values, np.nan)
            / getattr(params.thresholds, name)
            for name in WORDS
        ]
    )
    named = np.array(list(WORDS.values()), dtype=object)
    labels = [", ".join(named[ratio >= 1]) or "none" for ratio in ratios.reshape(len(WORDS), -1).T]
    known = np.isfinite(ratios).any(axis=0)
    best = np.max(np.where(np.isfinite(ratios), ratios, -np.inf), axis=0)
    told = ", ".join(f"{words} {getattr(params.thresholds, name):g}" for name, words in WORDS.items())
    return Grid(
        "role", np.where(known, best, 0.0), ("layer", "head"), {**first.coords, "role": tuple(labels)}, "fraction", 0.0,
        f"the largest of a head's scores over its threshold; from 1 on it has the label beside it. Thresholds: {told}",
        None if known.all() else known,
    )  # fmt: skip
