"""How many rows share a forward pass: what fits the byte budget."""

from __future__ import annotations

from hooks.info import ModelInfo, StackInfo
from hooks.sites import MAIN
from hooks.tokens import TokenBatch


def row_bytes(info: ModelInfo, batch: TokenBatch, *, everywhere: bool) -> int:
    """Bytes that one row of a forward needs at its widest layer, logits included: of every position, or of one."""
    blocks = max(_block_bytes(info.stack(name), batch.side(name).ids.shape[1]) for name in (MAIN, *info.stacks))
    return blocks + 4 * 3 * info.d_vocab * (batch.ids.shape[1] if everywhere else 1)


def _block_bytes(stack: StackInfo, width: int) -> int:
    heads = stack.n_heads + 2 * stack.n_kv_heads
    streams = width * (6 * stack.d_model + 3 * stack.d_mlp + 3 * heads * stack.d_head)
    return 4 * (streams + 3 * stack.n_heads * width * width)


def rows_within(budget: int, info: ModelInfo, batch: TokenBatch, *, everywhere: bool) -> int:
    """Rows that fit `budget` bytes, at least one."""
    return max(1, budget // row_bytes(info, batch, everywhere=everywhere))
