"""An ablation made permanent: a folder that transformers opens, whose model gives the ablated logits unedited.

Written aside, opened again with transformers, compared with the edited run, and only then put in its place.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from torch import Tensor

from analyses.analysis import sentence
from analyses.bench import Bench
from analyses.circuit import Graph
from analyses.edits import edits_of, edits_of_circuit
from analyses.result import Result
from analyses.vectors import Contrast, vector_at
from hooks.errors import ModelError, SpecError, StoreError
from hooks.feed import Feed
from hooks.interventions import Intervention
from hooks.interventions.mean import Mean
from hooks.loading import load
from hooks.model import Instrumented
from hooks.pruned import Removal, make_constant, removal_of, shrunk
from hooks.run import plain_forward
from hooks.tokens import TokenBatch
from workbench.export.circuit import circuit_of, has_circuit
from workbench.export.json import experiment_json
from workbench.models.fetch import Step
from workbench.models.opening import open_resolved
from workbench.models.resolve import ResolvedModel, resolve
from workbench.replay import tolerance
from workbench.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_PROMPTS, MOST_TOKENS = 8, 256
"""How much of the experiment's prompts the saved model is compared on."""
BESIDE = (
    "tokenizer*", "vocab.*", "merges.txt", "*.model", "*.tiktoken", "special_tokens_map.json", "added_tokens.json",
    "chat_template*", "generation_config.json", "preprocessor_config.json", "processor_config.json", "LICENSE*",
)  # fmt: skip
CARD = """---
base_model: {base}
library_name: transformers
tags: [pruned]
---
# {title}

{sentence}

{what}

{how}

Opened with transformers, this model's logits differ from those of the edited run by at most {difference:.1e}, on
{prompts} of the experiment's prompts. Nothing was trained after the cut.

- base model: {base} ({source})
- result: {id}; `experiment.json` is what was run
"""
STRUCTURED = "The parts are cut out: tensors are smaller, and `config.json` says so ({sizes})."
ZEROED = (
    "Weights are set to zero; tensors keep their shapes, because the config of this architecture cannot say which "
    "parts are missing from which layer. The model is as large and as slow as before."
)
OF_NODES = (
    "The heads and MLPs left are those at an end of an edge of the circuit, all others are zero. All edges among them "
    "act, not those of the circuit alone, so this is the circuit of these nodes, and its numbers are not those of the "
    "edge-level circuit."
)


@dataclass(frozen=True)
class SavedModel:
    """A checkpoint on disk. structured: tensors became smaller; difference: largest of the logits; n_params: its size.

    how: what was done to the weights, in words.
    """

    folder: Path
    structured: bool
    difference: float
    n_params: int
    how: str


def save_checkpoint(
    result: Result, folder: Path, settings: Settings, step: Step | None = None, opened: Instrumented | None = None
) -> SavedModel:
    """Write the result's model without what its edits remove, as safetensors with config and tokenizer.

    Of a circuit: without the heads and MLPs that are at no end of its edges.
    opened: that model, where it is open already. step: told one sentence before each thing that takes time.
    Raises SpecError for edits that weights cannot hold and a folder that is not empty, ModelError for a model whose
    weights cannot be changed or that is not the result's, StoreError for a full disk; nothing is left then.
    """
    circuit, say = has_circuit(result), step or (lambda sentence: None)
    edits = () if circuit else edits_of(result.experiment)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpecError(f"{folder} is not empty.", "Name a folder that does not exist yet.")
    found = resolve(result.experiment.model, settings, step)
    opened = opened or open_resolved(found, settings)
    if opened.hash != result.provenance.model_hash:
        raise ModelError(f"{found.name} has other weights than the result was computed with.", "Run it again.")
    edits = edits_of_circuit(circuit_of(result), Graph.of(opened)) if circuit else edits
    bench = Bench(opened, result.experiment)
    removal = removal_of(opened, edits, lambda edit: _mean(bench, edit))
    batch = _compared(bench)
    wanted = opened.run(batch, edits=edits, sources=bench.sources(edits)).logits
    say("changing the weights")
    model, structured = _changed(found, opened, removal, settings)
    how = _in_words(model, structured) + (f" {OF_NODES}" if circuit else "")
    with _aside(folder) as part:
        _write(model, found, part)
        say("opening the saved model again")
        difference = _difference(part, found, settings, batch, wanted)
        _check(difference, wanted, result)
        (part / "experiment.json").write_text(experiment_json(result), "utf-8")
        card = _card(result, found, removal, how, difference, len(batch))
        (part / "README.md").write_text(card, "utf-8")
    return SavedModel(folder, structured, difference, model.num_parameters(), how)


def _mean(bench: Bench, edit: Intervention) -> Tensor:
    """What a mean over positions puts in place of a part: [d_head] of one head, [head d_head], [unit]."""
    assert isinstance(edit, Mean)
    whole = vector_at(str(edit.at), Contrast(of=edit.reference), edit.at.site, bench).cpu()
    whole = whole if edit.at.head is None else whole[edit.at.head]
    return whole if edit.at.unit is None else whole[edit.at.unit]


