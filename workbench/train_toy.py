"""Make the bundled `toy` model: a two-layer GPT-2 trained, from generated text, to hold two well-known circuits.

Repeated sequences teach a previous-token head (layer 0) and an induction head (layer 1); IOI sentences ("When Mary
and John went to the store, John gave a drink to Mary") teach indirect-object identification. Nothing is downloaded:
corpus, byte-level tokenizer, weights and model card all come from this file and the seed.

    python -m workbench.train_toy --out assets/models/toy --steps 3000 --seed 0
"""

from __future__ import annotations

import argparse
import itertools
import logging
import math
import random
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

from workbench.toy_corpus import (
    CONTEXT,
    CONTRACT,
    FILLER,
    NAMES,
    OBJECTS,
    PLACES,
    TEMPLATES,
    build_tokenizer,
    ioi_batch,
    ioi_example,
    recall_row,
    repeated_row,
    split_pairs,
)

log = logging.getLogger(__name__)

SCORE_SEED, SCORE_ROWS, SCORE_N = 0, 8, 50
TOKENS_PER_STEP, IOI_ROWS, PEAK_LR = 2048, 40, 2e-3
# The share of the steps that sees short rows only; in them both circuits form within some hundred steps.
SHORT, SHORT_SHARE = 64, 0.3
EMBED_SCALE = 0.5

CARD = """# toy

A GPT-2-architecture language model (2 layers, 4 heads, width 128, untied embeddings) that `workbench.train_toy` trains
from text it generates itself, so that the workbench has a model with known mechanisms where no other can be had.

    python -m workbench.train_toy --out assets/models/toy --steps {steps} --seed {seed}

Text: random sequences repeated with periods that differ from row to row, random pairs to recall, and sentences in which
of two names the one that was not repeated comes next. The tokenizer is a byte-level BPE; it adds no BOS by itself.
Licence: Apache-2.0, as the project. It knows nothing else; what it says about other text means nothing.

## Measured

Head scores on 8 sequences [BOS] r r of 50 random tokens (attention, 0 to 1); losses in nats, logits as the model gives
them; sentences use pairs of names that training never saw together. Training saw most first copies early in a row, so
the previous-token head, and induction with it, fade at later positions: the table says how far.

{measured}
"""


