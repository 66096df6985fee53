"""forward: the only place where a model is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hooks.activations import Activations
from hooks.attention import AttentionFacts
from hooks.errors import BudgetError, SpecError
from hooks.schedule import Schedule, on_prompts
from hooks.sites import Site
from hooks.sources import Sources
from hooks.taps import Tap, answers_at, attached
from hooks.tokens import TokenBatch
from hooks.wiring import Wiring


@dataclass(frozen=True, eq=False)
class Run:
    """What one forward pass gave.

    logits [rows pos d_vocab], or [rows 1 d_vocab] where only answer positions were asked for; rows are the prompts,
    followed by the worlds' rows in the order in which the worlds were given. activations: the captured sites; a run
    with worlds keeps none, since sites before a world's first edit have no rows for it. attention: how each layer makes
    its scores.
    """

    logits: Tensor
    activations: Activations
    attention: Mapping[int, AttentionFacts]

    def __getitem__(self, site: Site | str) -> Tensor:
        return self.activations[site]


def forward(
    model: PreTrainedModel,
    wiring: Wiring,
    batch: TokenBatch,
    *,
    reads: frozenset[Site] = frozenset(),
    schedule: Schedule | None = None,
    sources: Mapping[str, Activations] | None = None,
    logits_at: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Run:
    """Run `batch` once under a schedule of edits, keeping the sites in `reads`.

    Raises InputError where edits and inputs do not fit, BudgetError when memory runs out.
    """
    schedule = schedule or on_prompts(batch, ())
    if schedule.worlds and reads:
        raise SpecError("a run with worlds keeps no activations.", "Capture under one set of edits at a time.")
    tap = Tap(model, wiring, reads - {Site("logits")}, schedule, Sources(sources or {}, batch))
    began = 1 + schedule.joins.get(-1, 0)
    arguments = {
        "input_ids": batch.ids.to(device).repeat(began, 1),
        "attention_mask": batch.mask.to(device, torch.int64).repeat(began, 1),
    }
    try:
        with torch.inference_mode(), attached(model, tap), answers_at(model.get_submodule(wiring.unembed), logits_at):
            output: Any = model(**arguments, use_cache=False)
    except torch.OutOfMemoryError as error:
        raise BudgetError(
            f"the device ran out of memory on {arguments['input_ids'].shape[0]} rows of {batch.ids.shape[1]} tokens.",
            "Use a shorter prompt, fewer prompts, or --device cpu.",
        ) from error
    captured = dict(tap.captured)
    if Site("logits") in reads:
        captured[Site("logits")] = output.logits.clone()
    rows = _in_given_order(schedule)
    logits = output.logits if rows is None else output.logits[rows.to(output.logits.device)]
    return Run(logits, Activations(captured, batch), dict(tap.seen))


def _in_given_order(schedule: Schedule) -> Tensor | None:
    """Row numbers that put the worlds, which joined by layer, back into the order they were given in."""
    if not schedule.worlds:
        return None
    blocks = torch.tensor([0, *(1 + block for block in schedule.order)])
    return (blocks[:, None] * schedule.batch + torch.arange(schedule.batch)[None]).flatten()


def plain_forward(
    model: PreTrainedModel, batch: TokenBatch, *, device: torch.device | str = "cpu", **options: Any
) -> Any:
    """The unhooked model with its own eager attention: what every observation is compared with."""
    with torch.inference_mode(), attached(model, None):
        return model(
            input_ids=batch.ids.to(device),
            attention_mask=batch.mask.to(device, torch.int64),
            use_cache=False,
            **options,
        )
