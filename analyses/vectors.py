"""Named vectors of an experiment: what steering adds, a projection removes, or a part is set to.

A vector is defined once and used by name in edits. It is a list of numbers; a difference of mean activations of two
inputs at the very site that the edit addresses (Panickssery et al. 2023, arXiv 2312.06681); or an unembedding
direction, whose component in the last residual raises the logit of one token over that of another.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hooks.activations import Activations
from hooks.errors import InputError
from hooks.interventions import Intervention
from hooks.interventions.mean import Mean
from hooks.prompts import IdAnswer
from hooks.schedule import places
from hooks.sites import Part, Position, Site
from hooks.sources import VECTOR, Sources, as_source
from hooks.spec import Spec
from hooks.tokens import answer_id

if TYPE_CHECKING:
    from analyses.bench import Bench


class Contrast(Spec):
    """Mean activation on input `of` minus that on input `minus` (nothing, when left out), at the edit's own site.

    The mean is over prompts and their real positions together, or with `pos` over prompts at that position.
    """

    of: str
    minus: str | None = None
    pos: Position | None = None


class Direction(Spec):
    """The unembedding of `token` minus that of `minus`: columns of W_U, without the final norm's gain."""

    token: str | IdAnswer
    minus: str | IdAnswer | None = None


Definition = tuple[float, ...] | Contrast | Direction


def used_by(edits: Sequence[Intervention], vectors: Mapping[str, Definition]) -> dict[str, Definition]:
    """The definitions of the vectors that edits name, by name. Raises InputError for one that is not defined."""
    names = {name for edit in edits for name in edit.vectors}
    for name in names - set(vectors):
        raise InputError(
            f"no vector is called '{name}'.",
            f"The experiment defines {', '.join(vectors)}."
            if vectors
            else f'Add "vectors": {{"{name}": …}} to the experiment, or write its numbers.',
        )
    return {name: vectors[name] for name in sorted(names)}


def as_json(definition: Definition) -> Any:
    """A definition as plain JSON values."""
    return definition.model_dump(mode="json") if isinstance(definition, Spec) else list(definition)


def inputs_of(definition: Definition) -> tuple[str, ...]:
    """The inputs whose activations a vector is made of."""
    if not isinstance(definition, Contrast):
        return ()
    return tuple(name for name in (definition.of, definition.minus) if name is not None)


def vector_sources(
    bench: Bench, edits: Sequence[Intervention], kept: MutableMapping[str, Activations]
) -> dict[str, Activations]:
    """The vectors that edits name, as they stand among the sources, by name and at every site that is addressed.

    kept: where they stay for later edits, so that each is made once per site.
    """
    definitions = used_by(edits, bench.experiment.vectors)
    for edit in edits:
        for name in edit.vectors:
            known, site = kept.get(VECTOR + name), edit.at.site
            if known is None or site not in known:
                made = as_source(vector_at(name, definitions[name], site, bench), site)
                kept[VECTOR + name] = Activations({**(known or {}), **made}, made.batch)
    return {VECTOR + name: kept[VECTOR + name] for name in definitions}


def vector_at(name: str, definition: Definition, site: Site, bench: Bench) -> Tensor:
    """The vector for edits at `site`, float32 with the axes of the site after its position: [d_model], [head d_head].

    Numbers and directions are [d] of their own length. Raises InputError for a vector without a direction, positions
    that an input lacks and answers that are not one token; SiteMissing for a model without an unembedding.
    """
    if isinstance(definition, Contrast):
        values = _mean(definition.of, definition.pos, site, bench)
        if definition.minus is not None:
            values = values - _mean(definition.minus, definition.pos, site, bench)
    elif isinstance(definition, Direction):
        unembedding, tokenizer = bench.model.weights.W_U(), bench.model.tokenizer
        n_embed = bench.model.info.n_embed
        values = unembedding[:, answer_id(tokenizer, definition.token, "token", n_embed)].float()
        if definition.minus is not None:
            values = values - unembedding[:, answer_id(tokenizer, definition.minus, "token", n_embed)].float()
    else:
        values = torch.tensor(definition, device=bench.model.device)
    if not bool(values.any()):
        raise InputError(f"vector '{name}' is zero at {site}.", "Let it differ between what it is made of.")
    return values


def _mean(name: str, pos: Position | None, site: Site, bench: Bench) -> Tensor:
    """The mean of a site on an input, without its batch and position axes."""
    if site.axes[1] != "pos":
        raise InputError(f"{site} has no mean over positions.", "Steer a site whose axes begin with batch and pos.")
    sources = bench.sources([Mean(at=Part(site), reference=name, over="positions")])
    if pos is None:
        return Sources(sources, bench.batch(name)).mean(name, site, "positions", slice(None))[0, 0]
    part, batch = Part(site, pos=pos), bench.batch(name)
    rows = [
        sources[name][site][prompt, places(pos, batch.side(site.stack), prompt, part)] for prompt in range(len(batch))
    ]
    return torch.cat(rows).float().mean(dim=0)
