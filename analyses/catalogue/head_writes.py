"""Head writes: what one head says to the output, and what its weights make of the tokens it attends to.

What the head writes at a position goes through the final norm, its scale held, and the unembedding: the tokens whose
logits it raises and lowers most. Towards the answer it is the head's direct effect. Beside them stands what its OV
circuit does with tokens by its weights alone, attending to one token and nothing else: the share of tokens that it
copies (they are among the highest logits of what it makes of them) and suppresses (among the lowest).

Sources: Elhage et al. 2021, A Mathematical Framework for Transformer Circuits; Wang et al. 2022, arXiv 2211.00593;
McDougall et al. 2023, arXiv 2310.04625.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field

from analyses.analysis import Analysis, Findings
from analyses.averages import averaged
from analyses.bench import Bench
from analyses.experiment import Experiment
from analyses.grid import Grid
from analyses.head_output import direct_effects, pushed, token_logits
from analyses.phrases import position_in_words, prompts_in_words
from analyses.roles import ov_shares
from hooks.errors import SpecError
from hooks.schedule import places
from hooks.sites import Part, Site
from hooks.spec import Spec


class Params(Spec):
    """head: as L3.z[head=5]. pos: where its output is read, the answer position without it. top_k: tokens listed.

    near: how near the top or bottom of the logits a token is copied or suppressed.
    """

    head: Part
    pos: int | str | None = None
    top_k: int = Field(default=10, ge=1, le=1000)
    near: int = Field(default=5, ge=1)
    per_prompt: bool = False


def compute(params: Params, bench: Bench) -> Findings:
    part, batch = params.head, bench.batch("clean")
    if part.site.name != "z" or part.head is None or set(part.slices) != {"head"} or part.site.stack != "decoder":
        raise SpecError(f"{part} is not a head.", "Heads are written as L3.z[head=5].")
    bench.model.info.check_part(part)
    heads = [(part.site.layer or 0, part.head)]
    at = torch.tensor(batch.answer_at)
    if params.pos is not None:
        where = Part(Site("z", part.site.layer), head=part.head, pos=params.pos)
        at = torch.tensor([places(params.pos, batch, prompt, where).start for prompt in range(len(batch))])
    bench.step(0, 3, "reading what the head writes")
    logits = token_logits(bench, heads, at)
    grids = [
        grid
        for name, lowest in (("promoted", False), ("suppressed", True))
        for grid in pushed(bench, name, logits, [str(part)], params.top_k, lowest=lowest, per_prompt=params.per_prompt)
    ]
    bench.step(1, 3, "its direct effect")
    if batch.answers:
        against = "logit(answer) − logit(foil)" if batch.foils else "logit(answer)"
        about = f"what the head writes towards {against} at the answer position, the final norm's scale held"
        grids = [*averaged("direct_effect", direct_effects(bench, heads)[:, 0], (), {}, "logit", baseline=0.0,
                           about=about, per_prompt=params.per_prompt), *grids]  # fmt: skip
    bench.step(2, 3, "its OV circuit")
    return Findings((*grids, *_shares(params, bench, heads[0])))


def _shares(params: Params, bench: Bench, head: tuple[int, int]) -> list[Grid]:
    """What the head's OV circuit does with the answers and foils, or with the prompts' own tokens where none are."""
    batch = bench.batch("clean")
    tokens = sorted({token for ids in (*batch.answers, *batch.foils) for token in ids})
    whose = "answers and foils"
    if not tokens:
        tokens, whose = sorted({token for ids in batch.id_lists() for token in ids}), "tokens of the prompts"
    shares, grids = ov_shares(bench, tokens, params.near, [head[0]]), []
    for name, end in (("copying", "highest"), ("suppression", "lowest")):
        value = shares[name][head]
        about = (
            f"share of {len(tokens)} {whose} that are among the {params.near} {end} logits of the head's OV applied to "
            "the first MLP's output for them"
        )
        known = bool(np.isfinite(value))
        about += "" if known else "; missing: what the head makes of one token is no known part of the stream"
        grids.append(Grid(name, np.array(value if known else 0.0), (), {}, "fraction", None, about,
                          None if known else np.array(False)))  # fmt: skip
    return grids


def sentence(params: Params, experiment: Experiment) -> str:
    where = "the answer position" if params.pos is None else position_in_words(params.pos)
    return (
        f"Read what head {params.head.site.layer}.{params.head.head} writes at {where} through the unembedding, on "
        f"{prompts_in_words(experiment, 'clean')}."
    )


ANALYSIS = Analysis(
    name="head_writes",
    title="What a head writes",
    Params=Params,
    inputs=("clean",),
    summary="the tokens that a head promotes and suppresses, its direct effect, and whether its OV circuit copies",
    source="Elhage et al. 2021, A Mathematical Framework for Transformer Circuits; Wang et al. 2022, arXiv 2211.00593; "
    "McDougall et al. 2023, arXiv 2310.04625",
    compute=compute,
    sentence=sentence,
    example={"head": "L1.z[head=2]"},
)
