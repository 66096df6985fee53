"""Instrumented: an opened model that knows its sites, has proved them, and runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hooks import attention
from hooks.activations import Activations
from hooks.choose import choose_writes
from hooks.describe import describe, probe, site_rows, versions
from hooks.errors import SiteMissing
from hooks.interventions import Intervention
from hooks.loading import Loaded, hash_state, hash_tokenizer, load
from hooks.plan import CapturePlan
from hooks.projections import weight_of
from hooks.prompts import PromptSet
from hooks.proof import Proof, prove
from hooks.run import Run, forward
from hooks.schedule import World, in_worlds, on_prompts
from hooks.sites import SITES, Site
from hooks.tokens import TokenBatch, encode
from hooks.weights import Weights
from hooks.wiring import wire


class Instrumented:
    """A model under observation. Its weights and modules are never altered; one run at a time."""

    def __init__(self, loaded: Loaded) -> None:
        """Wire and prove a loaded model. Raises ModelError for a model that cannot be understood."""
        attention.register()
        self.name, self.source, self._notes = loaded.name, loaded.source, loaded.warnings
        self.hash, self.tokenizer_hash = loaded.hash, loaded.tokenizer_hash
        self.tokenizer, self._model = loaded.tokenizer, loaded.model
        self._lock = threading.Lock()
        self.device, self.dtype = loaded.model.device, loaded.model.dtype
        config = loaded.model.config.get_text_config()
        wiring, sizes = wire(loaded.model, config.model_type, config.num_hidden_layers, config.num_attention_heads)
        batch = probe(loaded.model, loaded.tokenizer)
        blocks = choose_writes(loaded.model, wiring, batch, self.device)
        self._wiring = blocks.wiring
        seen = forward(loaded.model, self._wiring, batch, device=self.device).attention
        self.info = describe(loaded, sizes, blocks, seen)
        self.proof: Proof = prove(loaded.model, self._wiring, self.info, batch, self.device)
        self.weights = Weights(loaded.model, self._wiring, sizes.n_heads)

    @cached_property
    def sites(self) -> frozenset[Site]:
        """The sites that were proved readable."""
        names = self.proof.names()
        layers: Mapping[str, Sequence[int | None]] = {"layer": range(self.info.n_layers), "model": [None]}
        return frozenset(Site(name, layer) for name in names for layer in layers[SITES[name].scope])

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of this model's numbers should know."""
        if self.proof.exact:
            return self._notes
        return (
            *self._notes,
            f"parity fails: logits differ from the unhooked model by {self.proof.parity:.2g}; edits are refused",
        )

    def tokens(self, inputs: PromptSet) -> TokenBatch:
        """The prompts as this model gets them. Raises InputError."""
        return encode(
            self.tokenizer,
            inputs,
            n_ctx=self.info.n_ctx if self.info.positions == "learned" else None,
            n_embed=weight_of(self._model.get_input_embeddings()).shape[0],
            trained=self.info.n_ctx,
        )

    def run(
        self,
        batch: TokenBatch,
        plan: CapturePlan = CapturePlan(),  # noqa: B008 - a frozen value
        edits: Sequence[Intervention] = (),
        *,
        sources: Mapping[str, Activations] | None = None,
        logits_at: Tensor | None = None,
    ) -> Run:
        """Run the prompts with the same edits on each, keeping the planned sites.

        logits_at: one position per prompt at which logits are wanted; all positions without it. sources: activations of
        other inputs that edits copy from. Raises SiteMissing, InputError, BudgetError.
        """
        reads = self.readable(plan)
        self.require_writable(edits)
        with self._lock:
            return forward(
                self._model,
                self._wiring,
                batch,
                reads=reads,
                schedule=on_prompts(batch, edits),
                sources=sources,
                logits_at=logits_at,
                device=self.device,
            )

    def run_worlds(
        self,
        batch: TokenBatch,
        worlds: Sequence[World],
        *,
        sources: Mapping[str, Activations] | None = None,
        logits_at: Tensor | None = None,
    ) -> Tensor:
        """Logits [1 + worlds, batch, pos, d_vocab] of the clean prompts and of each set of edits, in one forward."""
        for world in worlds:
            self.require_writable(world)
        schedule = in_worlds(batch, worlds, self.info.n_layers)
        with self._lock:
            run = forward(
                self._model,
                self._wiring,
                batch,
                schedule=schedule,
                sources=sources,
                logits_at=logits_at,
                device=self.device,
            )
        return run.logits.unflatten(0, (1 + len(worlds), len(batch)))

    def readable(self, plan: CapturePlan) -> frozenset[Site]:
        """The plan's sites. Raises SiteMissing, with the proof's reason, for one that was not proved."""
        for site in (wanted := plan.resolve(self.info).sites) - self.sites:
            raise SiteMissing(
                f"{site} cannot be read in {self.name}: {self.proof.row(site.name).reason}.",
                f"Readable: {', '.join(sorted(self.proof.names(), key=lambda name: SITES[name].order))}.",
            )
        return wanted

    def require_writable(self, edits: Sequence[Intervention]) -> None:
        """Raises SiteMissing for an edit at a part that does not exist or was not proved writable."""
        for edit in edits:
            self.info.check_part(edit.at)
            row = self.proof.row(edit.at.site.name)
            if not row.writable or not self.proof.exact:
                reason = row.reason or self.warnings[-1]
                raise SiteMissing(
                    f"{edit.at.site} cannot be edited in {self.name}: {reason}.", "`workbench check` shows why."
                )

    def summary(self) -> dict[str, Any]:
        """Sizes, proof and provenance as plain JSON values: what the model page and `workbench check` show."""
        return {
            "name": self.name,
            "info": self.info.model_dump(mode="json"),
            "parity": {
                "exact": self.proof.exact,
                "error": self.proof.parity,
                "identity": self.proof.identity,
                "reference": "the unhooked model with eager attention",
            },
            "sites": site_rows(self.proof),
            "hash": self.hash,
            "tokenizer_hash": self.tokenizer_hash,
            "tokenizer": type(self.tokenizer).__name__ if self.tokenizer is not None else "none",
            "source": self.source,
            "attention": attention.IMPLEMENTATION,
            "versions": versions(),
            "warnings": list(self.warnings),
        }


def open_model(
    source: str | Path,
    *,
    name: str = "",
    revision: str | None = None,
    device: str = "auto",
    dtype: torch.dtype = torch.float32,
) -> Instrumented:
    """Open, wire and prove the model in a folder, a GGUF file or on the hub. Raises ModelError."""
    return Instrumented(load(source, name=name, revision=revision, device=device, dtype=dtype))


def instrument(model: PreTrainedModel, tokenizer: Any = None, *, name: str = "in memory") -> Instrumented:
    """Instrument a model that is already loaded; it is not altered, and keeps its mode and device."""
    return Instrumented(
        Loaded(name, model, tokenizer, hash_state(model.state_dict().items()), hash_tokenizer(tokenizer), "in memory")
    )
