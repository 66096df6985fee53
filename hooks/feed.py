"""How a model is fed, and which of its outputs are its answers.

A model of text takes ids and a mask; an image model pixels; an encoder-decoder both sides; a two-tower model texts and
images. Answers are logits [rows pos d_vocab]: of the next token, of the masked token, of a class (one position per
prompt), of the similarity of each pair; a model without a head answers with the mean of its last hidden states.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from hooks.errors import InputError, ModelError
from hooks.tokens import TokenBatch, pad

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Task = Literal["causal", "masked", "seq2seq", "classify", "token-classify", "image-classify", "pairs", "features"]
SUFFIXES: dict[str, Task] = {
    "CausalLM": "causal",
    "LMHeadModel": "causal",
    "MaskedLM": "masked",
    "SequenceClassification": "classify",
    "TokenClassification": "token-classify",
    "ImageClassification": "image-classify",
    "ConditionalGeneration": "seq2seq",
}
EVERYWHERE: tuple[Task, ...] = ("causal", "masked", "seq2seq", "token-classify")
PROBE_LENGTHS = (6, 4)
PROBE_SEED = 20
NO_TOKEN = -1
ENCODER = "encoder"
VISION = "vision"


def _listed(name: str) -> Task:
    """The task for which the library lists a class whose name does not tell it."""
    from transformers.models.auto import modeling_auto as known

    lists: dict[Task, Mapping[str, Any]] = {
        "causal": known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        "masked": known.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        "seq2seq": known.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    }
    return next((task for task, listed in lists.items() if name in listed.values()), "features")


@dataclass(frozen=True)
class Feed:
    """task: what the model answers. main: name of the input of its main stack; source: of the encoder's, or None."""

    task: Task
    main: str
    source: str | None
    options: frozenset[str]

    @classmethod
    def of(cls, model: PreTrainedModel) -> Feed:
        """How `model` is fed, by its class and the signature of its forward."""
        name, config = type(model).__name__, model.config
        task: Task = next((task for suffix, task in SUFFIXES.items() if name.endswith(suffix)), _listed(name))
        if task == "seq2seq" and not config.is_encoder_decoder:
            task = "causal"
        if hasattr(model, "logit_scale") and hasattr(config, "vision_config"):
            task = "pairs"
        taken = inspect.signature(model.forward).parameters
        anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values())
        options = {"output_hidden_states", "output_attentions"} if anything else set()
        options |= set(taken) & {"use_cache", "output_hidden_states", "output_attentions", "attention_mask"}
        if config.is_encoder_decoder:
            return cls(task, "decoder_input_ids", model.main_input_name, frozenset(options))
        return cls(task, "input_ids" if task == "pairs" else model.main_input_name, None, frozenset(options))

    @property
    def text(self) -> bool:
        """Whether the main stack reads token ids."""
        return self.main.endswith("input_ids")

    @property
    def everywhere(self) -> bool:
        """Whether there is an answer at every position of the main stack."""
        return self.task in EVERYWHERE

    def arguments(self, batch: TokenBatch, repeat: int, device: torch.device | str) -> dict[str, Tensor]:
        """The arguments of a forward pass, every row `repeat` times."""
        given: dict[str, Tensor] = {}
        if self.source is not None:
            side = batch.sides[ENCODER]
            given = {**side.inputs} if side.inputs else {"input_ids": side.ids}
            if not side.inputs:
                given["attention_mask"] = side.mask.to(torch.int64)
            given |= {"decoder_input_ids": batch.ids, "decoder_attention_mask": batch.mask.to(torch.int64)}
        elif self.text:
            given = {"input_ids": batch.ids, **(batch.sides[VISION].inputs if VISION in batch.sides else {})}
            if "attention_mask" in self.options:
                given["attention_mask"] = batch.mask.to(torch.int64)
        else:
            given = {**batch.inputs}
        return {name: x.to(device).repeat(repeat, *[1] * (x.ndim - 1)) for name, x in given.items()}

    def switches(self, **wanted: bool) -> dict[str, bool]:
        """Those of the wanted options that the model's forward takes."""
        return {name: value for name, value in wanted.items() if name in self.options}

    def answers(self, output: Any, batch: TokenBatch) -> Tensor:
        """[rows pos d_vocab] what the model answers; pos is 1 where there is one answer per prompt."""
        if self.everywhere:
            return output.logits
        if self.task in ("classify", "image-classify"):
            return output.logits[:, None]
        if self.task == "pairs":
            return output.logits_per_text.diagonal()[:, None, None]
        hidden = output.last_hidden_state
        repeat = hidden.shape[0] // len(batch)
        real = batch.mask.to(hidden.device)[:, :, None].repeat(repeat, 1, 1).to(hidden.dtype)
        return (hidden * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)

    @contextmanager
    def many_rows(self, model: PreTrainedModel, batch: TokenBatch) -> Iterator[None]:
        """While open, a classifier without a padding id takes several rows: none of their tokens is padding.

        Raises InputError for prompts of unequal length, since it could not tell where the shorter ones end.
        """
        if not self._pools(model):
            yield
            return
        if len(set(batch.lengths)) > 1:
            raise InputError(
                f"this classifier has no padding id, and the prompts have {min(batch.lengths)} to "
                f"{max(batch.lengths)} tokens.",
                "Give prompts of equal length.",
            )
        config = model.config.get_text_config()
        config.pad_token_id = NO_TOKEN
        try:
            yield
        finally:
            config.pad_token_id = None

    def probe(self, model: PreTrainedModel, tokenizer: Any) -> TokenBatch:
        """Two seeded random prompts, of unequal length where the model takes text, so that padding is proved too."""
        generator = torch.Generator().manual_seed(PROBE_SEED)
        if not self.text:
            return image_batch(_random_input(model, self.main, generator), self.main)
        batch = _random_ids(model, tokenizer, generator, one_row=self._pools(model))
        if self.source is not None:
            if self.source == "input_ids":
                source = _random_ids(model, tokenizer, generator)
            else:
                source = image_batch(_random_input(model, self.source, generator), self.source)
            return _with_side(batch, ENCODER, source)
        if self.task == "pairs":
            return _with_side(
                batch, VISION, image_batch(_random_input(model, "pixel_values", generator), "pixel_values")
            )
        return batch

    def _pools(self, model: PreTrainedModel) -> bool:
        """Whether the model finds the end of a prompt by a padding id that it does not have.

        Some classifiers read the last token, others the first: the names that their forward uses tell them apart.
        """
        forward = inspect.unwrap(type(model).forward)
        looks = "pad_token_id" in forward.__code__.co_names
        return self.task == "classify" and looks and pad_id(model.config) is None


