"""workbench models, check, tokens: what can be opened, whether it is sound, what it is fed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hooks.errors import InputError
from hooks.prompts import PromptSet, Special
from hooks.token_split import SplitToken
from hooks.tokenizer_facts import TokenizerFacts
from workbench.cli.options import AllowPickle, Companion, Device, Json, Model, Weights, model_ref
from workbench.cli.terminal import note, say, say_json, size, table
from workbench.families import TASKS, check_families, markdown, site_name
from workbench.models import list_models, open_named, resolve
from workbench.settings import Settings
from workbench.tokenizer_report import open_report


def register(app: typer.Typer) -> None:
    app.command("models")(models)
    app.command("check")(check)
    app.command("tokens")(tokens)


def models(
    fetch: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make this model available now.", show_default=False)
    ] = None,
    json: Json = False,
    allow_pickle: AllowPickle = False,
) -> None:
    """The models that have a name: where each comes from, its size, whether it is here.

    Example: workbench models --fetch smollm2-135m
    """
    settings = Settings.load(allow_pickle=allow_pickle or None)
    if fetch:
        found = resolve(fetch, settings, note)
        if json:
            say_json({"name": found.name, "folder": str(found.folder), "source": found.source})
        else:
            say(f"{found.name} is here: {found.source}")
        return
    entries = list_models(settings)
    if json:
        say_json([entry.model_dump() for entry in entries])
        return
    table(
        ("name", "installed", "size", "licence", "source"),
        [(e.name, "yes" if e.installed else "no", size(e.bytes), e.licence, e.source) for e in entries],
    )
    for entry in entries:
        if entry.warning:
            say(f"{entry.name}: {entry.warning}")


def check(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", show_default=False)] = "",
    json: Json = False,
    all_tiny: Annotated[
        bool, typer.Option("--all-tiny", help="Open a tiny random model of every family instead.")
    ] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="With --all-tiny: print docs/architectures.md.")
    ] = False,
    device: Device = None,
    dtype: Weights = None,
    tokenizer: Companion = None,
    allow_pickle: AllowPickle = False,
) -> None:
    """Open a model; print its sizes and its proof. Exit code 1 if parity with the unhooked model fails.

    Example: workbench check toy
    """
    if all_tiny:
        _check_families(json=json, as_markdown=as_markdown)
        return
    if not model:
        raise InputError("check needs a model.", "Write `workbench check toy`, or `workbench check --all-tiny`.")
    settings = Settings.load(device=device, allow_pickle=allow_pickle or None)
    summary = open_named(model_ref(model, dtype, tokenizer), settings, note).summary()
    if json:
        say_json(summary)
    else:
        _print_check(summary)
    if not summary["parity"]["exact"]:
        raise typer.Exit(1)


def _print_check(summary: dict[str, Any]) -> None:
    info, parity = summary["info"], summary["parity"]
    say(f"{summary['name']} ({info['family']})")
    shown = ("n_layers", "n_heads", "n_kv_heads", "d_model", "d_head", "d_mlp", "d_vocab", "n_ctx", "n_params")
    say("  ".join(f"{name} {info[name]}" for name in shown))
    blocks = [word for word in ("parallel", "gated") if info[word]]
    kinds = (f"{info['norm']}-norm {info['norm_kind']}", f"{info['positions']} positions", *blocks)
    say(f"{', '.join(kinds)}; {info['dtype']} on {info['device']}")
    verdict = "exact" if parity["exact"] else "FAILS"
    say(f"parity with {parity['reference']}: {verdict}, largest difference {parity['error']:.3g}")
    for warning in summary["warnings"]:
        say(f"warning: {warning}")
    say()
    there = [site for site in summary["sites"] if site["readable"]]
    table(("site", "readable", "writable", "error", "proof or reason"), [_site_row(site) for site in there])
    absent: dict[str, list[str]] = {}
    for site in summary["sites"]:
        if not site["readable"]:
            absent.setdefault(site["reason"], []).append(site_name(site))
    for reason, names in absent.items():
        say(f"absent: {', '.join(names)}: {reason}")


def _check_families(*, json: bool, as_markdown: bool) -> None:
    rows = check_families(note)
    if json or as_markdown:
        say_json(rows) if json else say(markdown(rows).rstrip())
    else:
        shown = [
            (row["name"], TASKS[row["task"]], "exact" if row["parity"] == 0 else f"{row['parity']:.1e}",
             row["readable"], row["writable"], "; ".join(f"{', '.join(s)}: {why}" for why, s in row["refused"].items()))
            if not row["error"] else (row["name"], "", "not opened", "", "", row["error"])
            for row in rows
        ]  # fmt: skip
        table(("model", "kind", "parity", "read", "written", "refused, and why"), shown)
    if any(row["error"] or row["parity"] for row in rows):
        raise typer.Exit(1)


def _site_row(site: dict[str, Any]) -> tuple[str, str, str, str, str]:
    error = "" if site["error"] is None else f"{site['error']:.1e}"
    words = site["reason"] or site["check"]
    return (site_name(site), "yes" if site["readable"] else "no", "yes" if site["writable"] else "no", error, words)


def tokens(
    model: Model,
    text: Annotated[str, typer.Argument(metavar="TEXT", show_default=False)],
    json: Json = False,
    special: Annotated[
        Special, typer.Option(help="Special tokens: as the model's tokenizer adds them, none, one BOS.")
    ] = "model",
    plain: Annotated[bool, typer.Option("--plain", help="Read a spelled-out special token as ordinary text.")] = False,
    tokenizer: Companion = None,
    facts: Annotated[bool, typer.Option("--facts", help="Print what the tokenizer is instead.")] = False,
) -> None:
    """The tokens of a text exactly as the model is fed them, what each covers, and what the tokenizer is.

    Example: workbench tokens toy "When Mary and John went to the store"
    """
    inputs = PromptSet(prompts=(text,), special=special, plain_text=plain)
    report = open_report(model_ref(model, tokenizer=tokenizer), inputs, Settings.load())
    if facts:
        _print_facts(report.facts, json)
        return
    if json:
        say_json([row.model_dump(mode="json") for row in report.tokens])
        return
    table(("pos", "id", "string", "special", "together", "bytes"), [_token_row(row) for row in report.tokens])
    for warning in report.warnings:
        note(f"warning: {warning}")


def _token_row(row: SplitToken) -> tuple[object, ...]:
    together = f"{row.piece + 1}/{row.pieces} {row.text}" if row.pieces > 1 else ""
    return (row.pos, row.id, row.string, "yes" if row.special else "", together, row.bytes or "")


def _print_facts(facts: TokenizerFacts, json: bool) -> None:
    known = facts.model_dump(mode="json")
    if json:
        say_json(known)
        return
    for name, value in known.items():
        if name != "special":
            say(f"{name.replace('_', ' ')}: {' '.join(map(str, value)) if isinstance(value, list) else value}")
    table(("special", "id", "role"), [(token.token, token.id, token.role) for token in facts.special])
