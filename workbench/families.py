"""The table of all families: each one's tiny random model opened and proved, as rows, as text and as a page of docs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hooks.errors import ModelError
from hooks.model import instrument
from hooks.proof import READ_ONLY
from hooks.tiny import build, variants

LACKS = (
    "no cross",
    "no mixture",
    "no state",
    "no norm",
    "no position",
    "this block has no",
    "the MLP has no",
    "a mixture of",
)
"""How reasons begin that say only that a model has no such part."""
TASKS = {
    "causal": "decoder, next token",
    "masked": "encoder, masked token",
    "seq2seq": "encoder and decoder",
    "classify": "classifier of texts",
    "token-classify": "classifier of tokens",
    "image-classify": "classifier of images",
    "pairs": "towers of text and image",
    "features": "encoder without a head",
}


def check_families(told: Callable[[str], None] = lambda _: None) -> list[dict[str, Any]]:
    """One row per variant of every family, with its summary or the reason why it did not open."""
    rows = []
    for name, architecture in variants().items():
        told(f"opening a tiny {name}")
        row: dict[str, Any] = {"name": name, "family": architecture.family, "error": ""}
        try:
            row |= _proved(instrument(build(name), name=name).summary())
        except ModelError as error:
            row["error"] = error.message
        rows.append(row)
    return rows


def _proved(summary: dict[str, Any]) -> dict[str, Any]:
    info, sites = summary["info"], summary["sites"]
    return {
        "task": info["task"],
        "blocks": _blocks(info),
        "parity": summary["parity"]["error"],
        "identity": summary["parity"]["identity"],
        "worst": max((row["error"] for row in sites if row["error"] is not None), default=0.0),
        "readable": sum(row["readable"] for row in sites),
        "writable": sum(row["writable"] for row in sites),
        "refused": refused(sites),
    }


def _blocks(info: dict[str, Any]) -> str:
    words = [
        f"{info['norm']}-norm {info['norm_kind']}",
        f"{'no' if info['positions'] == 'none' else info['positions']} positions",
    ]
    words += [word for word in ("parallel", "gated") if info[word]]
    if 0 < info["n_kv_heads"] < info["n_heads"]:
        words.append("one key/value head" if info["n_kv_heads"] == 1 else "grouped queries")
    if info["n_experts"]:
        words.append(f"{info['n_experts']} experts")
    if any(info["windows"]):
        words.append("sliding windows")
    return ", ".join([*words, *(f"{name} stack" for name in info["stacks"])])


def refused(sites: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """Reason → sites that cannot be read or written for it, without those of parts that the model does not have."""
    found: dict[str, list[str]] = {}
    for row in sites:
        for reason in filter(None, row["reason"].split(" · ")):
            words = reason.partition("elsewhere: ")[2] or reason
            if words.startswith(LACKS) or words == READ_ONLY.get(row["site"]):
                continue
            found.setdefault(_general(words), []).append(site_name(row))
    return found


def _general(reason: str) -> str:
    """A reason without the layer at which it was seen."""
    if reason.startswith("read-only: nothing is computed from"):
        return "read-only: the model returns it, and computes nothing from it"
    return reason


def site_name(row: dict[str, Any]) -> str:
    """A row's site with its stack, where that is not the main one."""
    return row["site"] if row["stack"] == "decoder" else f"{row['stack']}.{row['site']}"


def markdown(rows: list[dict[str, Any]]) -> str:
    """The page docs/architectures.md."""
    lines = [HEAD]
    for task, title in TASKS.items():
        chosen = [row for row in rows if row.get("task") == task]
        if not chosen:
            continue
        lines += [
            f"\n## {title[0].upper()}{title[1:]}\n",
            "| model | blocks | parity | read | written | refused, and why |",
            "|---|---|---|---|---|---|",
        ]
        for row in chosen:
            why = "<br>".join(
                f"{', '.join(f'`{site}`' for site in sites)}: {reason}" for reason, sites in row["refused"].items()
            )
            exact = "exact" if row["parity"] == 0 else f"{row['parity']:.1e}"
            lines.append(
                f"| {row['name']} | {row['blocks']} | {exact} | {row['readable']} | {row['writable']} | {why or '–'} |"
            )
    failed = [row for row in rows if row["error"]]
    if failed:
        lines += ["\n## Not opened\n", *(f"- {row['name']}: {row['error']}" for row in failed)]
    return "\n".join(lines) + "\n"


HEAD = """# Architectures

What was proved of each family, on a tiny random model of it. This page is written by
`workbench check --all-tiny --markdown`; a test keeps it current.

No family has forward code of its own here. When a model opens, one forward pass is watched: the output projection is
the module that reads z, the values are what the pattern is multiplied with, the residual equation decides what each
sublayer writes. Then every site is checked by its equation and against the unhooked model, and every writable site is
written with its own value, after which the logits must be the same bit for bit and must depend on it. A family that is
not listed opens in the same way, or is refused with a reason.

*read*, *written*: kinds of sites, over all stacks, that can be read and edited. Sites of parts that a model lacks
(cross-attention, experts, a gate, a final norm, learned positions …) are not listed as refused; `workbench check MODEL`
names each with its reason. In hybrids a site exists in the layers that have the part."""
