"""Prompts become exactly the tokenizer's own ids; nothing is doubled, lost, shifted or blank."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from hooks.errors import InputError
from hooks.prompts import ChatPrompt, IdAnswer, IdsPrompt, PromptSet
from hooks.tokens import encode

TEXTS = ["hello world! a b Mary John went to the store", "Today, the weather is fine"] * 8


def byte_level(*, bos: bool, template: str | None = None) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 400 entries, with or without a post-processor that puts a BOS in front."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>" if bos else None, eos_token="<|endoftext|>"
    )
    fast.chat_template = template
    return fast


WITH_BOS = byte_level(bos=True, template="<s>{% for m in messages %}{{ m['content'] }}{% endfor %}")
BARE = byte_level(bos=False)


def leading_bos(ids, bos):
    count = 0
    while count < len(ids) and ids[count] == bos:
        count += 1
    return count


@pytest.mark.parametrize(
    "prompt", ["hello world!", ChatPrompt(messages=({"role": "user", "content": "hello world!"},))]
)
@pytest.mark.parametrize(("special", "expected"), [("model", 1), ("none", 0), ("bos", 1)])
def test_c01_exactly_one_bos_or_none(prompt, special, expected):
    batch = encode(WITH_BOS, PromptSet(prompts=(prompt,), special=special))
    ids = batch.id_lists()[0]
    assert leading_bos(ids, WITH_BOS.bos_token_id) == expected
    assert len(batch.strings[0]) == len(ids) == batch.lengths[0]


@pytest.mark.parametrize("special", ["model", "none", "bos"])
def test_c02_without_a_bos_token_no_text_is_lost_and_asking_for_one_says_so(special):
    batch = encode(BARE, PromptSet(prompts=("hello world", "hello"), special=special))
    for text, ids in zip(("hello world", "hello"), batch.id_lists(), strict=True):
        assert list(ids) == BARE(text, add_special_tokens=False)["input_ids"]
    assert any("no BOS" in warning for warning in batch.warnings) == (special == "bos")


def test_c03_text_that_spells_a_special_token_is_one_by_default_and_plain_when_asked():
    text = "a <|endoftext|> b"
    special = BARE.eos_token_id
    default = encode(BARE, PromptSet(prompts=(text,)))
    plain = encode(BARE, PromptSet(prompts=(text,), plain_text=True))
    assert special in default.id_lists()[0] and default.special.any()
    assert special not in plain.id_lists()[0] and not plain.special.any()
    assert BARE.decode(plain.id_lists()[0]) == text


def test_c04_every_token_has_a_visible_string():
    batch = encode(BARE, PromptSet(prompts=("<s> <b>x</b> <br> &lt; \n \t  end",)))
    assert len(batch.strings[0]) == batch.lengths[0]
    assert all(string.strip() for string in batch.strings[0])
    assert {"↵", "⇥"} <= set("".join(batch.strings[0]))


@pytest.mark.parametrize("text", ["هذا اختبار", "The word سلام means hi", "每个人都有他的作战策略", "Café 😊"])
def test_c05_labels_stand_in_logical_order_without_the_byte_alphabet(text):
    batch = encode(BARE, PromptSet(prompts=(text,)))
    joined = "".join(batch.strings[0])
    assert not any(0x100 <= ord(char) <= 0x143 for char in joined)
    pieces = [BARE.decode([token]) for token in batch.id_lists()[0]]
    for shown, piece in zip(batch.strings[0], pieces, strict=True):
        assert shown == piece.replace(" ", "·") if "\ufffd" not in piece else shown.startswith("⟨")


def test_c07_an_empty_prompt_names_itself_and_a_long_one_gives_both_numbers():
    with pytest.raises(InputError, match="prompt 1 is empty"):
        encode(BARE, PromptSet(prompts=("",)))
    with pytest.raises(InputError, match=r"has 17 tokens, but this model has positions for 16"):
        encode(BARE, PromptSet(prompts=(IdsPrompt(ids=tuple(range(17))),)), n_ctx=16)
    long = encode(BARE, PromptSet(prompts=(IdsPrompt(ids=(5,) * 40),)), trained=20)
    assert long.lengths == (40,) and "trained on up to 20" in long.warnings[0]


def test_c06_ids_beyond_the_embedding_are_refused_before_the_forward_pass():
    with pytest.raises(InputError, match="embedding has 100 rows"):
        encode(BARE, PromptSet(prompts=(IdsPrompt(ids=(7, 250)),)), n_embed=100)


def test_an_answer_of_several_tokens_is_refused_with_its_pieces_and_a_way_out():
    with pytest.raises(InputError, match=r"is \d+ tokens for this model: .+ \| ") as caught:
        encode(BARE, PromptSet(prompts=("hello",), answers=("Bartholomew",)))
    assert caught.value.hint
    with pytest.raises(InputError) as caught:
        encode(BARE, PromptSet(prompts=("hello",), answers=("store",)))
    assert "with a space in front" in caught.value.hint


def test_answers_are_ids_texts_or_sets_one_per_prompt():
    mary = BARE(" Mary")["input_ids"]
    batch = encode(BARE, PromptSet(prompts=("a", "b"), answers=(" Mary", (IdAnswer(id=4), " Mary"))))
    assert batch.answers == (tuple(mary), (4, *mary))
    with pytest.raises(InputError, match="2 prompts but 1 answers"):
        encode(BARE, PromptSet(prompts=("a", "b"), answers=(" Mary",)))


def test_padding_is_on_the_right_and_masked():
    batch = encode(BARE, PromptSet(prompts=("hello world", "a"), positions={"second": (1, 0)}))
    assert batch.mask.tolist()[1] == [True] + [False] * (batch.ids.shape[1] - 1)
    assert batch.positions == {"second": (1, 0), "last": (batch.lengths[0] - 1, 0)}
    assert not (batch.special & ~batch.mask).any()


def test_a_named_position_outside_its_prompt_is_refused():
    with pytest.raises(InputError, match="position 'subject' does not fit"):
        encode(BARE, PromptSet(prompts=("a",), positions={"subject": (5,)}))


def test_half_a_character_is_refused_before_any_computation():
    with pytest.raises(InputError, match="lone surrogate"):
        encode(BARE, PromptSet(prompts=("a\ud800b",)))
