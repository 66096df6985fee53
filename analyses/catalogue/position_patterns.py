"""Position patterns: the attention that positions alone would give, beside the attention that a head has.

Content is made the same at every position and the model is run again: whatever shape the pattern still has comes from
positions. How that is done depends on where a model keeps positions.

- In attention (ALiBi slopes, relative biases, rotary embeddings, or nothing): every query and every key of the head
  becomes the mean query and the mean key of the prompts, before any query-key norm and rotation. With ALiBi or a
  relative bias the product of the means is one constant, which a softmax ignores: the pattern is exactly the bias'.
  With rotary embeddings it is the similarity of the rotated means as a function of distance, for that content: an
  estimate of what positions do for other content. Without positions every visible key gets the same weight.
- In the residual stream (learned position embeddings): the layer reads the position embeddings instead of the stream,
  through its own norm, queries and keys. Exact for layer 0; later layers read the stream after other layers have
  written to it, so there it says what position embeddings would do directly.

The model itself computes all of this, so masks, windows, soft-caps and sinks are its own. Where its queries and keys
cannot be set, or multiply positions with content, scores are averaged at each distance instead, which averages content
out: an estimate.

Sources: Press et al. 2021, arXiv 2108.12409 (ALiBi); Raffel et al. 2019, arXiv 1910.10683 (relative biases); Su et al.
2021, arXiv 2104.09864 (rotary); Vaswani et al. 2017, arXiv 1706.03762.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from analyses import positions
from analyses.analysis import Analysis, Findings
from analyses.averages import averaged
from analyses.bench import Bench
from analyses.experiment import Experiment
from analyses.grid import Coord, Grid
from analyses.phrases import prompts_in_words
from hooks.activations import Activations
from hooks.errors import SiteMissing
from hooks.interventions.mean import Mean
from hooks.interventions.patch import Patch
from hooks.interventions.zero import Zero
from hooks.model import Instrumented
from hooks.plan import CapturePlan
from hooks.sites import MAIN, Part, Site
from hooks.spec import Spec

Way = Literal["bias", "rotary", "none", "learned", "average"]
ABOUT: dict[Way, str] = {
    "bias": "Exact: the softmax of the model’s own position bias, every query and key alike.",
    "rotary": "An estimate: the head’s mean query and mean key at every position, rotated as the model rotates them.",
    "none": "Exact: this model’s attention knows no positions, so every visible key weighs the same.",
    "learned": "Position embeddings alone through this layer’s norm, queries and keys: exact in layer 0; a later layer "
    "reads them after other layers have written, so there it is their direct part alone.",
    "average": "An estimate: the softmax of the mean score at each distance, content averaged out over the prompts.",
}
ALONE = "positions"
SAME = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1}
"""By the model's dtype: how far two patterns of one bias may be apart when a constant was added to its scores."""


class Params(Spec):
    """layers, heads: which to keep, all without them. stack: another stack than the main one, such as "encoder".

    per_prompt: the patterns and shares of each prompt as well.
    """

    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    stack: str = MAIN
    per_prompt: bool = False


@dataclass(frozen=True)
class Places:
    """Whose attention is looked at."""

    stack: str
    layers: tuple[int, ...]
    heads: tuple[int, ...]

    def site(self, name: str, layer: int | None = None) -> Site:
        """A site of the stack."""
        return Site(name, layer, self.stack)


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer's arrays: pattern, alone [prompt head q k]; profile, observed [head distance] with the known cells."""

    pattern: np.ndarray
    alone: np.ndarray
    visible: np.ndarray
    profile: tuple[np.ndarray, np.ndarray]
    observed: tuple[np.ndarray, np.ndarray]


def way_of(model: Instrumented, stack: str = MAIN) -> Way:
    """How positions are told from content in a stack."""
    kind, writable = model.info.stack(stack).positions, model.proof.names(writable=True, stack=stack)
    if kind == "learned":
        return "learned" if {"embed", "resid_pre"} <= writable else "average"
    if not {"q", "k"} <= writable:
        return "average"
    return "rotary" if kind == "rotary" else "none" if kind == "none" else "bias"


def places(params: Params, model: Instrumented) -> Places:
    """The layers and heads that are asked for. Raises SiteMissing for what the model lacks."""
    info = model.info.stack(params.stack)
    attends = (la for la in range(info.n_layers) if Site("pattern", la, params.stack) in model.sites)
    at = Places(params.stack, params.layers or tuple(attends), params.heads or tuple(range(info.n_heads)))
    if not at.layers:
        reason = model.proof.row("pattern", params.stack).reason
        raise SiteMissing(f"no attention can be read in {model.name}: {reason}.", "`workbench check` shows its sites.")
    if (most := max(at.heads)) >= info.n_heads:
        raise SiteMissing(f"head {most} does not exist: layers have {info.n_heads} heads.", f"0–{info.n_heads - 1}.")
    return at


