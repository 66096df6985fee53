"""create_app: the pages, the frame and the server's manners in one Dash app."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from dash import Dash, html, set_props
from flask import Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from hooks.discover import discover
from hooks.errors import WorkbenchError
from workbench import urls
from workbench.emptying import EmptyingDash
from workbench.figures import theme as themes
from workbench.pages.base import Page
from workbench.parts import frame
from workbench.parts.empty import problem

if TYPE_CHECKING:
    from workbench.workspace import Workspace

HOME = "/attention"
INDEX = """<!DOCTYPE html>
<html lang="en">
    <head>
        {%metas%}
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>{%title%}</title>
        {%favicon%}
        <link rel="stylesheet" href="/wb/theme.css">
        <link rel="stylesheet" href="/assets/wb.css">
        {%css%}
        <script src="/wb/data.js"></script>
        <script src="/assets/boot.js"></script>
        <script src="/assets/wb.js"></script>
    </head>
    <body>
        {%app_entry%}
        <footer>{%config%}{%scripts%}{%renderer%}</footer>
    </body>
</html>"""
BOOT = "window.wb = {{ramps: {ramps}, defaults: {defaults}}};\n"
log = logging.getLogger("workbench.app")


def create_app(workspace: Workspace, *, model: str = "") -> Dash:
    """The app over a workspace. model: what `/` opens, the default model when empty."""
    pages = discover("workbench.pages", "PAGE", Page)
    app = EmptyingDash(
        "workbench",
        assets_folder=str(workspace.settings.assets_dir),
        assets_path_ignore=["models"],
        assets_ignore=r"^(wb|boot|login)\.(js|css)$",
        suppress_callback_exceptions=True,
        title="Interpretability workbench",
        update_title="",
        index_string=INDEX,
        on_error=_notice,
    )
    app.layout = frame.layout(pages)
    frame.register(app, workspace, pages)
    for page in pages:
        page.register(app, workspace)
    _routes(app, model)
    return app


def _routes(app: Dash, model: str) -> None:
    defaults = urls.State().model_dump(mode="json")
    boot = BOOT.format(ramps=json.dumps(themes.ramps()), defaults=json.dumps(defaults))

    @app.server.before_request
    def home() -> AnyResponse | None:
        if request.path != "/":
            return None
        query = request.query_string.decode("ascii", "replace")
        search = f"?{query}" if query else urls.write(urls.State(model=model) if model else urls.State())
        return redirect(HOME + search)

    @app.server.get("/wb/theme.css")
    def theme_css() -> Response:
        return Response(themes.css(), mimetype="text/css")

    @app.server.get("/wb/data.js")
    def data_js() -> Response:
        return Response(boot, mimetype="text/javascript")


def _notice(error: Exception) -> None:
    """A callback failed: say so at the top of the page, where it stays until the page changes."""
    if isinstance(error, WorkbenchError):
        set_props("notice", {"children": problem(error, id="wb-notice")})
        return
    log.error("a callback failed", exc_info=error)
    words = {
        "message": f"something went wrong in the workbench ({type(error).__name__}).",
        "hint": "Reload the page; the log has the details.",
    }
    set_props("notice", {"children": html.Div(problem(words, id="wb-notice"))})
