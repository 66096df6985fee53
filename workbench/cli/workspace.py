"""workbench workspace: what is stored, how much, whether it is sound."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from hooks.errors import SpecError
from workbench.cache import keep
from workbench.cli.options import Json, Place
from workbench.cli.terminal import say, say_json, size, table
from workbench.results import Results
from workbench.settings import Settings

Id = Annotated[
    str, typer.Argument(metavar="ID", help="The id of a capture or a result, or how it begins.", show_default=False)
]
HELP = """What is stored, how much, whether it is sound.

Example: workbench workspace list"""
LIST_HINT = "`workbench workspace list` shows the ids."
STORE, RESULTS = "store", "results"


def register(app: typer.Typer) -> None:
    group = typer.Typer(help=HELP, no_args_is_help=True)
    group.command("list")(list_all)
    for command in (pin, evict, delete, verify):
        group.command(command.__name__)(command)
    group.command("size")(sizes)
    app.add_typer(group, name="workspace")


class Kept:
    """The folders of a workspace from outside; no lock is needed, since files are only added whole or removed."""

    def __init__(self, workspace: Path | None) -> None:
        self.settings = Settings.load(workspace_dir=workspace)
        self.store = self.settings.workspace_dir / STORE
        self.results = Results(self.settings.workspace_dir / RESULTS)

    def find(self, beginning: str) -> tuple[str, str]:
        """`(kind, id)` of the one capture or result whose id begins so. Raises SpecError for none or several."""
        found = [("capture", entry.key) for entry in keep.entries(self.store) if entry.key.startswith(beginning)]
        found += [("result", card.id) for card in self.results.cards() if card.id.startswith(beginning)]
        if len(found) != 1 or not beginning:
            count = "nothing" if not found else f"{len(found)} things"
            raise SpecError(f"{count} in the workspace begin with '{beginning}'.", LIST_HINT)
        return found[0]


def list_all(json: Json = False, workspace: Place = None) -> None:
    """The stored captures and results.

    Example: workbench workspace list --json
    """
    kept = Kept(workspace)
    captures, cards = keep.entries(kept.store), kept.results.cards()
    if json:
        shown = [{"id": e.key, "bytes": e.bytes, "used": _time(e.used), "pinned": e.pinned} for e in captures]
        results = [card.model_dump() for card in cards]
        say_json({"workspace": str(kept.settings.workspace_dir), "captures": shown, "results": results})
        return
    say(f"workspace {kept.settings.workspace_dir}")
    say(f"\nresults ({len(cards)})")
    if cards:
        rows = [(card.id, card.created[:16], card.model, card.sentence[:60], card.headline) for card in cards]
        table(("id", "created", "model", "what", "headline"), rows)
    say(f"\ncaptures ({len(captures)})")
    if captures:
        table(
            ("id", "size", "used", "pinned"),
            [(e.key, size(e.bytes), _time(e.used), "yes" if e.pinned else "") for e in reversed(captures)],
        )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def sizes(json: Json = False, workspace: Place = None) -> None:
    """What captures and results take on disk.

    Example: workbench workspace size
    """
    kept = Kept(workspace)
    results = sum(path.stat().st_size for path in kept.results.folder.rglob("*") if path.is_file())
    captures, limit = keep.size(kept.store), kept.settings.store_limit_bytes
    if json:
        say_json({"captures_bytes": captures, "results_bytes": results, "limit_bytes": limit})
        return
    say(f"captures {size(captures)} of {size(limit)}, results {size(results)}")


def verify(json: Json = False, workspace: Place = None) -> None:
    """Read every stored byte against its checksum; damaged files are renamed, never deleted. Exit code 1 if any is.

    Example: workbench workspace verify
    """
    kept = Kept(workspace)
    problems = keep.verify(kept.store)
    for card in kept.results.cards():
        found = kept.results.get(card.id)
        problems |= {card.id: kept.results.warnings[-1]} if found is None else {}
    if json:
        sound = {"captures": len(keep.entries(kept.store)), "results": len(kept.results.cards())}
        say_json({**sound, "problems": problems})
    else:
        for name, problem in problems.items():
            say(f"{name}: {problem}")
        say("all sound" if not problems else f"{len(problems)} damaged")
    if problems:
        raise typer.Exit(1)


def pin(
    id: Id, off: Annotated[bool, typer.Option("--off", help="Let it go again.")] = False, workspace: Place = None
) -> None:
    """Keep a capture whatever happens to the rest.

    Example: workbench workspace pin 3f2a
    """
    kept = Kept(workspace)
    kind, key = kept.find(id)
    if kind != "capture":
        raise SpecError("results stay until they are deleted; only captures can be pinned.", LIST_HINT)
    keep.pin(kept.store, key, pinned=not off)
    say(f"{key} is {'no longer ' if off else ''}pinned")


def evict(
    to: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Until captures fit, such as 2GB (the limit).", show_default=False),
    ] = None,
    workspace: Place = None,
) -> None:
    """Remove the captures that were unused longest. Pinned ones and the newest stay; all can be computed again.

    Example: workbench workspace evict --to 2GB
    """
    kept = Kept(workspace)
    limit = Settings.load(store_limit_bytes=to).store_limit_bytes if to else kept.settings.store_limit_bytes
    removed = keep.evict(kept.store, limit)
    say(f"removed {len(removed)} captures; {size(keep.size(kept.store))} stay")


def delete(id: Id, workspace: Place = None) -> None:
    """Remove a capture, or move a result to the bin, from where the app can restore it.

    Example: workbench workspace delete 3f2a
    """
    kept = Kept(workspace)
    kind, key = kept.find(id)
    if kind == "capture":
        keep.delete(kept.store, key)
    else:
        kept.results.delete(key)
    say(f"{kind} {key} is {'deleted' if kind == 'capture' else 'in the bin'}")