def compute(params: Params, bench: Bench) -> Findings:
    at, batch = places(params, bench.model), bench.batch("clean").side(params.stack)
    names = {"pattern", "scores"} & bench.model.proof.names(stack=params.stack)
    plan = CapturePlan(sites=frozenset(at.site(name, layer) for layer in at.layers for name in names))
    bench.step(0, 2, "reading attention")
    clean = bench.capture("clean", plan)
    bench.step(1, 2, "reading the attention that positions alone give")
    way, alone = _alone(bench, way_of(bench.model, params.stack), plan, at)
    real = (batch.mask[:, :, None] & batch.mask[:, None, :]).numpy()[:, None]
    read = [_layer(clean, alone, at, layer, real) for layer in at.layers]
    bench.step(2, 2, "comparing")
    grids = _grids(params, read, {"layer": at.layers, "head": at.heads}, real, ABOUT[way])
    return Findings((*grids, *_similarity(bench, way, at.stack)))


def _alone(bench: Bench, way: Way, plan: CapturePlan, at: Places) -> tuple[Way, Activations | None]:
    """The planned sites when every layer's attention sees positions alone, and how that was done; None: average."""
    if way == "average":
        return way, None
    if way == "learned":
        return way, _embeddings_alone(bench, plan, at)
    parts = [Part(at.site(name, layer)) for layer in at.layers for name in ("q", "k")]
    means = bench.capture("clean", plan, [Mean(at=part, reference="clean", over="positions") for part in parts])
    if way != "bias":
        return way, means
    zeros = bench.capture("clean", plan, [Zero(at=part) for part in parts])
    patterns = [site for site in plan.sites if site.name == "pattern"]
    close = SAME.get(bench.model.info.dtype, SAME["bfloat16"])
    if all(torch.allclose(means[site].float(), zeros[site].float(), rtol=0.0, atol=close) for site in patterns):
        return way, zeros
    # Positions are multiplied with content, as in DeBERTa's: no setting of content leaves them alone.
    return "average", None


def _embeddings_alone(bench: Bench, plan: CapturePlan, at: Places) -> Activations:
    """The planned sites when every layer reads the position embeddings instead of the residual stream."""
    first, batch = at.site("resid_pre", 0), bench.batch("clean")
    without_tokens = [Zero(at=Part(at.site("embed")))]
    embedded = bench.capture("clean", CapturePlan(sites=frozenset({first})), without_tokens)[first]
    entries = [at.site("resid_pre", layer) for layer in at.layers]
    source = Activations(dict.fromkeys(entries, embedded), batch)
    bench.forwards += 1
    edits = [Patch(at=Part(entry), source=ALONE) for entry in entries]
    return bench.model.run(batch, plan, edits, sources={ALONE: source}).activations


def _layer(clean: Activations, alone: Activations | None, at: Places, layer: int, real: np.ndarray) -> Layer:
    pattern = _read(clean, at.site("pattern", layer), at.heads)
    scores, visible = _scores(clean, at, layer, real)
    spans = positions.distances(visible)
    observed = positions.distance_profile(scores, visible, spans)
    if alone is None:
        return Layer(pattern, positions.pattern_of_profile(observed[0], spans, visible), visible, observed, observed)
    profile = positions.distance_profile(*_scores(alone, at, layer, real), spans)
    return Layer(pattern, _read(alone, at.site("pattern", layer), at.heads), visible, profile, observed)


def _read(activations: Activations, site: Site, heads: Sequence[int]) -> np.ndarray:
    return np.asarray(activations[site][:, list(heads)].float().cpu().numpy())


