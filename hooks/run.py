"""forward: the only place where a model is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hooks.activations import Activations
from hooks.attention import AttentionFacts
from hooks.embeddings import embedding_sd
from hooks.errors import BudgetError, ModelError
from hooks.feed import Feed
from hooks.observe import Observation, Recorder, recording
from hooks.reads import Reads
from hooks.schedule import Schedule, Window, on_prompts
from hooks.sites import Site
from hooks.sources import Sources
from hooks.taps import Apart, Tap, answers_at, attached
from hooks.tokens import TokenBatch
from hooks.wiring import Wiring

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class Run:
    """What one forward pass gave.

    logits [rows pos d_vocab], or [rows 1 d_vocab] where only answer positions were asked for or there is one answer per
    prompt; rows are the prompts,
    followed by the worlds' rows in the order in which the worlds were given. activations: the captured sites, in the
    same rows; before a world's first edit its values are the prompts'. attention: how the attention of each
    (stack, layer) makes its scores.
    """

    logits: Tensor
    activations: Activations
    attention: Mapping[tuple[str, int], AttentionFacts]

    def __getitem__(self, site: Site | str) -> Tensor:
        return self.activations[site]

    def by_world(self) -> Run:
        """The same with the rows apart: axes [1 + worlds, prompts, …]."""
        batch = self.activations.batch
        captured = {site: value.unflatten(0, (-1, len(batch))) for site, value in self.activations.items()}
        return Run(self.logits.unflatten(0, (-1, len(batch))), Activations(captured, batch), self.attention)


def forward(
    model: PreTrainedModel,
    wiring: Wiring,
    batch: TokenBatch,
    *,
    reads: frozenset[Site] = frozenset(),
    schedule: Schedule | None = None,
    sources: Mapping[str, Activations] | None = None,
    logits_at: Tensor | None = None,
    window: Window | None = None,
    rereads: Reads | None = None,
    grads: bool = False,
    apart: Apart | None = None,
    device: torch.device | str = "cpu",
) -> Run:
    """Run `batch` once under a schedule of edits, keeping the sites in `reads`.

    window: run only the positions of a step of a continuation, the earlier ones read from its cache. grads: keep the
    graph, so that the logits can be differentiated with respect to what an edit put in. apart: takes apart the keys and
    values that several query heads share. rereads: how readers read the stream, for edits of edges; its readers must
    have been found before.

    Raises InputError where edits and inputs do not fit, BudgetError when memory runs out.
    """
    schedule = schedule or on_prompts(batch, ())
    whole = batch.whole if window is None else window.prompts
    drawn_on = Sources(sources or {}, whole, partial(embedding_sd, model, wiring))
    start = 0 if window is None else window.start
    tap = Tap(model, wiring, reads - {Site("logits")}, schedule, drawn_on, rereads, start, apart)
    began = 1 + schedule.joins.get(-1, 0)
    feed = wiring.feed
    arguments = feed.arguments(batch, began, device)
    if window is not None:
        arguments[feed.main] = arguments[feed.main][:, window.start :]
        # One prompt has no padding, and a state-space step would be stretched over a mask of all positions.
        arguments.pop("attention_mask" if feed.source is None else "decoder_attention_mask", None)
    kept: dict[str, Any] = {} if window is None or window.cache is None else {"cache": window.cache}
    unembed = None if wiring.unembed is None else model.get_submodule(wiring.unembed)
    mode = torch.enable_grad() if grads else torch.inference_mode()
    switches = feed.switches(use_cache=bool(kept), output_attentions=wiring.returns_patterns(reads))
    try:
        with mode, attached(model, tap), answers_at(unembed, logits_at), feed.many_rows(model, batch):
            output: Any = model(**arguments, **kept, **switches)
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        raise BudgetError(
            f"the device ran out of memory on {len(batch) * began} rows of {batch.ids.shape[1]} tokens.",
            "Use a shorter prompt, fewer prompts, or --device cpu.",
        ) from error
    captured = {site: _in_given_order(value, schedule) for site, value in tap.captured.items() if site in reads}
    answers = feed.answers(output, batch)
    rows = schedule.batch * (1 + schedule.worlds)
    if answers.shape[0] != rows:
        # Some classifiers count prompts by their ids: the rows that joined later would be lost without a word.
        raise ModelError(
            f"{type(model).__name__} gives {answers.shape[0]} answers for {rows} rows.",
            "Its rows cannot join a forward at a later layer.",
        )
    logits = _in_given_order(answers, schedule)
    if Site("logits") in reads:
        captured[Site("logits")] = logits.clone()
    return Run(logits, Activations(captured, batch), dict(tap.seen))


def _out_of_memory(error: Exception) -> bool:
    """Whether an error says that no memory is left, on a device or on the host."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "not enough memory" in str(error)


def _in_given_order(values: Tensor, schedule: Schedule) -> Tensor:
    """`values` with the worlds, which joined by layer, back in the order they were given in.

    A world that has not joined yet has the prompts' own rows.
    """
    if not schedule.worlds:
        return values
    present = values.shape[0] // schedule.batch - 1
    blocks = torch.tensor([0, *(1 + block if block < present else 0 for block in schedule.order)], device=values.device)
    return values.unflatten(0, (1 + present, schedule.batch))[blocks].flatten(0, 1)


def plain_forward(
    model: PreTrainedModel, feed: Feed, batch: TokenBatch, *, device: torch.device | str = "cpu", **options: bool
) -> Any:
    """The unhooked model with its own eager attention: what every observation is compared with."""
    with torch.inference_mode(), attached(model, None):
        return model(**feed.arguments(batch, 1, device), **feed.switches(use_cache=False, **options))


def observe(
    model: PreTrainedModel, feed: Feed, batch: TokenBatch, *, device: torch.device | str = "cpu"
) -> Observation:
    """One pass of a model that is not wired yet, with every call of its modules and its attention.

    Raises ModelError for a model that does not run on what its kind is fed.
    """
    recorder = Recorder(model)
    switches = feed.switches(use_cache=False, output_attentions=True)
    try:
        with torch.inference_mode(), attached(model, recorder), recording(model, recorder):
            recorder.seen.output = model(**feed.arguments(batch, 1, device), **switches)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise ModelError(
            f"{type(model).__name__} does not run on a short random input: {error}",
            "It may need an input of a kind that the workbench does not make, or its config may not fit its code.",
        ) from error
    return recorder.seen
