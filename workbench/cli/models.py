"""workbench models, check, tokens: what can be opened, whether it is sound, what it is fed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hooks.prompts import PromptSet, Special
from workbench import api
from workbench.cli.options import Device, Json, Model
from workbench.cli.terminal import note, say, say_json, size, table
from workbench.models import list_models, resolve
from workbench.settings import Settings


def register(app: typer.Typer) -> None:
    app.command("models")(models)
    app.command("check")(check)
    app.command("tokens")(tokens)


def models(
    fetch: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make this model available now.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """The models that have a name: where each comes from, its size, whether it is here.

    Example: workbench models --fetch smollm2-135m
    """
    settings = Settings.load()
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


def check(model: Model, json: Json = False, device: Device = None) -> None:
    """Open a model; print its sizes and its proof. Exit code 1 if parity with the unhooked model fails.

    Example: workbench check toy
    """
    summary = api.open_model(model, device=device).summary()
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
    table(("site", "readable", "writable", "error", "proof or reason"), [_site_row(site) for site in summary["sites"]])


def _site_row(site: dict[str, Any]) -> tuple[str, str, str, str, str]:
    error = "" if site["error"] is None else f"{site['error']:.1e}"
    words = site["reason"] or site["check"]
    return (site["site"], "yes" if site["readable"] else "no", "yes" if site["writable"] else "no", error, words)


def tokens(
    model: Model,
    text: Annotated[str, typer.Argument(metavar="TEXT", show_default=False)],
    json: Json = False,
    special: Annotated[
        Special, typer.Option(help="Special tokens: as the model's tokenizer adds them, none, one BOS.")
    ] = "model",
    plain: Annotated[bool, typer.Option("--plain", help="Read a spelled-out special token as ordinary text.")] = False,
) -> None:
    """The tokens of a text exactly as the model is fed them.

    Example: workbench tokens toy "When Mary and John went to the store"
    """
    inputs = PromptSet(prompts=(text,), special=special, plain_text=plain)
    batch = api.tokens(model, inputs)
    count = batch.lengths[0]
    rows = [(i, int(batch.ids[0, i]), batch.strings[0][i], bool(batch.special[0, i])) for i in range(count)]
    if json:
        say_json([{"pos": pos, "id": token, "string": string, "special": flag} for pos, token, string, flag in rows])
        return
    marked = [(pos, token, string, "yes" if flag else "") for pos, token, string, flag in rows]
    table(("pos", "id", "string", "special"), marked)
    for warning in batch.warnings:
        note(f"warning: {warning}")
