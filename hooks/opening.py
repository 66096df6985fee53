"""Opening: one watched pass of a loaded model, its wiring, and the proof of it."""

from __future__ import annotations

from dataclasses import dataclass

from hooks import attention, experts
from hooks.describe import describe, sized
from hooks.feed import Feed
from hooks.info import ModelInfo
from hooks.loading import Loaded
from hooks.precision import half_precision_warning
from hooks.proof import Proof, prove
from hooks.run import observe
from hooks.tokens import TokenBatch
from hooks.wiring import Wiring, wire


@dataclass(frozen=True, eq=False)
class Understood:
    """What opening found out. probe: the short inputs that it ran on; notes: what must be said of the weights."""

    wiring: Wiring
    probe: TokenBatch
    info: ModelInfo
    proof: Proof
    notes: tuple[str, ...]


def understand(loaded: Loaded) -> Understood:
    """Wire and prove a loaded model. Raises ModelError for a model that cannot be understood."""
    attention.register()
    experts.register()
    model, device = loaded.model, loaded.model.device
    feed = Feed.of(model)
    batch = feed.probe(model, loaded.tokenizer)
    seen = observe(model, feed, batch, device=device)
    notes = (*loaded.warnings, *half_precision_warning(loaded, feed, batch))
    wiring = wire(model, feed, seen, len(batch))
    probe = sized(batch, wiring, seen)
    info = describe(loaded, wiring, probe, seen)
    return Understood(wiring, probe, info, prove(model, wiring, info, probe, seen, device), notes)
