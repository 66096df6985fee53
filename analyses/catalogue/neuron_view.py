"""Neuron view: which neurons stand out on some prompts, and what one of them does.

A neuron is one entry of what W_out reads (`mlp_post`), or of one expert (`expert_post`). The ranking finds the
strongest of all layers by activation or by direct effect on the answer. For one neuron there is its activation at every
token, with what its gate and its linear branch gave; the tokens that its output weights raise and lower; and its direct
effect. What it causes through later layers is not in any of these: ablate it to measure that.

Logit weights are weights alone, no run: with w the neuron's row of W_out and γ the gain of the final norm,
(w ⊙ γ) W_U, its mean over the vocabulary taken out; logits per unit of activation before the final norm's scale.

Sources: Geva et al. 2021, arXiv 2012.14913 and 2022, arXiv 2203.14680; Elhage et al. 2021 (direct effects).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator
from torch import Tensor

from analyses.addends import at_answers
from analyses.analysis import Analysis, Findings
from analyses.averages import averaged
from analyses.bench import Bench
from analyses.edited import Edits, under_edits_in_words
from analyses.experiment import Experiment
from analyses.grid import Coord, Grid, Unit
from analyses.held_norm import held_norm
from analyses.neuron_ranking import activations, direct_effects, ranking, real_positions, stream_sites
from analyses.neurons import NAMES, beside, logit_weights, place_of, write_of, written_sites
from analyses.phrases import choices_in_words, part_in_words, position_in_words, prompts_in_words
from analyses.readout import readout
from hooks.activations import Activations
from hooks.errors import SiteMissing
from hooks.plan import CapturePlan
from hooks.sites import MAIN, Part, Site
from hooks.spec import Spec

SIDES: dict[str, tuple[str, Unit, str]] = {
    "mlp_pre": ("gate", "activation", "input of the nonlinearity"),
    "mlp_up": ("up", "activation", "linear branch, by which the nonlinearity's output is multiplied"),
    "router": ("router", "fraction", "weight that the router gives the neuron's expert"),
}


class Params(Spec):
    """score: what ranks neurons. at: the position at which activations count; None: each prompt's peak.

    skip_first: the peak is not looked for at the first token. top: how many are listed, of all or of each layer; 0: no
    ranking. neuron: one to look at, such as L5.mlp_post[unit=17]. tokens: how many it raises and lowers are listed.
    edits: interventions under which its activation is read again.
    """

    score: Literal["activation", "direct"] = "activation"
    at: int | str | None = None
    skip_first: bool = False
    top: int = Field(default=100, ge=0, le=1000)
    per_layer: bool = False
    layers: tuple[int, ...] | None = None
    stack: str = MAIN
    neuron: Part | None = None
    tokens: int = Field(default=10, ge=1, le=100)
    edits: Edits = ()
    per_prompt: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Params:
        if self.score == "direct" and (self.at is not None or self.skip_first or self.stack != MAIN):
            raise ValueError("direct effects are of the main stack at the answer position: leave out at and skip_first")
        if not self.top and self.neuron is None:
            raise ValueError("nothing is asked for: choose a neuron, or a top of at least 1")
        if self.edits and self.neuron is None:
            raise ValueError("edits are shown on one neuron: choose it")
        if self.neuron is not None:
            given = {"unit", "expert"} if self.neuron.site.name == "expert_post" else {"unit"}
            if self.neuron.site.name not in NAMES or set(self.neuron.slices) != given:
                raise ValueError(f"{self.neuron} is no neuron: write L5.mlp_post[unit=17]")
        return self


def compute(params: Params, bench: Bench) -> Findings:
    grids: tuple[Grid, ...] = ()
    if params.top:
        scores = (
            direct_effects(bench, params.layers)
            if params.score == "direct"
            else activations(bench, params.stack, params.layers, params.at, skip_first=params.skip_first)
        )
        grids = ranking(scores, bench.batch("clean"), params.stack, params.top, per_layer=params.per_layer,
                        per_prompt=params.per_prompt)  # fmt: skip
    if params.neuron is not None:
        bench.model.info.check_part(params.neuron)
        grids = (*grids, *_values(params, bench, params.neuron), *_writes(params, bench, params.neuron))
    return Findings(grids)


def _values(params: Params, bench: Bench, part: Part) -> tuple[Grid, ...]:
    """`activation` at every token, `gate`, `up`, `router` beside it, and what edits make of the first."""
    site, more = part.site, beside(bench.model, part.site)
    bench.model.require_writable(params.edits)
    captured = bench.capture("clean", CapturePlan(sites=frozenset({site, *more})))
    grids = [_by_token(bench, part, "activation", "activation", "what W_out reads of the neuron", captured)]
    for one in more:
        name, unit, about = SIDES[one.name]
        grids.append(_by_token(bench, _same(part, one), name, unit, about, captured))
    if params.edits:
        edited = bench.capture("clean", CapturePlan(sites=frozenset({site})), params.edits)
        about = f"the same{under_edits_in_words(params.edits)}"
        grids.append(_by_token(bench, part, "activation_edited", "activation", about, edited))
    return tuple(grids)


def _same(part: Part, site: Site) -> Part:
    """The neuron's place at another site of its layer."""
    return Part(site, expert=part.expert) if site.name == "router" else Part(site, unit=part.unit)


