"""Prompts become exactly the tokenizer's own ids; nothing is doubled, lost, shifted or blank."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from hooks.errors import InputError
from hooks.prompts import ChatPrompt, IdAnswer, IdsPrompt, PromptSet
from hooks.tokens import encode
from tests.hooks.small_tokenizers import KINDS, byte_level, sentencepiece_bpe, wordpiece

WITH_BOS = byte_level(bos=True, template="<s>{% for m in messages %}{{ m['content'] }}{% endfor %}")
BARE = byte_level(bos=False)
BERT = wordpiece()


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


def test_c01_a_text_that_begins_with_the_bos_is_fed_one_and_says_so():
    batch = encode(WITH_BOS, PromptSet(prompts=("<s>hello world!",)))
    assert leading_bos(batch.id_lists()[0], WITH_BOS.bos_token_id) == 1
    assert batch.id_lists() == encode(WITH_BOS, PromptSet(prompts=("hello world!",))).id_lists()
    assert "fed once" in batch.warnings[0]
    none = encode(WITH_BOS, PromptSet(prompts=("<s>hello world!",), special="none"))
    assert leading_bos(none.id_lists()[0], WITH_BOS.bos_token_id) == 0


def test_c01_a_bos_that_the_tokenizer_does_not_add_is_added_only_when_asked():
    tokenizer = byte_level()
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    plain = tokenizer("hello", add_special_tokens=False)["input_ids"]
    assert list(encode(tokenizer, PromptSet(prompts=("hello",))).id_lists()[0]) == plain
    asked = encode(tokenizer, PromptSet(prompts=("hello",), special="bos")).id_lists()[0]
    assert list(asked) == [tokenizer.bos_token_id, *plain]


@pytest.mark.parametrize("special", ["model", "none", "bos"])
def test_c01_a_chat_is_exactly_what_its_template_writes(special):
    template = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{% endfor %}"
    tokenizer = byte_level(bos=True, template=template)
    batch = encode(
        tokenizer, PromptSet(prompts=(ChatPrompt(messages=({"role": "a", "content": "b"},)),), special=special)
    )
    written = tokenizer("[a] b", add_special_tokens=False)["input_ids"]
    assert list(batch.id_lists()[0]) == [tokenizer.bos_token_id] * (special == "bos") + written


def test_a_template_that_refuses_a_message_says_why():
    tokenizer = byte_level(template="{{ raise_exception('no system role here') }}")
    chat = ChatPrompt(messages=({"role": "system", "content": "x"},))
    with pytest.raises(InputError, match="no system role here"):
        encode(tokenizer, PromptSet(prompts=(chat,)))
    with pytest.raises(InputError, match="no chat template"):
        encode(BARE, PromptSet(prompts=(chat,)))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("special", ["model", "none", "bos"])
@pytest.mark.parametrize("make", [byte_level, wordpiece], ids=["bare", "BERT-like"])
def test_c02_without_a_bos_token_no_text_is_lost_and_asking_for_one_says_so(make, special, side):
    tokenizer = make()
    tokenizer.padding_side = side
    batch = encode(tokenizer, PromptSet(prompts=("hello world", "hello"), special=special))
    for text, ids in zip(("hello world", "hello"), batch.id_lists(), strict=True):
        assert list(ids) == tokenizer(text, add_special_tokens=special != "none")["input_ids"]
    assert batch.mask.tolist()[1] == [True] * batch.lengths[1] + [False] * (batch.lengths[0] - batch.lengths[1])
    assert any("no BOS" in warning for warning in batch.warnings) == (special == "bos")


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_c02_every_kind_is_fed_its_own_ids(make):
    tokenizer = make()
    batch = encode(tokenizer, PromptSet(prompts=("hello lowest, Mary", "a"), special="model"))
    assert [list(ids) for ids in batch.id_lists()] == [tokenizer(t)["input_ids"] for t in ("hello lowest, Mary", "a")]


def test_padding_and_truncation_in_the_tokenizers_files_do_not_reach_the_prompt():
    tokenizer = wordpiece()
    expected = tokenizer("hello world hello world")["input_ids"]
    tokenizer.backend_tokenizer.enable_padding(length=128)
    tokenizer.backend_tokenizer.enable_truncation(max_length=3)
    tokenizer.model_max_length = 3
    assert list(encode(tokenizer, PromptSet(prompts=("hello world hello world",))).id_lists()[0]) == expected


def tiny_gpt2(size):
    return GPT2LMHeadModel(GPT2Config(vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=32))


def tiny_llama(size):
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config)


@pytest.mark.parametrize("make_model", [tiny_gpt2, tiny_llama])
@pytest.mark.parametrize("side", ["left", "right"])
@torch.inference_mode()
def test_a_padded_batch_equals_single_prompts_whatever_side_the_tokenizer_pads(make_model, side):
    torch.manual_seed(0)
    tokenizer = sentencepiece_bpe()
    tokenizer.pad_token, tokenizer.padding_side = "</s>", side
    model = make_model(len(tokenizer)).eval()
    texts = ("hello", "Mary went to the store, hello world", "low")
    batch = encode(tokenizer, PromptSet(prompts=texts))
    ours = model(batch.ids, attention_mask=batch.mask.long()).logits
    # What the tokenizer itself would make of the batch, positions counted from each prompt's own start.
    padded = tokenizer(list(texts), padding=True, return_tensors="pt")
    mask = padded["attention_mask"]
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    theirs = model(padded["input_ids"], attention_mask=mask, position_ids=places).logits
    for row, text in enumerate(texts):
        alone = model(**tokenizer(text, return_tensors="pt")).logits[0]
        torch.testing.assert_close(ours[row, : batch.lengths[row]], alone, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(theirs[row][mask[row].bool()], alone, rtol=1e-5, atol=1e-5)


def test_c03_text_that_spells_a_special_token_is_one_by_default_and_plain_when_asked():
    text = "a <|endoftext|> b"
    special = BARE.eos_token_id
    default = encode(BARE, PromptSet(prompts=(text,)))
    plain = encode(BARE, PromptSet(prompts=(text,), plain_text=True))
    assert special in default.id_lists()[0] and default.special.any()
    assert special not in plain.id_lists()[0] and not plain.special.any()
    assert BARE.decode(plain.id_lists()[0]) == text


@pytest.mark.parametrize("make", [byte_level, sentencepiece_bpe], ids=["byte-level", "SentencePiece"])
def test_c03_plain_text_holds_for_its_prompt_only(make):
    tokenizer = make()
    text = f"a {tokenizer.eos_token} b"
    plain = encode(tokenizer, PromptSet(prompts=(text,), plain_text=True))
    default = encode(tokenizer, PromptSet(prompts=(text,)))
    assert tokenizer.eos_token_id not in plain.id_lists()[0]
    assert tokenizer.eos_token_id in default.id_lists()[0]
    chat = ChatPrompt(messages=({"role": "a", "content": "b"},))
    noted = encode(WITH_BOS, PromptSet(prompts=(chat,), plain_text=True))
    assert "never read as plain text" in noted.warnings[0]


def test_c03_an_added_token_without_a_role_is_marked_as_special():
    tokenizer = byte_level()
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>"]})
    batch = encode(tokenizer, PromptSet(prompts=("a<|im_start|>b",)))
    assert batch.special.tolist() == [[False, True, False]]


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
    assert batch.positions["second"] == (1, 0)
    assert batch.positions["last"] == (batch.lengths[0] - 1, 0)
    assert not (batch.special & ~batch.mask).any()


def test_a_named_position_outside_its_prompt_is_refused():
    with pytest.raises(InputError, match="position 'subject' does not fit"):
        encode(BARE, PromptSet(prompts=("a",), positions={"subject": (5,)}))


def test_half_a_character_is_refused_before_any_computation():
    with pytest.raises(InputError, match="lone surrogate"):
        encode(BARE, PromptSet(prompts=("a\ud800b",)))
