"""The content address of a capture: everything that can change a number in it, hashed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from torch import Tensor

from analyses.vectors import Definition, as_json, inputs_of, used_by
from hooks.hashing import hash_state
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
    vectors: Mapping[str, tuple[Any, Mapping[str, TokenBatch]]] | None = None,
) -> str:
    """The address of the capture of `sites` on `batch` under `edits`.

    sources: the inputs that edits copy from, by name; only those that an edit names matter. vectors: the definitions of
    the vectors that edits name, each with the inputs that it is made of.
    """
    named = {name for edit in edits for name in edit.sources}
    copied = {name: other for name, other in (sources or {}).items() if name in named}
    return digest(
        {
            **facts.identity(),
            "ids": batch.ids.tolist(),
            "mask": batch.mask.tolist(),
            "positions": {name: list(places) for name, places in batch.positions.items()} if edits else {},
            **beside_ids(batch),
            "sites": sorted(map(str, sites)),
            "edits": [edit.model_dump(mode="json") for edit in edits],
            "sources": {name: _source(other) for name, other in copied.items()},
            **_beside_ids(batch, copied),
            **(_templates(batch, copied) if edits else {}),
            **({"vectors": {name: _vector(*made) for name, made in vectors.items()}} if vectors else {}),
        },
        LENGTH,
    )


def sources_of(
    edits: Sequence[Intervention], vectors: Mapping[str, Definition], batch: Callable[[str], TokenBatch]
) -> tuple[dict[str, TokenBatch], dict[str, tuple[Any, dict[str, TokenBatch]]]]:
    """What `capture_key` takes of edits beside themselves. batch: the tokens of an input. Raises InputError."""
    sources = {source: batch(source) for edit in edits for source in edit.sources}
    made = used_by(edits, vectors)
    return sources, {name: (as_json(how), {of: batch(of) for of in inputs_of(how)}) for name, how in made.items()}


def _beside_ids(batch: TokenBatch, sources: Mapping[str, TokenBatch]) -> dict[str, Any]:
    """What models read beside token ids, or instead of them: images, sounds, the encoder's side. Nothing in most."""
    beside = {"": batch, **sources}
    found = {name: content for name, other in beside.items() if (content := _content(other))}
    return {"beside": found} if found else {}


def _templates(batch: TokenBatch, sources: Mapping[str, TokenBatch]) -> dict[str, Any]:
    """Which prompts a mean within templates is over; nothing where no template is named."""
    found = {name: list(other.templates) for name, other in {"": batch, **sources}.items() if other.templates}
    return {"templates": found} if found else {}


def _vector(definition: Any, inputs: Mapping[str, TokenBatch]) -> Any:
    """A vector's definition with what it is made of, named positions included."""
    made_of = {
        name: [_source(batch), {k: list(v) for k, v in batch.positions.items()}] for name, batch in inputs.items()
    }
    return [definition, made_of]


def _content(batch: TokenBatch) -> dict[str, Any]:
    inputs = {name: [list(x.shape), sha256(x.numpy().tobytes()).hexdigest()] for name, x in batch.inputs.items()}
    sides = {name: {"ids": batch_ids(side), **_content(side)} for name, side in batch.sides.items()}
    return {**({"inputs": inputs} if inputs else {}), **({"sides": sides} if sides else {})}


def _source(batch: TokenBatch) -> Any:
    beside = beside_ids(batch)
    return {"ids": batch_ids(batch), **beside} if beside else batch_ids(batch)


def beside_ids(batch: TokenBatch) -> dict[str, Any]:
    """What a model reads in place of ids or beside them: pixels and sounds by their hash, the other stacks' prompts.

    Empty for a model that reads one row of ids: captures keep the address they had before there were others.
    """
    given = {name: tensor_hash(values) for name, values in sorted(batch.inputs.items())}
    sides = {
        name: {"ids": side.ids.tolist(), "mask": side.mask.tolist(), **beside_ids(side)}
        for name, side in sorted(batch.sides.items())
    }
    return ({"inputs": given} if given else {}) | ({"sides": sides} if sides else {})


def tensor_hash(values: Tensor) -> str:
    """SHA-256 of a tensor's type, shape and values."""
    return hash_state([("", values)])


def batch_ids(batch: TokenBatch) -> list[list[int]]:
    """The real ids of each prompt."""
    return [list(ids) for ids in batch.id_lists()]