def next_token_loss(model: GPT2LMHeadModel, tokens: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of each next token; labels of -100 are left out."""
    logits = model(tokens).logits[:, :-1]
    return cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)


def train(tokenizer: GPT2Tokenizer, steps: int, seed: int) -> GPT2LMHeadModel:
    """Train from scratch; the same seed and steps on the same machine give the same weights."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = random.Random(seed + 1)
    bos = int(tokenizer.bos_token_id)
    words = [tokenizer.encode(f" {word}")[0] for word in (*NAMES, *PLACES, *OBJECTS, *FILLER)]
    pairs, _ = split_pairs(seed)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=CONTEXT, n_embd=128, n_layer=2, n_head=4, bos_token_id=bos,
        eos_token_id=bos, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, dtype="float32",
        tie_word_embeddings=False, initializer_range=0.06,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    _spread_embeddings(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = min(100, steps // 5)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / (warmup + 1), 0.5 * (1.02 + math.cos(math.pi * i / steps)))
    )

    def draw_token(k: int) -> list[int]:
        return [rng.randrange(bos) for _ in range(k)]  # BOS is the last id, so these are all the ordinary tokens

    def draw_word(k: int) -> list[int]:
        return rng.choices(words, k=k)

    for step in range(steps):
        length = SHORT if step < SHORT_SHARE * steps else (SHORT, 2 * SHORT, 2 * SHORT)[step % 3]
        repeats = []
        for row in range(TOKENS_PER_STEP // length):
            draw = draw_word if row % 8 >= 6 else draw_token
            repeats.append(recall_row(rng, length, draw) if row % 2 else repeated_row(rng, length, draw, bos))
        tokens = torch.tensor(repeats)
        repeat_loss = next_token_loss(model, tokens, tokens)
        ioi_loss = next_token_loss(model, *ioi_batch(rng, tokenizer, pairs, IOI_ROWS))
        optimizer.zero_grad()
        (repeat_loss + ioi_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            log.info("step %d: repeats %.3f, IOI %.3f", step, repeat_loss.item(), ioi_loss.item())
    return model.eval()


def _spread_embeddings(model: GPT2LMHeadModel) -> None:
    """Embeddings as large as what the layers add, positions as sines of many wavelengths.

    With the usual small ones, layer 1 finds it easier to read a token from what layer 0 copied than from the token's
    own place, and the heads that form look four or five tokens beside those that an induction head looks at.
    """
    half = model.config.n_embd // 2
    with torch.no_grad():
        model.transformer.wte.weight.normal_(0.0, EMBED_SCALE)
        frequency = 2 * math.pi / (3 * (200 / 3) ** (torch.arange(half) / (half - 1)))
        angles = torch.arange(CONTEXT)[:, None] * frequency
        model.transformer.wpe.weight.copy_(torch.cat([angles.sin(), angles.cos()], dim=1) * EMBED_SCALE)


def head_scores(model: GPT2LMHeadModel, tokens: Tensor) -> dict[str, Tensor]:
    """Induction, previous-token and duplicate-token score of every head, each [layer, head].

    `tokens` is [BOS] r r with r of SCORE_N tokens; each score is the mean attention, from the positions it is defined
    for, to the one key that such a head attends to.
    """
    model.set_attn_implementation("eager")  # the other implementations do not return attention patterns
    patterns = torch.stack(model(tokens, output_attentions=True).attentions)  # [layer, row, head, query, key]
    second = torch.arange(1 + SCORE_N, tokens.shape[1])
    after_first = torch.arange(1, tokens.shape[1])
    return {
        "induction": patterns[..., second, second - SCORE_N + 1].mean((1, 3)),
        "previous-token": patterns[..., after_first, after_first - 1].mean((1, 3)),
        "duplicate-token": patterns[..., second, second - SCORE_N].mean((1, 3)),
    }


def previous_token_reach(model: GPT2LMHeadModel, tokens: Tensor) -> tuple[float, float]:
    """Previous-token attention of layer 0's best head over queries 1–32, and over queries 49 on."""
    pattern = model(tokens, output_attentions=True).attentions[0]
    query = torch.arange(1, tokens.shape[1])
    by_query = pattern[..., query, query - 1].mean(0)  # [head, query − 1]
    return float(by_query[:, :32].mean(-1).max()), float(by_query[:, 48:].mean(-1).max())


def ioi_difference(model: GPT2LMHeadModel, tokenizer: GPT2Tokenizer, example: Example) -> tuple[float, int]:
    """Logit of the answer minus logit of the foil after the prompt (no BOS), and the id of the top token."""
    prompt, answer, foil = example
    logits = model(torch.tensor([tokenizer.encode(prompt)])).logits[0, -1]
    difference = logits[tokenizer.encode(answer)[0]] - logits[tokenizer.encode(foil)[0]]
    return float(difference), int(logits.argmax())


@torch.no_grad()
def report(model: GPT2LMHeadModel, tokenizer: GPT2Tokenizer, seed: int) -> str:
    """The measured part of the model card, as markdown."""
    bos = int(tokenizer.bos_token_id)
    r = torch.randint(0, bos, (SCORE_ROWS, SCORE_N), generator=torch.Generator().manual_seed(SCORE_SEED))
    tokens = torch.cat([torch.full((SCORE_ROWS, 1), bos), r, r], dim=1)
    scores = head_scores(model, tokens)
    lines = ["| head | " + " | ".join(scores) + " |", "|---|---|---|---|"]
    for layer, head in itertools.product(range(model.config.n_layer), range(model.config.n_head)):
        values = " | ".join(f"{score[layer, head]:.3f}" for score in scores.values())
        lines.append(f"| L{layer}H{head} | {values} |")
    losses = cross_entropy(model(tokens).logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
    rng = random.Random(SCORE_SEED)
    _, held_out = split_pairs(seed)
    examples = [ioi_example(rng, pair, template) for pair in held_out for template in TEMPLATES for _ in range(5)]
    results = [ioi_difference(model, tokenizer, example) for example in examples]
    top = sum(tokenizer.decode([best]) == answer for (_, best), (_, answer, _) in zip(results, examples, strict=True))
    difference, best = ioi_difference(model, tokenizer, CONTRACT)
    swapped, _ = ioi_difference(model, tokenizer, (CONTRACT[0].replace(", John", ", Mary"), *CONTRACT[1:]))
    near, far = previous_token_reach(model, tokens)
    rows = {
        "previous-token, best head, queries 1–32": f"{near:.3f}",
        "previous-token, best head, queries 49 on": f"{far:.3f}",
        "loss, first copy": f"{losses[:, :SCORE_N].mean():.3f}",
        "loss, second copy": f"{losses[:, SCORE_N + 1 :].mean():.3f}",
        "IOI accuracy": f"{sum(d > 0 for d, _ in results) / len(results):.3f}",
        "IOI top-token accuracy": f"{top / len(results):.3f}",
        "IOI mean logit difference": f"{sum(d for d, _ in results) / len(results):.3f}",
        "logit difference, usual prompt": f"{difference:.3f}",
        "logit difference, names swapped": f"{swapped:.3f}",
        "top token, usual prompt": f"`{tokenizer.decode([best])}`",
    }
    lines += ["", "| measurement | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Build, train, measure and save; prints the measurements."""
    parser = argparse.ArgumentParser(prog="python -m workbench.train_toy", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tokenizer = build_tokenizer(args.seed)
    model = train(tokenizer, args.steps, args.seed)
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    measured = report(model, tokenizer, args.seed)
    card = CARD.format(steps=args.steps, seed=args.seed, measured=measured)
    (args.out / "MODEL.md").write_text(card, encoding="utf-8")
    print(measured)


if __name__ == "__main__":
    main()
