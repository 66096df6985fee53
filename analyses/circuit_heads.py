"""Facts of a circuit's strongest heads, for whoever asks why a head is in it: roles, attention, effect, tokens.

A head's strength is the sum of the absolute scores of its edges in and out, or their number where edges have no scores.
What cannot be had of a model or of these prompts is left out, and the bench's notes say why.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch

from analyses.averages import averaged
from analyses.bench import Bench
from analyses.circuit import Circuit
from analyses.grid import Coord, Grid
from analyses.head_output import Heads, direct_effects, pushed, token_logits
from analyses.metric_choice import MetricChoice
from analyses.pairs import CLEAN, CORRUPT
from analyses.role_scores import WORDS, RoleParams, pattern_grids, role_grids
from hooks.errors import InputError, SiteMissing, SpecError
from hooks.plan import CapturePlan
from hooks.sites import Part, Site

MOST = 12
TOKENS = 8
Coords = dict[str, tuple[Coord, ...]]


def strongest_heads(circuit: Circuit, most: int) -> dict[str, float]:
    """At most so many heads of a circuit by strength, the strongest first."""
    weight: defaultdict[str, float] = defaultdict(float)
    scored = all(edge.score is not None for edge in circuit.edges)
    for edge in circuit.edges:
        for end in (edge.source, edge.target):
            weight[end] += abs(edge.score or 0.0) if scored else 1.0
    heads = [node for node in circuit.nodes if Part.parse(node).site.name == "z"]
    return {node: weight[node] for node in sorted(heads, key=lambda node: -weight[node])[:most]}


def head_grids(bench: Bench, circuit: Circuit, most: int, metric: MetricChoice) -> tuple[Grid, ...]:
    """Grids over the strongest heads (node): what is known of each. None for a circuit without heads."""
    strength = strongest_heads(circuit, most)
    if not strength:
        bench.notes.append("the circuit has no heads of which more could be said")
        return ()
    nodes = tuple(strength)
    heads = [(part.site.layer or 0, part.head or 0) for part in map(Part.parse, nodes)]
    scored = all(edge.score is not None for edge in circuit.edges)
    about = "sum of the absolute scores of a head's edges in the circuit" if scored else "edges of the head"
    grids = [Grid("head_strength", np.array(list(strength.values())), ("node",), {"node": nodes},
                  "logit" if scored else "rank", 0.0, about)]  # fmt: skip
    for make in (_roles, _effects, _tokens, _attention):
        try:
            grids += make(bench, nodes, heads, metric)
        except (SiteMissing, InputError, SpecError) as error:
            bench.notes.append(f"of the circuit's heads: {error.message}")
    return tuple(grids)


def _roles(bench: Bench, nodes: tuple[str, ...], heads: Heads, metric: MetricChoice) -> list[Grid]:
    """Labels and scores, by `role_grids` where the prompts allow, else those of repeated random tokens alone."""
    params = RoleParams(metric=metric)
    try:
        if CORRUPT not in bench.experiment.inputs:
            raise InputError("no corrupt prompts, so no role that needs pairs is measured.")
        found = {grid.name: grid for grid in role_grids(params, bench, heads)}
    except (InputError, SiteMissing) as error:
        bench.notes.append(f"of the circuit's heads only roles on repeated tokens are measured: {error.message}")
        found = {grid.name: grid for grid in pattern_grids(params, bench)}
    names = tuple(name for name in WORDS if name in found)
    at = tuple(np.array(heads).T)
    values = np.stack([found[name].values[at] for name in names], axis=1)
    valid = np.stack(
        [np.ones(len(heads), bool) if (mask := found[name].valid) is None else mask[at] for name in names], 1
    )
    thresholds = [getattr(params.thresholds, name) for name in names]
    reached = valid & (values >= thresholds)
    labels = tuple(
        ", ".join(WORDS[name] for name, yes in zip(names, row, strict=True) if yes) or "none" for row in reached
    )
    about = "; ".join(f"{WORDS[name]}: {found[name].about}" for name in names)
    coords: Coords = {"node": nodes, "role": tuple(WORDS[name] for name in names)}
    ratio = np.where(valid, values / thresholds, 0.0).max(axis=1)
    return [
        Grid("head_role", ratio, ("node",), {"node": nodes, "label": labels}, "fraction", 0.0,
             "the largest of a head's scores over its threshold; from 1 on it has the label beside it"),
        Grid("head_role_score", values, ("node", "role"), coords, "fraction", 0.0, about,
             None if valid.all() else valid),
        Grid("role_threshold", np.array(thresholds), ("role",), {"role": coords["role"]}, "fraction", None,
             "from which score on a head has a role: a convention"),
    ]  # fmt: skip


def _effects(bench: Bench, nodes: tuple[str, ...], heads: Heads, metric: MetricChoice) -> list[Grid]:
    batch = bench.batch(CLEAN)
    if not batch.answers:
        return []
    against = "logit(answer) − logit(foil)" if batch.foils else "logit(answer)"
    values = direct_effects(bench, heads)
    return list(averaged("head_direct_effect", values, ("node",), {"node": nodes}, "logit", baseline=0.0,
                         about=f"what the head writes towards {against} at the answer position, past all later layers",
                         valid=None if np.isfinite(values).all() else np.isfinite(values)))  # fmt: skip


def _tokens(bench: Bench, nodes: tuple[str, ...], heads: Heads, metric: MetricChoice) -> list[Grid]:
    logits = token_logits(bench, heads, torch.tensor(bench.batch(CLEAN).answer_at))
    return [grid for name, lowest in (("head_promotes", False), ("head_suppresses", True))
            for grid in pushed(bench, name, logits, nodes, TOKENS, lowest=lowest)]  # fmt: skip


def _attention(bench: Bench, nodes: tuple[str, ...], heads: Heads, metric: MetricChoice) -> list[Grid]:
    """The attention of the first clean prompt."""
    first = bench.batch(CLEAN).select([0])
    sites = {layer: Site("pattern", layer) for layer, _ in heads}
    seen = bench.capture(first, CapturePlan(sites=frozenset(sites.values())))
    values = torch.stack([seen[sites[layer]][0, head].float() for layer, head in heads]).cpu().numpy()
    queries, keys = (tuple(range(size)) for size in values.shape[1:])
    coords: Coords = {"node": nodes, "q_pos": queries, "k_pos": keys}
    about = "attention weights of each head on the first clean prompt; rows are queries"
    return [Grid("head_attention", values, ("node", "q_pos", "k_pos"), coords, "attention", None, about)]
