"""Roles of heads as scores: what a head attends to, what its OV circuit does to a token, whom it steers.

    name mover        attention from the answer position to the answer in the prompt × copying
    copy suppression  the same attention × suppression
    copying           share of tokens t that are among the k highest logits of the head's OV applied to t's effective
                      embedding; suppression: among the k lowest
    S-inhibition      how much of the metric is lost when the head tells the name movers' queries what it says on the
                      corrupt prompts, other heads frozen (path patching)

The effective embedding of t is what the first MLP gives for t alone, attention silenced; the OV's output passes the
model's own final norm and unembedding.

Sources: Wang et al. 2022, arXiv 2211.00593, section 3 and appendix; McDougall et al. 2023, arXiv 2310.04625.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analyses.bench import Bench
from analyses.pairs import CLEAN, Measure
from analyses.path_runs import Paths
from hooks.activations import Activations
from hooks.inputs import padded
from hooks.interventions.patch import Patch
from hooks.interventions.zero import Zero
from hooks.plan import CapturePlan
from hooks.schedule import World
from hooks.sites import Part, Site
from hooks.tokens import TokenBatch


@dataclass(frozen=True, eq=False)
class Attention:
    """Attention from the answer position to the answer's occurrences before it.

    values: summed over occurrences [prompt layer head]; present: prompts in which the answer occurs; known: layers
    whose pattern can be read.
    """

    values: np.ndarray
    present: np.ndarray
    known: np.ndarray


def attention_to_answer(bench: Bench) -> Attention:
    """Of every head on the clean prompts."""
    batch, info = bench.batch(CLEAN), bench.model.info
    sites = [Site("pattern", layer) for layer in range(info.n_layers)]
    known = np.array([site in bench.model.sites for site in sites])
    plan = CapturePlan(sites=frozenset(site for site, there in zip(sites, known, strict=True) if there))
    values = np.zeros((len(batch), info.n_layers, info.n_heads))
    places = [answer_places(batch, row) for row in range(len(batch))]
    for row in range(len(batch)):
        bench.step(row, len(batch), "reading attention to the answer")
        captured = bench.capture(batch.select([row]), plan)
        for site in captured:
            pattern = captured[site][0, :, batch.answer_at[row]].float()
            values[row, site.layer] = pattern[:, places[row]].sum(-1).cpu().numpy()
    return Attention(values, np.array([bool(at) for at in places]), known)


def answer_places(batch: TokenBatch, row: int) -> list[int]:
    """The positions before the answer's own at which one of its tokens stands in the prompt."""
    ids = batch.ids[row, : batch.answer_at[row]].tolist()
    return [place for place, token in enumerate(ids) if token in batch.answers[row]]


def ov_shares(
    bench: Bench, tokens: Sequence[int], k: int, layers: Sequence[int] | None = None
) -> Mapping[str, np.ndarray]:
    """`copying` and `suppression` of every head over the tokens [layer head]; NaN for heads whose OV is not known.

    layers: those that are looked at, all without it; the others are NaN.
    """
    model, info = bench.model, bench.model.info
    batch = padded(model.tokenizer, info, [[token] for token in tokens])
    stream = _effective(bench, batch)
    found = {name: np.full((info.n_layers, info.n_heads), np.nan) for name in ("copying", "suppression")}
    for layer in range(info.n_layers) if layers is None else layers:
        bench.step(layer, info.n_layers, "reading OV circuits")
        if Site("v", layer) not in model.reads.readers or not model.reads.heads_add(layer):
            continue
        above, below = _ranks(bench, batch, _writes(bench, layer, stream), torch.tensor(tokens))
        found["copying"][layer] = (above < k).double().mean(1).cpu().numpy()
        found["suppression"][layer] = (below < k).double().mean(1).cpu().numpy()
    return found


def _effective(bench: Bench, batch: TokenBatch) -> Tensor:
    """The effective embeddings [token 1 d_model]; the embeddings themselves in a model whose first layer has no MLP."""
    site = Site("mlp_out", 0)
    site = site if site in bench.model.sites else Site("embed")
    edits = [Zero(at=Part(Site("attn_out", 0)))] if site.name == "mlp_out" else []
    return bench.forward(batch, CapturePlan(sites=frozenset({site})), edits)[site]


def _writes(bench: Bench, layer: int, stream: Tensor) -> Tensor:
    """What each head's OV makes of a stream [token 1 d_model], attending to it alone: [head token 1 d_model]."""
    model = bench.model
    with torch.inference_mode():
        values = model.reads.value(Site("v", layer), stream).repeat_interleave(model.info.group, dim=2)
        site = Site("z", layer)
        return torch.stack([model.reads.written(site, values, [head]) for head in range(model.info.n_heads)])


def _ranks(bench: Bench, batch: TokenBatch, writes: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """How many logits are above and below each token's own [head token], the writes put in place of the last stream."""
    last = Part(Site("resid_post", bench.model.info.n_layers - 1))
    sources = {f"head {n}": Activations({last.site: write}, batch) for n, write in enumerate(writes)}
    worlds: list[World] = [(Patch(at=last, source=name),) for name in sources]
    above, below = [], []
    for row in range(0, len(batch), max(1, 64 // len(worlds))):
        part = batch.rows(row, row + max(1, 64 // len(worlds)))
        logits = bench.worlds(part, worlds, sources=sources, logits_at=torch.zeros(len(part), dtype=torch.long)).logits
        logits = logits.float()[1:].flatten(2) if logits.ndim == 3 else logits.float()[1:, :, 0]
        own = logits.gather(-1, tokens[row : row + len(part)].to(logits.device).expand(len(worlds), -1)[..., None])
        above.append((logits > own).sum(-1))
        below.append((logits < own).sum(-1))
    return torch.cat(above, 1), torch.cat(below, 1)


def lost_through_queries(
    bench: Bench, movers: Sequence[tuple[int, int]], measure: Measure, among: Sequence[tuple[int, int]] | None = None
) -> np.ndarray:
    """By how much the metric falls when one head tells the queries of `movers` what it says on the corrupt prompts.

    movers: (layer, head). among: the heads that are tried, all without it; the others are NaN. [prompt layer head], in
    the metric's unit; heads that come after all movers lose nothing.
    """
    info = bench.model.info
    receivers = tuple(Part(Site("q", layer), head=head, pos="last") for layer, head in movers)
    senders = tuple(Part(Site("z", layer), head=head) for layer in range(info.n_layers) for head in range(info.n_heads))
    tried = None if among is None else set(among)
    there = [
        place
        for place, part in enumerate(senders)
        if part.site in bench.model.writable and (tried is None or divmod(place, info.n_heads) in tried)
    ]
    paths = Paths.of(bench, tuple(senders[place] for place in there), receivers, measure, "noising")

    def shown(measured: object) -> None:
        bench.step(0, len(there), "patching paths to the name movers' queries")

    measured = paths.follow(shown)
    lost = np.full((measured.clean.shape[1], len(senders)), np.nan)
    lost[:, there] = (measured.clean[0] - measured.cells[0]).T
    return lost.reshape(-1, info.n_layers, info.n_heads)