def pad_id(config: Any) -> int | None:
    """The padding id of a config; some families' configs do not know the field."""
    return getattr(config.get_text_config(), "pad_token_id", None)


def _random_ids(
    model: PreTrainedModel, tokenizer: Any, generator: torch.Generator, *, one_row: bool = False
) -> TokenBatch:
    config = model.config.get_text_config()
    vocabulary = int(config.vocab_size)
    limit = getattr(config, "max_position_embeddings", None) or 0
    limit = limit if limit > 0 else max(PROBE_LENGTHS)  # some families write -1 for "any length"
    lengths = [min(length, limit) for length in PROBE_LENGTHS[: 1 if one_row else 2]]
    rows = [torch.randint(vocabulary, (length,), generator=generator).tolist() for length in lengths]
    return pad(tokenizer, rows, filler=pad_id(model.config))


def _random_input(model: PreTrainedModel, name: str, generator: torch.Generator) -> Tensor:
    """[2 …] random pixels or sound features of the size that the config states."""
    config: Any = getattr(model.config, "vision_config", model.config)
    if name == "pixel_values":
        size = config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        shape: tuple[int, ...] = (2, config.num_channels, height, width)
    elif name == "input_features" and hasattr(config, "num_mel_bins"):
        shape = (2, config.num_mel_bins, 2 * config.max_source_positions)
    else:
        raise ModelError(f"{type(model).__name__} reads '{name}', which cannot be made up.", "It is not known yet.")
    return torch.randn(shape, generator=generator, dtype=torch.float32).to(model.dtype)


def image_batch(
    values: Tensor, name: str, positions: int = 1, strings: tuple[str, ...] = (), grid: tuple[int, int] | None = None
) -> TokenBatch:
    """Images or sounds as a batch: `values` [batch …] under the argument `name`, `positions` places per prompt."""
    rows = len(values)
    words = strings or tuple(f"#{place}" for place in range(positions))
    ids = torch.zeros(rows, positions, dtype=torch.int64)
    return TokenBatch(
        ids, torch.ones_like(ids, dtype=torch.bool), torch.zeros_like(ids, dtype=torch.bool), (words,) * rows,
        (positions,) * rows, {"last": (positions - 1,) * rows}, inputs={name: values}, grid=grid, single=True,
    )  # fmt: skip


def _with_side(batch: TokenBatch, name: str, side: TokenBatch) -> TokenBatch:
    return replace(batch, sides={name: side})


def embedding_rows(model: PreTrainedModel) -> int | None:
    """Rows of the token embedding, None in models that read no ids."""
    try:
        table = model.get_input_embeddings()
    except NotImplementedError:
        table = None
    return table.weight.shape[0] if isinstance(table, nn.Embedding) else None
