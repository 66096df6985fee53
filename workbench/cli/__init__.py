"""The command line: one module per family of commands; `main` dresses every failure once."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from hooks.errors import Cancelled, WorkbenchError
from workbench import __version__
from workbench.bars import hide_bars
from workbench.cli import capture, circuits, experiments, exports, models, serve, tasks, workspace
from workbench.cli.terminal import fail

ABOUT = """Look inside transformer language models: observe, edit, measure, replay.

Start with: workbench serve
"""

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False, help=ABOUT)
for module in (models, experiments, exports, circuits, tasks, capture, workspace, serve):
    module.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"workbench {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0, 2 for what the user gave, 1 for what went wrong."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Accepted anywhere, because it is added to a command that has just failed.
    debug = "--debug" in given
    sys.exit(run([word for word in given if word != "--debug"], debug=debug))


def run(arguments: Sequence[str], *, debug: bool = False) -> int:
    """The exit code of one command; a failure is written to stderr as `error: …` and `hint: …`."""
    hide_bars()
    try:
        return int(app(list(arguments), prog_name="workbench", standalone_mode=False) or 0)
    except WorkbenchError as error:
        fault = error.user_fault
        return _failed(error, error.message, error.hint, 2 if fault else 1, debug)
    except TyperException as error:
        return _failed(error, error.format_message(), _help_hint(arguments), 2, debug)
    except (KeyboardInterrupt, typer.Abort) as error:
        return _failed(error, "stopped.", "Run the same command again; finished work is kept.", 1, debug)
    except BrokenPipeError:
        # The reader of a pipe is gone (`| head`); writing on would only fail again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _failed(error, f"{place}{error.strerror or error}.", "Check the path, permissions and space.", 1, debug)
    except Exception as error:  # the one door where a bug, too, becomes one line; --debug shows all of it
        return _failed(error, f"unexpected {type(error).__name__}: {error}", "Add --debug to see where.", 1, debug)


def _failed(error: BaseException, message: str, hint: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    fail(message, hint if not isinstance(error, Cancelled) else hint or "Run it again; finished work is kept.")
    return code


def _help_hint(arguments: Sequence[str]) -> str:
    """Which help answers a usage error."""
    known = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    command = next((word for word in arguments if word in known), "")
    return f"workbench {command} --help".replace("  ", " ") + " shows an example."
