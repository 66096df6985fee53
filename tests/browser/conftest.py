"""Real pages in headless Chromium: the app on a free port over a workspace in a temporary folder."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    BrowserType,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)
from werkzeug.serving import WSGIRequestHandler, make_server

from workbench.app import create_app
from workbench.server import protect
from workbench.settings import Settings
from workbench.workspace import Workspace

ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--in-process-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
CHROMIUM = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""The first is a browser without a window's own surroundings, which cost as much as many a page."""
# Shared machines are slow at times; nothing here measures speed.
PATIENCE = 60_000


@dataclass
class Watch:
    """What a page did that it must not do: errors in the console, requests to other hosts, dialogs."""

    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in ("http", "https", "ws", "wss") and address.hostname != "127.0.0.1":
            self.foreign.append(request.url)


class Quiet(WSGIRequestHandler):
    """Serves without a line per request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        return None


@pytest.fixture(scope="session")
def chromium() -> Iterator[tuple[BrowserType, dict[str, Any]]]:
    """What starts a Chromium, and how. Missing: a failure in CI, else a skip that says what to install."""
    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if executable is None:
        reason = "no Chromium was found: install the package 'chromium' to run the browser tests"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE)
        yield playwright.chromium, {"executable_path": executable, "headless": True, "args": ARGS}


@pytest.fixture(scope="session")
def browser(chromium: tuple[BrowserType, dict[str, Any]]) -> Iterator[Browser]:
    """A Chromium of other visitors."""
    kind, options = chromium
    launched = kind.launch(**options)
    yield launched
    launched.close()


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., str]]:
    """A function that serves a workspace and returns its address."""
    servers = []

    def start(workspace: Workspace, model: str = "toy") -> str:
        app = create_app(workspace, model=model)
        protect(app, token=None, host="127.0.0.1")
        server = make_server("127.0.0.1", 0, app.server, threaded=True, request_handler=Quiet)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.port}"

    yield start
    for server in servers:
        server.shutdown()


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A real workspace in a temporary folder; models run in this process."""
    folder = tmp_path_factory.mktemp("workspace")
    opened = Workspace.open(Settings.load(workspace_dir=folder, device="cpu"), engine="inline")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def app_url(serve: Callable[..., str], workspace: Workspace) -> str:
    """The address of the app over the real workspace, with the bundled `toy` model."""
    return serve(workspace)


@pytest.fixture(scope="session")
def context(
    chromium: tuple[BrowserType, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrowserContext]:
    """One visitor for all tests of a process, with a profile on disk, where Chromium keeps the scripts it compiled.

    Compiling those of Dash again for every page would take two fifths of the time of these tests.
    """
    kind, options = chromium
    profile, size = tmp_path_factory.mktemp("visitor"), ViewportSize(width=1440, height=900)
    opened = kind.launch_persistent_context(profile, viewport=size, reduced_motion="reduce", **options)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A tab at 1440 × 900, of a visitor who has been nowhere.

    Afterwards: no console error, no request to another host, no dialog.
    """
    opened = context.new_page()
    watch = Watch()
    opened.on("console", watch.console)
    opened.on("pageerror", lambda error: watch.errors.append(error.stack or str(error)))
    opened.on("request", watch.request)
    opened.on("dialog", lambda dialog: (watch.dialogs.append(dialog.message), dialog.dismiss()))
    opened.set_default_timeout(PATIENCE)
    opened.set_default_navigation_timeout(2 * PATIENCE)
    yield opened
    opened.evaluate("() => { try { localStorage.clear(); } catch (error) { /* a page without storage */ } }")
    opened.close()
    context.clear_cookies()
    context.clear_permissions()
    assert not watch.foreign
    assert not watch.dialogs
    assert not watch.errors