def _compared(bench: Bench) -> TokenBatch:
    """The first prompts of the experiment, cut where they are long."""
    batch = bench.batch("clean")
    batch = batch.select(range(min(len(batch), MOST_PROMPTS)))
    if batch.inputs or batch.sides or batch.ids.shape[1] <= MOST_TOKENS:
        return batch
    lengths = tuple(min(length, MOST_TOKENS) for length in batch.lengths)
    return replace(batch, ids=batch.ids[:, :MOST_TOKENS], mask=batch.mask[:, :MOST_TOKENS],
                   special=batch.special[:, :MOST_TOKENS], lengths=lengths,
                   positions={"last": tuple(length - 1 for length in lengths)})  # fmt: skip


def _changed(
    found: ResolvedModel, opened: Instrumented, removal: Removal, settings: Settings
) -> tuple[PreTrainedModel, bool]:
    """The model without the parts, and whether it became smaller.

    Its numbers keep the type in which they are stored; a bias that holds a mean would be rounded in half precision.
    """
    dtype = "auto" if removal.zero or found.dtype == "auto" else getattr(torch, found.dtype)
    loaded = load(found.folder, name=found.name, adapter=found.adapter, dtype=dtype, device="cpu",
                  allow_pickle=settings.allow_pickle)  # fmt: skip
    make_constant(loaded.model, removal)
    smaller = shrunk(loaded.model, opened, removal)
    return (loaded.model, False) if smaller is None else (smaller, True)


def _in_words(model: PreTrainedModel, structured: bool) -> str:
    if not structured:
        return ZEROED
    config = model.config.get_text_config()
    fields = ("num_attention_heads", "num_key_value_heads", "intermediate_size", "n_inner", "ffn_dim", "d_ff")
    sizes = {name: value for name in fields if (value := getattr(config, name, None)) is not None}
    return STRUCTURED.format(sizes=", ".join(f"{name} {value}" for name, value in sizes.items()))


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A folder beside the wanted one, which takes its place at the end, or goes. Raises StoreError."""
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        if folder.is_dir():
            folder.rmdir()
        part.replace(folder)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{folder} could not be written: {error}.", "Free some space, or use another disk.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(model: PreTrainedModel, found: ResolvedModel, part: Path) -> None:
    model.save_pretrained(part)
    for source in filter(None, (found.folder, found.tokenizer)):
        for path in (path for pattern in BESIDE for path in source.glob(pattern)):
            shutil.copyfile(path, part / path.name)


def _difference(part: Path, found: ResolvedModel, settings: Settings, batch: TokenBatch, wanted: Tensor) -> float:
    """The largest difference of the saved model's logits from the edited run's, at real tokens."""
    dtype = found.dtype if found.dtype == "auto" else getattr(torch, found.dtype)
    again = load(part, name=found.name, dtype=dtype, device=settings.device).model
    feed = Feed.of(again)
    given = feed.answers(plain_forward(again, feed, batch, device=again.device), batch)
    apart = (given.float() - wanted.float().to(given.device)).abs()
    real = batch.mask.to(apart.device) if apart.shape[1] == batch.mask.shape[1] else None
    return float((apart if real is None else apart[real]).max())


def _check(difference: float, wanted: Tensor, result: Result) -> None:
    """Raises ModelError where the saved model is not the edited one: nothing is left of it then."""
    # Other shapes sum in another order, and rounding grows with the logits.
    most = tolerance(result) * max(1.0, float(wanted.abs().max()) / 10)
    if not difference <= most:
        raise ModelError(
            f"the saved model's logits differ from the edited run's by {difference:.2g}, more than {most:.2g}.",
            "The parts do something else in this architecture too; nothing was written.",
        )


def _card(result: Result, found: ResolvedModel, removal: Removal, how: str, difference: float, prompts: int) -> str:
    what = [_listed("heads", removal.heads), _listed("neurons", removal.neurons)]
    what += [f"Silenced: what {path} writes." for path in sorted(removal.silenced)]
    return CARD.format(
        base=result.experiment.model, title=f"{found.name}, pruned", sentence=sentence(result.experiment), id=result.id,
        what="\n".join(filter(None, what)), how=how, difference=difference, prompts=prompts, source=found.source,
    )  # fmt: skip


def _listed(word: str, gone: Mapping[int, frozenset[int]]) -> str:
    """Which parts are gone, as layer.number; counts where they are many."""
    names = [f"{layer}.{number}" for layer, numbers in sorted(gone.items()) for number in sorted(numbers)]
    if not names:
        return ""
    return f"Removed {word} (layer.number): {', '.join(names) if len(names) <= 200 else f'{len(names)} of them'}."
