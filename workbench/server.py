"""Serve the app: one process, threads, loopback unless a token guards it."""

from __future__ import annotations

import hashlib
import hmac
import posixpath
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import waitress
from dash import Dash
from flask import Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from hooks.errors import SpecError, WorkbenchError
from workbench import urls
from workbench.app import HOME, create_app

if TYPE_CHECKING:
    from workbench.workspace import Workspace

COOKIE = "workbench-token"
THREADS = 8
YEAR = 365 * 24 * 3600
LOGIN = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Interpretability workbench</title>
<link rel="stylesheet" href="/wb/theme.css"><link rel="stylesheet" href="/assets/login.css">
<main>
<h1>This workbench asks for its token</h1>
<p>It was printed when the app started.</p>
<form method="post" action="/wb/login">
<label>Token <input name="token" type="password" autofocus autocomplete="current-password"></label>
<button>Open workbench</button>
</form>{message}
</main>
"""
OPEN_PATHS = ("/wb/login", "/assets/login.css", "/wb/theme.css")


def serve(
    workspace: Workspace,
    *,
    host: str,
    port: int,
    token: str | None = None,
    model: str = "",
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until interrupted. `ready` gets the address once the port is bound.

    Raises SpecError for an open host without a token, WorkbenchError for a port in use.
    """
    check_host(host, token)
    listener = bind(host, port)
    app = create_app(workspace, model=model)
    protect(app, token=token, host=host)
    if ready is not None:
        ready(address(host, listener.getsockname()[1], model))
    waitress.serve(app.server, sockets=[listener], threads=THREADS, ident="workbench")


def address(host: str, port: int, model: str = "") -> str:
    """The address to open in a browser."""
    shown = f"[{host}]" if ":" in host else host
    search = urls.write(urls.State(model=model)) if model else ""
    return f"http://{shown}:{port}{HOME + search if search else ''}"


def check_host(host: str, token: str | None) -> None:
    """Raises SpecError when others could reach the app without a token."""
    if not is_loopback(host) and not token:
        raise SpecError(
            f"host {host} can be reached from other machines, and no token is set.",
            "Add --token SECRET, or keep the default host 127.0.0.1.",
        )


def is_loopback(host: str) -> bool:
    """True for names and addresses that only this machine can reach."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises WorkbenchError when the port is taken or the host is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise WorkbenchError(
            f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}.",
            "Another program, perhaps this app, uses it: choose another with --port, or stop that program.",
        ) from error
    return listener


def protect(app: Dash, *, token: str | None, host: str) -> None:
    """Answer only our own pages, only to whoever has the token, and tell browsers what the pages may load.

    Call it last: the policy lists the inline scripts that are declared by then.
    """
    policy = content_policy(app)

    @app.server.before_request
    def guard() -> AnyResponse | None:
        if not _own_host(host) or not _own_origin():
            return Response("This address does not belong to the workbench.\n", 403, mimetype="text/plain")
        if _is_weights(request.path):
            return Response("Weights are not served.\n", 404, mimetype="text/plain")
        if token and request.path not in OPEN_PATHS and not _allowed(token):
            return Response(LOGIN.format(message=""), 401, mimetype="text/html")
        return None

    @app.server.post("/wb/login")
    def login() -> AnyResponse:
        if not token or not hmac.compare_digest(request.form.get("token", "").encode(), token.encode()):
            return Response(
                LOGIN.format(message='<p class="wrong">That is not the token.</p>'), 401, mimetype="text/html"
            )
        answer = redirect("/")
        answer.set_cookie(
            COOKIE, _proof(token), max_age=YEAR, httponly=True, samesite="Strict", secure=request.is_secure
        )
        return answer

    @app.server.after_request
    def manners(response: AnyResponse) -> AnyResponse:
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        response.headers.setdefault("X-Frame-Options", "DENY")
        return response


def content_policy(app: Dash) -> str:
    """The Content-Security-Policy: everything from here, inline scripts only those that Dash declared."""
    scripts = " ".join(f"'{value.strip(chr(39))}'" for value in app.csp_hashes())
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' {scripts}".strip(),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "worker-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


def _is_weights(path: str) -> bool:
    """Whether a path leads into assets/models, whichever way it is written."""
    plain = posixpath.normpath("/" + path.lower().replace("\\", "/").lstrip("/"))
    return plain == "/assets/models" or plain.startswith("/assets/models/")


def _own_host(host: str) -> bool:
    """A foreign name that resolves to this machine (DNS rebinding) is refused while only loopback is served."""
    if not is_loopback(host):
        return True
    name = urlsplit(f"//{request.host}").hostname or ""
    return is_loopback(name)


def _own_origin() -> bool:
    origin = request.headers.get("Origin")
    return request.method in ("GET", "HEAD") or origin is None or urlsplit(origin).netloc == request.host


def _allowed(token: str) -> bool:
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
    cookie = request.cookies.get(COOKIE, "")
    return hmac.compare_digest(bearer, token.encode()) or hmac.compare_digest(cookie.encode(), _proof(token).encode())


def _proof(token: str) -> str:
    """What the cookie holds: it shows knowledge of the token without being it."""
    return hmac.new(token.encode(), b"workbench cookie", hashlib.sha256).hexdigest()
