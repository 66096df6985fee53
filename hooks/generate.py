"""Continue prompts token by token, under edits and captures, with or without the key/value cache.

Each prompt runs as a batch of its own, so no padding ever stands between a prompt and its continuation. Positions are
absolute: an edit at position 5 is made when position 5 runs, an edit without a position at every position of every
step. The position "new" means every generated token. The two ways to run give the same numbers: with the cache a step
runs the newest position only, and what edits made of earlier keys and values lives in the cache; without it each step
runs, and edits, all positions again. Of an encoder and a decoder, the decoder's text is continued; the encoder runs in
each step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hooks.activations import Activations
from hooks.errors import InputError
from hooks.interventions import Intervention
from hooks.model import Instrumented
from hooks.plan import CapturePlan
from hooks.sampling import Choice, Sampling, choose
from hooks.schedule import NEW, Window, stack_of
from hooks.sites import MAIN, Site
from hooks.tokens import TokenBatch, pad

MOST_ALTERNATIVES = 1000


@dataclass(frozen=True, eq=False)
class Continuation:
    """One prompt continued.

    batch: the final sequence, prompt and generated tokens; its position "last" is still the prompt's, "new" the first
    generated one. choices: one per generated token. ended: whether a token that ends a text was generated. activations:
    the planned sites over the final sequence, every generated token included. forwards: forward passes that it took.
    """

    batch: TokenBatch
    choices: tuple[Choice, ...]
    ended: bool
    activations: Activations
    forwards: int

    @property
    def ids(self) -> tuple[int, ...]:
        """The generated ids."""
        return tuple(choice.token for choice in self.choices)


def generate(
    model: Instrumented,
    batch: TokenBatch,
    *,
    steps: int,
    sampling: Sampling = Sampling(),  # noqa: B008 - a frozen value
    plan: CapturePlan = CapturePlan(),  # noqa: B008 - a frozen value
    edits: Sequence[Intervention] = (),
    sources: Mapping[str, Activations] | None = None,
    cache: bool = True,
    alternatives: int = 10,
    stop_at_end: bool = True,
    on_step: Callable[[int, int], None] | None = None,
) -> tuple[Continuation, ...]:
    """Each prompt of `batch` continued by up to `steps` tokens.

    sources: activations of other inputs that edits copy from, for the whole batch. stop_at_end: a token that ends a
    text is the last one. on_step: told how many tokens of how many there are, before each forward; may raise Cancelled.
    Raises ModelError for a model that does not generate, InputError for steps, positions and sources that do not fit,
    SiteMissing, BudgetError.
    """
    model.require_causal()
    _check(model, batch, steps, edits, alternatives)
    done: list[Continuation] = []
    for prompt in range(len(batch)):

        def told(step: int, prompt: int = prompt) -> None:
            if on_step is not None:
                on_step(prompt * steps + step, len(batch) * steps)

        run = _Run(model, Window(batch, prompt, 0, model.fresh_cache() if cache else None), plan, edits, sources)
        done.append(run.go(steps, sampling, alternatives, stop_at_end, told))
    return tuple(done)


def _check(
    model: Instrumented, batch: TokenBatch, steps: int, edits: Sequence[Intervention], alternatives: int
) -> None:
    if steps < 1 or not 1 <= alternatives <= MOST_ALTERNATIVES:
        raise InputError(
            f"{steps} steps with {alternatives} alternatives cannot be generated.",
            f"Ask for at least one step and 1 to {MOST_ALTERNATIVES} alternatives.",
        )
    if NEW in batch.positions:
        raise InputError(f"'{NEW}' names the generated positions.", "Give the prompts' own position another name.")
    final = max(batch.lengths) + steps
    if model.info.positions == "learned" and model.info.n_ctx is not None and final > model.info.n_ctx:
        raise InputError(
            f"{max(batch.lengths)} tokens and {steps} more are {final}, but this model has positions for "
            f"{model.info.n_ctx}.",
            f"Generate at most {max(model.info.n_ctx - max(batch.lengths), 0)} tokens, or shorten the prompt.",
        )
    shortest = min(batch.lengths) + steps
    for edit in edits:
        if edit.present:
            raise InputError(f"{edit.kind} at {edit.at}: edges cannot be edited while a text grows.", "Use a patch.")
        growing = [axis for axis in ("pos", "q_pos", "k_pos") if stack_of(edit.at.site, axis) == MAIN]
        for value in (getattr(edit.at, axis) for axis in growing):
            last = value[1] - 1 if isinstance(value, tuple) else value
            if isinstance(last, int) and last >= shortest:
                raise InputError(
                    f"{edit.at}: with {steps} steps there are positions 0–{shortest - 1}.",
                    f'Choose one of these, or "{NEW}" for every generated token.',
                )


class _Run:
    """The continuation of one prompt while it grows."""

    def __init__(
        self,
        model: Instrumented,
        window: Window,
        plan: CapturePlan,
        edits: Sequence[Intervention],
        sources: Mapping[str, Activations] | None,
    ) -> None:
        self._model, self._window, self._edits, self._sources = model, window, edits, sources
        self._reads = model.readable(plan)
        self._ids = list(window.prompts.id_lists()[window.prompt])
        self._pieces: list[Activations] = []
        self._forwards = 0

    def go(
        self, steps: int, sampling: Sampling, alternatives: int, stop_at_end: bool, told: Callable[[int], None]
    ) -> Continuation:
        """Take up to `steps` tokens; run the last one too where captures are wanted."""
        generator, choices = sampling.generator(), list[Choice]()
        ends = self._model.end_tokens if stop_at_end else frozenset[int]()
        while len(choices) < steps and not (choices and choices[-1].token in ends):
            told(len(choices))
            choices.append(choose(self._forward(final=False), sampling, generator, alternatives))
            self._ids.append(choices[-1].token)
        if self._reads:
            told(len(choices))
            self._forward(final=True)
        batch = self._batch()
        whole = frozenset[str]() if self._window.cache is None else self._model.whole_sites
        captured = stitched(self._pieces, self._reads, len(self._ids), whole)
        ended = choices[-1].token in self._model.end_tokens
        return Continuation(batch, tuple(choices), ended, Activations(captured, batch), self._forwards)

    def _forward(self, *, final: bool) -> Tensor:
        """Run what has not run yet (without a cache: everything); the logits [d_vocab] after the last token."""
        window, batch = self._window, self._batch()
        # Without a cache the last forward sees all there is, so only that one is captured.
        reads = self._reads if final or window.cache is not None else frozenset[Site]()
        newest = batch.ids.shape[1] - 1 - window.start
        run = self._model.run(
            batch,
            CapturePlan(sites=reads),
            self._edits,
            sources=self._sources,
            logits_at=None if Site("logits") in reads else torch.tensor([newest]),
            window=window,
        )
        self._forwards += 1
        if reads:
            self._pieces.append(run.activations)
        if window.cache is not None:
            self._window = replace(window, start=len(self._ids))
        return run.logits[0, -1]

    def _batch(self) -> TokenBatch:
        prompts, prompt = self._window.prompts, self._window.prompt
        named = {name: (places[prompt],) for name, places in prompts.positions.items()}
        if len(self._ids) > self._window.length:
            named[NEW] = (self._window.length,)
        whole = pad(self._model.tokenizer, [self._ids], named)
        sides = {name: side.select([prompt]) for name, side in prompts.sides.items()}
        return replace(whole, positions={**whole.positions, **named}, sides=sides)


def stitched(
    pieces: Sequence[Activations], sites: frozenset[Site], length: int, whole: frozenset[str]
) -> dict[Site, Tensor]:
    """The sites over all positions from captures of consecutive steps.

    Rows of a pattern grow by a column per step: keys that did not exist yet have weight 0, and the score of a mask.
    whole: names of the main stack's sites that hold all positions in every step, edited anew. What an encoder gives is
    whole as well; what cross-attention makes of it is shown in the first step alone.
    """
    return {
        site: _joined(site, [piece[site] for piece in pieces if site in piece], length, whole=site.name in whole)
        for site in sites
    }


def _joined(site: Site, parts: Sequence[Tensor], length: int, *, whole: bool) -> Tensor:
    along = next((axis for axis, name in enumerate(site.axes) if name in ("pos", "q_pos")), None)
    if len(parts) == 1 or along is None or whole or site.stack != MAIN:
        return parts[-1]
    if "k_pos" in site.axes and not site.name.startswith("cross_"):
        hidden = torch.finfo(parts[0].dtype).min if site.name == "scores" else 0.0
        parts = [torch.nn.functional.pad(part, (0, length - part.shape[-1]), value=hidden) for part in parts]
    return torch.cat(list(parts), dim=along)
