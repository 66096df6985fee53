"""Activations of many prompts in one file, made in small finished shards, so that a stopped capture continues.

Each shard is a capture of a few prompts, written aside and renamed; the same request finds the shards that are done and
makes the rest. At the end they are joined into the one file and removed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from analyses.experiment import describe
from hooks.errors import InputError, SpecError, StoreError
from hooks.model import Instrumented
from hooks.plan import CapturePlan
from hooks.prompts import PromptSet
from hooks.sites import Site
from hooks.spec import digest
from hooks.tokens import TokenBatch
from workbench.cache.key import ModelFacts, capture_key
from workbench.cache.read import Gone, StoredActivations, open_capture
from workbench.cache.write import write_capture

ROWS = 8
"""Prompts per shard: what is computed again after a kill is at most this many."""
Dtype = Literal["float32", "float16"]
POSITIONS = ("pos", "q_pos", "k_pos")


@dataclass(frozen=True)
class CorpusRequest:
    """Which sites to keep of which prompts, in which number type."""

    inputs: PromptSet
    sites: tuple[str, ...]
    dtype: Dtype = "float32"


@dataclass(frozen=True)
class _Work:
    """A request on an open model: its tokens, its sites, and the address of everything that it makes."""

    model: Instrumented
    batch: TokenBatch
    plan: CapturePlan
    dtype: Dtype
    key: str

    def shards(self) -> list[list[int]]:
        """The prompts of each shard."""
        return [list(range(len(self.batch)))[start : start + ROWS] for start in range(0, len(self.batch), ROWS)]


def read_prompts(path: Path) -> list[Any]:
    """The prompts in a file: one per line of a .txt, one JSON value per line of a .jsonl (text, ids or messages).

    Raises InputError for another kind of file, a line that is not JSON, or a file without prompts.
    """
    if path.suffix not in (".txt", ".jsonl"):
        raise InputError(f"{path.name} is neither .txt nor .jsonl.", "Give one prompt per line.")
    lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path.name} holds no prompts.", "Give one prompt per line.")
    return lines if path.suffix == ".txt" else [_json_prompt(line, number) for number, line in enumerate(lines, 1)]


def _json_prompt(line: str, number: int) -> Any:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        hint = 'Such as "a prompt" or {"text": "a prompt"}.'
        raise InputError(f"line {number} is not JSON: {error.msg}.", hint) from error
    return value["text"] if isinstance(value, dict) and set(value) == {"text"} else value


def prompt_set(prompts: Sequence[Any]) -> PromptSet:
    """Prompts as a set. Raises InputError that names the first one that is not a prompt."""
    try:
        return PromptSet.model_validate({"prompts": list(prompts)})
    except ValidationError as error:
        raise InputError(describe(error), 'A prompt is a text, {"ids": [..]} or {"messages": [..]}.') from error


def capture_corpus(
    model: Instrumented, request: CorpusRequest, out: Path, step: Callable[[int, int], None] | None = None
) -> bool:
    """Write the activations to `out` (the documented HDF5 format); False where they were there already.

    step: told after each shard how many prompts are done, of how many. Raises InputError, SiteMissing, SpecError for
    float16 that overflows, StoreError where `out` holds something else or the disk is full.
    """
    work = _plan(model, request)
    if out.exists():
        _require_same(out, work.key)
        return False
    parts = out.with_name(f"{out.name}.{work.key[:12]}.parts")
    done = 0
    for number, prompts in enumerate(work.shards()):
        _make_shard(work, prompts, parts / f"{number:06d}.h5")
        done += len(prompts)
        if step:
            step(done, len(work.batch))
    _join(work, parts, out)
    shutil.rmtree(parts)
    return True


def _plan(model: Instrumented, request: CorpusRequest) -> _Work:
    plan = CapturePlan.of(*request.sites).resolve(model.info)
    batch = model.tokens(request.inputs)
    address = capture_key(ModelFacts(model.summary()), batch, plan.sites)
    return _Work(model, batch, plan, request.dtype, digest([address, request.dtype], 40))


def _require_same(out: Path, key: str) -> None:
    """Raises StoreError unless `out` is the finished file of this very request; never touches it."""
    import h5py

    try:
        with h5py.File(out, "r") as file:
            if file.attrs.get("key") == key and file.attrs.get("complete"):
                return
    except OSError as error:
        raise StoreError(f"{out} exists and is not an HDF5 file.", "Choose another --out.") from error
    raise StoreError(f"{out} exists and holds another capture.", "Choose another --out, or delete the file.")


def _make_shard(work: _Work, prompts: list[int], path: Path) -> None:
    """The activations of a few prompts as a finished file, unless it is there."""
    try:
        open_capture(path, _shard_key(work, path))
    except Gone:
        batch = work.batch.select(prompts)
        run = work.model.run(batch, work.plan, logits_at=_logits_at(work, batch))
        captured = ((site, _cast(site, run.activations[site], work.dtype)) for site in sorted(work.plan.sites))
        write_capture(path, _shard_key(work, path), batch, captured, _provenance(work))


def _logits_at(work: _Work, batch: TokenBatch) -> Tensor | None:
    """The last positions: the unembedding is skipped elsewhere, unless all logits are wanted."""
    if Site("logits") in work.plan.sites:
        return None
    return torch.tensor([length - 1 for length in batch.lengths])


def _shard_key(work: _Work, path: Path) -> str:
    return digest([work.key, path.stem], 40)


def _cast(site: Site, values: Tensor, dtype: Dtype) -> Tensor:
    """The values as they are stored. Raises SpecError where float16 cannot hold them."""
    if dtype == "float32":
        return values.float()
    narrow = values.half()
    if not bool(torch.isfinite(narrow).all()) and bool(torch.isfinite(values).all()):
        largest = float(values.abs().max())
        raise SpecError(f"{site} overflows float16: it reaches {largest:.3g}.", "Use --dtype float32.")
    return narrow


def _join(work: _Work, parts: Path, out: Path) -> None:
    """Join the shards into the one file, a site at a time."""
    shards = [open_capture(path, _shard_key(work, path)) for path in sorted(parts.glob("*.h5"))]
    write_capture(out, work.key, work.batch, _joined(work, shards), _provenance(work))


def _joined(work: _Work, shards: Sequence[StoredActivations]) -> Iterator[tuple[Site, Tensor]]:
    width = work.batch.ids.shape[1]
    for site in sorted(work.plan.sites):
        whole = np.concatenate([_widened(site, shard.read(site), width) for shard in shards])
        yield site, _cast(site, torch.from_numpy(whole), work.dtype)


def _widened(site: Site, values: np.ndarray, width: int) -> np.ndarray:
    """A shard's values at the width of the longest prompt of all, with zeros where there is only padding."""
    missing = [width - size if axis in POSITIONS else 0 for axis, size in zip(site.axes, values.shape, strict=True)]
    return np.pad(values, [(0, count) for count in missing])


def _provenance(work: _Work) -> dict[str, Any]:
    """What the file says of where its numbers come from."""
    summary = work.model.summary()
    kept = ("name", "hash", "tokenizer_hash", "source", "versions", "attention", "warnings")
    facts = {name: summary[name] for name in kept}
    return {"model": facts, "info": summary["info"], "prompts": len(work.batch), "edits": []}
