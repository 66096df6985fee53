"""Manners of the server: who may ask, what may be loaded, what is said when it cannot start."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from hooks.errors import SpecError, WorkbenchError
from workbench import server
from workbench.app import create_app
from workbench.settings import Settings
from workbench.workspace import Workspace

Client = Callable[..., FlaskClient]


@pytest.fixture
def client(settings: Settings, tmp_path: Path) -> Client:
    """A function that gives a client of the app, served with some token and host."""

    def start(token: str | None = None, host: str = "127.0.0.1") -> FlaskClient:
        assets = tmp_path / "assets"
        (assets / "models" / "toy").mkdir(parents=True, exist_ok=True)
        (assets / "models" / "toy" / "model.safetensors").write_bytes(b"weights")
        (assets / "wb.js").write_text("'script'")
        workspace = Workspace.open(settings.model_copy(update={"assets_dir": assets}), engine="inline", exclusive=False)
        app = create_app(workspace, model="toy")
        server.protect(app, token=token, host=host)
        return app.server.test_client()

    return start


def test_the_root_opens_attention_with_the_model_that_was_asked_for(client: Client) -> None:
    answer = client().get("/")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/attention?model=toy"
    assert client().get("/?head=3").headers["Location"] == "/attention?head=3"


@pytest.mark.parametrize(
    "path",
    [
        "/assets/models/toy/model.safetensors",
        "/assets//models/toy/model.safetensors",
        "/assets/./models/toy/model.safetensors",
        "/assets/x/../models/toy/model.safetensors",
        "/assets/MODELS/toy/model.safetensors",
        "/assets/models%2Ftoy%2Fmodel.safetensors",
    ],
)
def test_c45_weights_are_not_served_however_the_path_is_written(client: Client, path: str) -> None:
    answer = client().get(path)
    assert answer.status_code in (404, 308)
    assert b"weights" not in answer.data


def test_other_assets_are_served(client: Client) -> None:
    assert client().get("/assets/wb.js").data == b"'script'"


def test_c39_pages_may_load_nothing_from_elsewhere_and_run_only_declared_scripts(client: Client) -> None:
    policy = client().get("/attention").headers["Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'self'"
    assert re.fullmatch(r"'self'( 'sha256-[A-Za-z0-9+/=]+')+", rules["script-src"])
    assert "unsafe-inline" not in rules["script-src"] and "unsafe-eval" not in policy
    assert rules["connect-src"] == "'self'" and rules["object-src"] == "'none'"


def test_c39_served_pages_name_no_other_host(client: Client) -> None:
    asked = client()
    for path in ("/attention", "/wb/theme.css", "/wb/data.js"):
        assert not re.search(rb"https?://(?!127\.0\.0\.1)(?!www\.w3\.org)", asked.get(path).data)


def test_without_the_token_nothing_but_the_question_for_it_is_shown(client: Client) -> None:
    asked = client("secret")
    for path in ("/attention", "/_dash-layout", "/assets/wb.js"):
        answer = asked.get(path)
        assert answer.status_code == 401
        assert b"token" in answer.data
    assert asked.get("/wb/theme.css").status_code == 200


def test_the_token_opens_the_app_as_a_header_and_as_a_cookie(client: Client) -> None:
    asked = client("secret")
    assert asked.get("/attention", headers={"Authorization": "Bearer secret"}).status_code == 200
    assert asked.get("/attention", headers={"Authorization": "Bearer secre"}).status_code == 401
    assert asked.post("/wb/login", data={"token": "wrong"}).status_code == 401
    answer = asked.post("/wb/login", data={"token": "secret"})
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "secret" not in cookie
    assert asked.get("/attention").status_code == 200


def test_a_foreign_name_for_this_machine_is_refused(client: Client) -> None:
    assert client().get("/attention", headers={"Host": "evil.example"}).status_code == 403
    assert client().get("/attention", headers={"Host": "localhost:8050"}).status_code == 200


def test_another_site_cannot_post(client: Client) -> None:
    answer = client().post("/_dash-update-component", json={}, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403


def test_an_open_host_needs_a_token() -> None:
    with pytest.raises(SpecError, match="no token") as caught:
        server.check_host("0.0.0.0", None)
    assert "--token" in caught.value.hint
    server.check_host("0.0.0.0", "secret")
    for host in ("127.0.0.1", "localhost", "::1"):
        server.check_host(host, None)


def test_a_port_in_use_is_one_clear_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(WorkbenchError, match=str(port)) as caught:
            server.bind("127.0.0.1", port)
    assert "--port" in caught.value.hint


def test_the_printed_address_opens_the_model() -> None:
    assert server.address("127.0.0.1", 8050) == "http://127.0.0.1:8050"
    assert server.address("127.0.0.1", 8050, "toy") == "http://127.0.0.1:8050/attention?model=toy"
    assert server.address("::1", 80) == "http://[::1]:80"