def _by_token(bench: Bench, part: Part, name: str, unit: Unit, about: str, captured: Activations) -> Grid:
    """A part's value at every position: dims (pos), with several prompts (prompt, pos)."""
    x, batch = captured[part.site].float(), bench.batch("clean")
    if part.expert is not None:
        x = x[..., part.expert, :] if part.unit is not None else x[..., part.expert]
    x = x[..., part.unit] if part.unit is not None else x
    real = real_positions(batch, part.site.stack, x.shape[1]).cpu().numpy()
    values, dims = np.where(real, x.cpu().numpy(), 0.0), ("prompt", "pos")
    coords: dict[str, tuple[Coord, ...]] = {name: tuple(range(size)) for name, size in zip(dims, x.shape, strict=True)}
    grid = Grid(name, values, dims, coords, unit, 0.0, f"{about}, at {part}", None if real.all() else real)
    return grid.select(prompt=0) if len(batch) == 1 else grid


def _writes(params: Params, bench: Bench, part: Part) -> tuple[Grid, ...]:
    """`direct`, `promoted` and `suppressed`; a note where the neuron's write does not reach the logits as a sum."""
    model, batch = bench.model, bench.batch("clean")
    try:
        last, normed = stream_sites(bench)
        seen, logits = at_answers(bench, "clean", sorted(written_sites(model, part.site) | {last, normed}))
        write, values = write_of(model, part.site, seen)
        final = held_norm(*model.weights.final_norm(), seen[last].double(), seen[normed].double(), "the final norm")
        out = readout(model, batch, seen[last], seen[normed], logits) if batch.answers else None
    except SiteMissing as error:
        bench.notes.append(f"no logit weights and no direct effect of {part}: {error.message}")
        return ()
    place = place_of(model, part)
    weights = logit_weights(write.direction(place), final, model.weights.W_U())
    grids = _tokens(params, bench, part, weights)
    if out is None:
        return grids
    value = write.along(values, out.direction)[:, place].cpu().numpy()
    against = "logit(answer) − logit(foil)" if batch.foils else "logit(answer)"
    about = f"what {part} adds to {against} by itself at the answer position, the final norm's scale held"
    none: dict[str, tuple[Coord, ...]] = {}
    return (*averaged("direct", value, (), none, "logit", baseline=0.0, about=about, per_prompt=params.per_prompt),
            *grids)  # fmt: skip


def _tokens(params: Params, bench: Bench, part: Part, weights: Tensor) -> tuple[Grid, ...]:
    about = f"(w ⊙ γ) W_U of {part}, mean over the vocabulary taken out: weights alone, per unit of activation"
    grids = []
    for name, sign, which in (("promoted", 1, "largest"), ("suppressed", -1, "smallest")):
        found = (sign * weights).topk(min(params.tokens, len(weights)))
        ids = found.indices.tolist()
        coords: dict[str, tuple[Coord, ...]] = {
            "rank": tuple(range(len(ids))), "token": choices_in_words(bench.model, ids), "id": tuple(ids),
        }  # fmt: skip
        values = (sign * found.values).cpu().numpy()
        grids.append(Grid(name, values, ("rank",), coords, "logit", 0.0, f"the {which} logit weights, {about}"))
    return tuple(grids)


def sentence(params: Params, experiment: Experiment) -> str:
    on = prompts_in_words(experiment, "clean")
    said = []
    if params.top:
        where = f" at {position_in_words(params.at)}" if params.at is not None else ""
        by = "direct effect on the answer" if params.score == "direct" else f"activation{where}"
        said.append(f"The {params.top} neurons{' of each layer' if params.per_layer else ''} of largest {by}, on {on}.")
    if params.neuron is not None:
        what = f"activations{under_edits_in_words(params.edits)}, logit weights and direct effect"
        said.append(f"{part_in_words(params.neuron).capitalize()}: {what}, on {on}.")
    return " ".join(said)


ANALYSIS = Analysis(
    name="neuron_view",
    title="Neuron view",
    Params=Params,
    inputs=("clean",),
    summary="the strongest neurons of all layers, and one neuron's activations, logit weights and direct effect",
    source="Geva et al. 2021, arXiv 2012.14913; Geva et al. 2022, arXiv 2203.14680",
    compute=compute,
    sentence=sentence,
    example={"top": 20, "per_layer": False},
)
