"""What the doors tell of a tokenizer: its facts and origin, a text split token by token, a language sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hooks.companion import first_difference
from hooks.loading import load_tokenizer
from hooks.prompts import PromptSet
from hooks.reference import ModelRef
from hooks.spec import Spec
from hooks.token_split import SplitToken, is_exact, split, text_of
from hooks.tokenizer_facts import TokenizerFacts, facts
from hooks.tokens import TokenBatch, encode
from workbench.known import no_tokenizer
from workbench.models import resolve
from workbench.models.convert import read_record
from workbench.settings import Settings


class Report(Spec):
    """A text as a tokenizer splits it.

    exact: the tokens say the text again, byte for byte; None where the tokenizer does not tell what its tokens cover.
    characters, bytes: of the text that was split.
    """

    tokens: tuple[SplitToken, ...]
    facts: TokenizerFacts
    exact: bool | None
    characters: int
    bytes: int
    warnings: tuple[str, ...]


class LanguageCount(Spec):
    """How a sentence in one language splits, special tokens left out. words: None where no spaces part them."""

    language: str
    text: str
    tokens: int
    unknown: int
    words: int | None
    characters: int
    bytes: int

    @property
    def per_word(self) -> float | None:
        """Tokens per word between spaces."""
        return None if self.words is None else self.tokens / self.words

    @property
    def per_character(self) -> float:
        """Tokens per code point, spaces included."""
        return self.tokens / self.characters

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes per token: how much text one token carries."""
        return self.bytes / self.tokens


# The same sentence, written for this sample: weather, a walk, friends. False: no spaces between words.
SENTENCES: tuple[tuple[str, str, bool], ...] = (
    ("English", "The weather is good today, and we will walk to the river with our friends.", True),
    ("Spanish", "Hoy hace buen tiempo y caminaremos hasta el río con nuestros amigos.", True),
    ("French", "Il fait beau aujourd'hui et nous marcherons jusqu'à la rivière avec nos amis.", True),
    ("German", "Das Wetter ist heute gut, und wir gehen mit unseren Freunden zum Fluss.", True),
    ("Turkish", "Bugün hava güzel ve arkadaşlarımızla nehre yürüyeceğiz.", True),
    ("Russian", "Сегодня хорошая погода, и мы пойдём к реке с нашими друзьями.", True),
    ("Arabic", "الطقس جميل اليوم، وسنمشي إلى النهر مع أصدقائنا.", True),
    ("Hindi", "आज मौसम अच्छा है और हम अपने दोस्तों के साथ नदी तक पैदल जाएँगे।", True),
    ("Korean", "오늘은 날씨가 좋아서 우리는 친구들과 함께 강까지 걸어갈 것입니다.", True),
    ("Chinese", "今天天气很好，我们将和朋友们一起走到河边。", False),
    ("Japanese", "今日は天気が良いので、私たちは友達と一緒に川まで歩きます。", False),
    ("Thai", "วันนี้อากาศดี และเราจะเดินไปที่แม่น้ำกับเพื่อนของเรา", False),
)


def report(tokenizer: Any, inputs: PromptSet, batch: TokenBatch, origin: str) -> Report:
    """The first prompt of `inputs`, encoded as `batch`, split and explained."""
    rows = split(tokenizer, inputs, batch)
    text = text_of(tokenizer, inputs)
    told = any(row.start is not None for row in rows)
    return Report(
        tokens=rows,
        facts=facts(tokenizer, origin),
        exact=is_exact(text, rows) if told else None,
        characters=len(text),
        bytes=len(text.encode()),
        warnings=batch.warnings,
    )


def open_report(ref: ModelRef, inputs: PromptSet, settings: Settings) -> Report:
    """The first prompt as the model that `ref` names would be fed it; its weights are not opened.

    Raises InputError for the prompt, ModelError for the model.
    """
    from transformers import AutoConfig

    found = resolve(ref, settings)
    folder = found.tokenizer or found.folder
    tokenizer = load_tokenizer(folder)
    if tokenizer is None:
        raise no_tokenizer(ref)
    config = AutoConfig.from_pretrained(found.folder).get_text_config()
    batch = encode(
        tokenizer,
        inputs,
        n_embed=getattr(config, "vocab_size", None),
        trained=getattr(config, "max_position_embeddings", None),
    )
    made = report(tokenizer, inputs, batch, origin(folder, companion=found.tokenizer is not None))
    own = None if found.tokenizer is None else load_tokenizer(found.folder)
    difference = None if own is None else first_difference(own, tokenizer, text_of(tokenizer, inputs))
    if difference is None:
        return made
    remark = f"on this text the model's own tokenizer disagrees with the companion in use, first at {difference}"
    return made.model_copy(update={"warnings": (*made.warnings, remark)})


def origin(folder: Path, *, companion: bool = False) -> str:
    """Where the tokenizer of a folder came from. companion: it is used in place of the model's own."""
    record = read_record(folder)
    if record is None:
        words = f"the files of the folder {folder.name}"
    else:
        # The merges and the settings of a GGUF file are not all of the original's: added tokens and BOS may differ.
        words = f"rebuilt from a GGUF file ({record.source}); it may differ from the original model's"
    return f"companion tokenizer, in place of the model's own: {words}" if companion else words


def languages(tokenizer: Any) -> tuple[LanguageCount, ...]:
    """The sample sentence in every language, counted."""
    return tuple(_count(tokenizer, *sentence) for sentence in SENTENCES)


def _count(tokenizer: Any, language: str, text: str, spaced: bool) -> LanguageCount:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    unknown = getattr(tokenizer, "unk_token_id", None)
    return LanguageCount(
        language=language,
        text=text,
        tokens=len(ids),
        unknown=sum(token == unknown for token in ids),
        words=len(text.split()) if spaced else None,
        characters=len(text),
        bytes=len(text.encode()),
    )