def _scores(activations: Activations, at: Places, layer: int, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and where they are visible; from the pattern's logarithm where a model does not show its scores."""
    if (site := at.site("scores", layer)) in activations:
        scores = _read(activations, site, at.heads)
    else:
        scores = positions.scores_of_pattern(_read(activations, at.site("pattern", layer), at.heads))
    return scores, positions.visible_scores(scores) & real


def _grids(
    params: Params, read: Sequence[Layer], where: dict[str, tuple[Coord, ...]], real: np.ndarray, about: str
) -> list[Grid]:
    width = real.shape[-1]
    maps = {**where, "q_pos": tuple(range(width)), "k_pos": tuple(range(width))}
    grids: list[Grid] = []
    for name, words in (("position_pattern", about), ("pattern", "The attention that the head has.")):
        by_prompt = np.stack([item.alone if name == "position_pattern" else item.pattern for item in read], axis=1)
        valid = None if real.all() else np.broadcast_to(real[:, :, None], by_prompt.shape)
        grids += averaged(name, by_prompt, tuple(maps), maps, "attention", about=words,
                          per_prompt=params.per_prompt, valid=valid, interval=False)  # fmt: skip
    for name, words in (
        (
            "explained",
            "share of the pattern that positions alone give: 1 − total variation distance, mean over queries",
        ),
        ("explained_uniform", "the same share for a pattern that spreads evenly over the visible keys"),
    ):
        shares = [_share(item, even=name == "explained_uniform") for item in read]
        by_prompt, valid = (np.stack(arrays, axis=1) for arrays in zip(*shares, strict=True))
        grids += averaged(name, by_prompt, tuple(where), where, "fraction", about=words,
                          per_prompt=params.per_prompt, valid=None if valid.all() else valid)  # fmt: skip
    return [*grids, *_profiles(read, where)]


def _share(layer: Layer, *, even: bool) -> tuple[np.ndarray, np.ndarray]:
    mass = layer.pattern.sum(axis=-1, keepdims=True)
    # With a sink a row sums to less than 1; spreading what it gives evenly keeps that.
    other = positions.uniform(layer.visible) * mass if even else layer.alone
    return positions.explained(layer.pattern, other, layer.visible)


def _profiles(read: Sequence[Layer], where: dict[str, tuple[Coord, ...]]) -> list[Grid]:
    """Scores by distance; layers with a shorter view than others have missing cells."""
    spans = [positions.distances(layer.visible) for layer in read]
    at = tuple(range(min(span[0] for span in spans), spans[0][-1] + 1))
    coords = {**where, "distance": at}
    grids = []
    for name, words in (
        ("profile", "score of positions alone at a distance minus that at distance 0, mean over queries"),
        ("profile_observed", "mean of the head’s real scores at a distance minus the query’s own score"),
    ):
        values = np.zeros((len(read), len(where["head"]), len(at)))
        valid = np.zeros(values.shape, dtype=bool)
        for place, (layer, span) in enumerate(zip(read, spans, strict=True)):
            found = layer.profile if name == "profile" else layer.observed
            values[place, :, len(at) - len(span) :], valid[place, :, len(at) - len(span) :] = found
        missing = None if valid.all() else valid
        grids.append(Grid(name, values, tuple(coords), coords, "nat", 0.0, words, missing))
    return grids


def _similarity(bench: Bench, way: Way, stack: str) -> tuple[Grid, ...]:
    """How alike the learned position embeddings of each two positions are, where a model has such."""
    site = Site("pos_embed", stack=stack)
    if way != "learned" or site not in bench.model.sites:
        return ()
    batch = bench.batch("clean").side(stack)
    longest = int(np.argmax(batch.lengths))
    values = bench.capture("clean", CapturePlan(sites=frozenset({site})))[site]
    vectors = values[min(longest, len(values) - 1), : batch.lengths[longest]].float().cpu().numpy()
    places = tuple(range(len(vectors)))
    about = "cosine similarity of the learned position embeddings of two positions"
    coords = {"q_pos": places, "k_pos": places}
    similarity = positions.cosine_similarity(vectors)
    return (Grid("position_similarity", similarity, ("q_pos", "k_pos"), coords, "cosine", 0.0, about),)


def sentence(params: Params, experiment: Experiment) -> str:
    which = "all layers" if params.layers is None else f"layers {', '.join(map(str, params.layers))}"
    heads = "all heads" if params.heads is None else f"heads {', '.join(map(str, params.heads))}"
    prompts = prompts_in_words(experiment, "clean")
    return f"The attention that positions alone would give to {heads} in {which}, beside the real one, on {prompts}."


ANALYSIS = Analysis(
    name="position_patterns",
    title="Position patterns",
    Params=Params,
    inputs=("clean",),
    summary="the attention that positions alone would give, beside the attention that a head has",
    source="Press et al. 2021, arXiv 2108.12409; Raffel et al. 2019, arXiv 1910.10683; "
    "Su et al. 2021, arXiv 2104.09864",
    compute=compute,
    sentence=sentence,
    example={},
)
