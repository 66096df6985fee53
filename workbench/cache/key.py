"""The content address of a capture: everything that can change a number in it, hashed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hooks.info import ModelInfo
from hooks.interventions import Intervention
from hooks.sites import Site
from hooks.spec import digest
from hooks.tokens import TokenBatch
from workbench import __version__

LENGTH = 40
LIBRARIES = ("torch", "transformers")


@dataclass(frozen=True)
class ModelFacts:
    """What the numbers depend on in the model that ran, taken from its summary, so that every process agrees on it."""

    summary: Mapping[str, Any]

    @property
    def info(self) -> ModelInfo:
        return ModelInfo.model_validate(self.summary["info"])

    def identity(self) -> dict[str, Any]:
        """Weights and tokenizer hashes, number type, device, versions of the libraries, attention implementation."""
        info = self.summary["info"]
        return {
            "model": self.summary["hash"],
            "tokenizer": self.summary["tokenizer_hash"],
            "dtype": info["dtype"],
            "device": info["device"],
            "versions": {name: self.summary["versions"][name] for name in LIBRARIES} | {"workbench": __version__},
            "attention": self.summary["attention"],
        }


def capture_key(
    facts: ModelFacts,
    batch: TokenBatch,
    sites: Iterable[Site],
    edits: Sequence[Intervention] = (),
    sources: Mapping[str, TokenBatch] | None = None,
) -> str:
    """The address of the capture of `sites` on `batch` under `edits`.

    sources: the inputs that edits copy from, by name; only those that an edit names matter.
    """
    named = {name for edit in edits for name in edit.sources}
    return digest(
        {
            **facts.identity(),
            "ids": batch.ids.tolist(),
            "mask": batch.mask.tolist(),
            "positions": {name: list(places) for name, places in batch.positions.items()} if edits else {},
            "sites": sorted(map(str, sites)),
            "edits": [edit.model_dump(mode="json") for edit in edits],
            "sources": {name: batch_ids(other) for name, other in (sources or {}).items() if name in named},
        },
        LENGTH,
    )


def batch_ids(batch: TokenBatch) -> list[list[int]]:
    """The real ids of each prompt."""
    return [list(ids) for ids in batch.id_lists()]
