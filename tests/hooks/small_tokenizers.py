"""Small tokenizers of every kind, trained here on a few lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

TEXTS = [
    "hello world! a b Mary John went to the store",
    "Today, the weather is fine and the store is open",
    "low lower lowest new newer newest wide wider widest",
    "unhappiness unhappy happiness happily playing played player",
] * 8
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def _fast(tokenizer: Tokenizer, **roles: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)


def byte_level(*, bos: bool = False, template: str | None = None, size: int = 400) -> PreTrainedTokenizerFast:
    """Like GPT-2's: bytes as letters; with `bos` a post-processor puts `<s>` in front."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<s>", "<|endoftext|>"], initial_alphabet=ALPHABET, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    fast = _fast(tokenizer, **({"bos_token": "<s>"} if bos else {}), eos_token="<|endoftext|>")
    fast.chat_template = template
    return fast


def tiktoken_style() -> PreTrainedTokenizerFast:
    """Like Llama 3's: a pattern of its own splits, bytes follow, a word that the vocabulary knows is taken whole."""
    trained = byte_level()
    vocabulary = {**trained.get_vocab(), "zyx": len(trained)}
    merges = [tuple(pair) for pair in definition(trained.backend_tokenizer)["model"]["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    pattern = Regex(r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|begin_of_text|>", special=True)])
    return _fast(tokenizer, bos_token="<|begin_of_text|>")


def definition(tokenizer: Tokenizer) -> dict[str, Any]:
    """What tokenizer.json would hold."""
    return json.loads(tokenizer.to_str())


def sentencepiece_bpe() -> PreTrainedTokenizerFast:
    """Like Llama 2's and Gemma's: ▁ for a space, bytes as `<0xE2>` where there is no piece."""
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.train_from_iterator(TEXTS, trainer)
    plain = definition(tokenizer)
    # The byte pieces are ordinary entries of the vocabulary, not added tokens.
    plain["added_tokens"] = [token for token in plain["added_tokens"] if not token["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(plain))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return _fast(tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def unigram() -> PreTrainedTokenizerFast:
    """Like T5's: pieces with scores, `</s>` at the end, unknown characters as `<unk>`."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return _fast(tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def wordpiece() -> PreTrainedTokenizerFast:
    """Like BERT's: lower case, `##` inside words, [CLS] and [SEP] around the text."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return _fast(
        tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def word_end_bpe() -> PreTrainedTokenizerFast:
    """Like CLIP's: bytes as letters, `</w>` where a word ends."""
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=ALPHABET,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _fast(tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>")


def slow_bytes() -> ByT5Tokenizer:
    """A slow tokenizer, without a fast twin: every byte is a token."""
    return ByT5Tokenizer()


KINDS: dict[str, Callable[[], object]] = {
    "byte-level BPE": byte_level,
    "byte-level BPE, known words whole (tiktoken style)": tiktoken_style,
    "SentencePiece BPE with byte fallback": sentencepiece_bpe,
    "Unigram": unigram,
    "WordPiece": wordpiece,
    "bytes": slow_bytes,
}
