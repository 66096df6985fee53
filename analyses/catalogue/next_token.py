"""Next token: what the model expects after a position, and how surprised it was along the way.

The logits at a position, divided by the temperature, give probabilities by softmax; temperature 1 is the model itself.
`prob` and `logit` list the top tokens (logits as the model gives them, before the temperature). A masked model is asked
for the token behind its mask, a classifier for its class. `surprisal` is −log p(token | everything before it), in nats,
for every position but the first; its mean is the loss. Given labels, `label_surprisal` is −log p(label) where there is
one.

Shapes: prob, logit [rank], with the tokens as further labels; surprisal, label_surprisal [pos]. Several prompts: means
over prompts.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from analyses.analysis import Analysis, Findings
from analyses.averages import averaged
from analyses.bench import Bench
from analyses.experiment import Experiment
from analyses.grid import Coord, Grid
from analyses.metrics import OUTPUT_WORDS, Target, default_metric, output_of
from analyses.phrases import choices_in_words, probability_in_words, prompts_in_words
from hooks.errors import InputError
from hooks.plan import CapturePlan
from hooks.spec import Spec
from hooks.tokens import TokenBatch

NEXT_TOKEN = ("causal", "seq2seq")


class Params(Spec):
    """top_k: how many tokens. temperature: divides the logits.

    position: an index or a name; "answer" is where a model is asked: at the mask of a masked model, else at the last
    token.
    """

    top_k: int = Field(default=10, ge=1, le=1000)
    temperature: float = Field(default=1.0, gt=0.0, le=100.0)
    position: int | str = "answer"
    per_prompt: bool = False


def distribution(
    logits: Float[Tensor, " d_vocab"], temperature: float = 1.0, top_k: int = 10
) -> tuple[Int[Tensor, " rank"], Float[Tensor, " rank"], Float[Tensor, " rank"]]:
    """Ids, probabilities and logits of the top tokens, most probable first."""
    probs = (logits.float() / temperature).softmax(-1)
    top = probs.topk(min(top_k, probs.shape[-1]))
    return top.indices, top.values, logits.float()[top.indices]


def surprisal(logits: Float[Tensor, "pos d_vocab"], ids: Int[Tensor, " pos"]) -> Float[Tensor, " predicted"]:
    """−log p of each token given those before it, in nats, for positions 1 on."""
    return -logits[:-1].float().log_softmax(-1).gather(-1, ids[1:, None]).squeeze(-1)


def position_of(batch: TokenBatch, position: int | str, prompt: int) -> int:
    """The index that `position` means among a prompt's logits. Raises InputError."""
    if position == "answer":
        return batch.answer_at[prompt]
    if batch.single:
        raise InputError("this model gives one answer per prompt, at no position.", 'Use "position": "answer".')
    if isinstance(position, str):
        if position not in batch.positions:
            known = dict.fromkeys(("answer", *batch.positions))
            raise InputError(f"no position is called '{position}'.", f"Known: {', '.join(known)}.")
        return batch.positions[position][prompt]
    if not 0 <= position < batch.lengths[prompt]:
        raise InputError(
            f"prompt {prompt + 1} has positions 0–{batch.lengths[prompt] - 1}, not {position}.", "Choose one of these."
        )
    return position


def compute(params: Params, bench: Bench) -> Findings:
    batch, info = bench.batch("clean"), bench.model.info
    if (output := output_of(info)) != "choice":
        raise InputError(
            f"{info.name} has no next token or class: it gives {OUTPUT_WORDS[output]}.",
            f'Ablate with "metric": "{default_metric(info)}" instead.',
        )
    bench.step(0, 1, "running the model")
    logits = bench.capture("clean", CapturePlan.of("logits"))["logits"]
    places = [position_of(batch, params.position, prompt) for prompt in range(len(batch))]
    at = torch.stack([logits[prompt, place].float() for prompt, place in enumerate(places)])
    probs = (at / params.temperature).softmax(-1).double()
    ids = probs.mean(0).topk(min(params.top_k, probs.shape[-1])).indices
    tokens = choices_in_words(bench.model, ids.tolist())
    coords: dict[str, tuple[Coord, ...]] = {"rank": tuple(range(len(ids))), "token": tokens}
    about = f"at position {params.position}, temperature {params.temperature:g}"
    what = probability_in_words(info.task)
    grids = (
        *averaged("prob", probs[:, ids].cpu().numpy(), ("rank",), coords, "prob", about=f"{what} {about}",
                  per_prompt=params.per_prompt),
        *averaged("logit", at[:, ids].cpu().numpy(), ("rank",), coords, "logit", about=f"logit {about}",
                  per_prompt=params.per_prompt),
        *(_surprisal_grids(logits, batch, params) if info.task in NEXT_TOKEN else ()),
        *(_label_grids(logits, batch, params) if batch.labels else ()),
    )  # fmt: skip
    bench.step(1, 1, "running the model")
    return Findings(grids)


def _label_grids(logits: Tensor, batch: TokenBatch, params: Params) -> tuple[Grid, ...]:
    labels, given = Target(batch, logits).labels(logits)
    values = -logits.float().log_softmax(-1).gather(-1, labels.long()[:, :, None]).squeeze(-1)
    coords = {"pos": tuple(range(values.shape[1]))}
    about = "−log p(label) at each position that has a label"
    valid = given.cpu().numpy()
    return averaged("label_surprisal", values.cpu().numpy(), ("pos",), coords, "nat", about=about,
                    per_prompt=params.per_prompt, valid=None if valid.all() else valid)  # fmt: skip


def _surprisal_grids(logits: Tensor, batch: TokenBatch, params: Params) -> tuple[Grid, ...]:
    width = batch.ids.shape[1]
    if width < 2:
        return ()
    values, valid = np.zeros((len(batch), width - 1)), np.zeros((len(batch), width - 1), dtype=bool)
    for prompt, length in enumerate(batch.lengths):
        ids = batch.ids[prompt, :length].to(logits.device)
        values[prompt, : length - 1] = surprisal(logits[prompt, :length], ids).cpu().numpy()
        valid[prompt, : length - 1] = True
    labels: dict[str, tuple[Coord, ...]] = {"token": batch.strings[0][1:]} if len(batch) == 1 else {}
    coords = {"pos": tuple(range(1, width)), **labels}
    about = "−log p of each token given those before it; the first token has none"
    mask = None if valid.all() else valid
    return averaged("surprisal", values, ("pos",), coords, "nat", about=about, per_prompt=params.per_prompt, valid=mask)


def sentence(params: Params, experiment: Experiment) -> str:
    heat = "" if params.temperature == 1.0 else f" at temperature {params.temperature:g}"
    where = "" if params.position == "answer" else f" at position {params.position}"
    return (
        f"Top {params.top_k} next tokens{where}{heat}, "
        f"and the surprisal of each token, on {prompts_in_words(experiment, 'clean')}."
    )


ANALYSIS = Analysis(
    name="next_token",
    title="Next token",
    Params=Params,
    inputs=("clean",),
    summary="the most probable next tokens and the surprisal of each token of the prompt",
    source="definition: softmax of the model's logits",
    compute=compute,
    sentence=sentence,
    example={},
)
