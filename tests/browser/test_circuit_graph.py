"""The circuit graph by itself: picked by pointer and by keys, cut, zoomed, exported; text of others stays text."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Page, Route, expect

from workbench.parts.circuit_graph import drawn
from workbench.settings import Settings

pytestmark = pytest.mark.browser

SCRIPTS = sorted(path.name for path in Settings().assets_dir.glob("circuit_graph*.js"))
SHEETS = ("wb/theme.css", "assets/wb.css", "assets/circuit_graph.css")
ALONE = (
    '<!DOCTYPE html><meta charset="utf-8">'
    + "".join(f'<link rel="stylesheet" href="/{sheet}">' for sheet in SHEETS)
    + '<body><button>before</button><div class="cg"><div id="host" class="cg-host"></div></div>'
    + "".join(f'<script src="/assets/{script}"></script>' for script in SCRIPTS)
)
LISTEN = """() => { window.sent = []; for (const name of ["circuit-pick", "circuit-cut"])
  document.addEventListener(name, (event) => window.sent.push([event.target.id, name, event.detail])); }"""
HOSTILE = '<img src=x onerror=alert(1)>&"\x00'
SVG = "{http://www.w3.org/2000/svg}"
FIRST, EDGE = "L0.z[head=1]", {"source": "embed", "target": "L0.z[head=1]", "channel": "v"}


def data(key: str = "one") -> dict[str, Any]:
    edges = [{**EDGE, "score": 0.5}, {"source": FIRST, "target": "logits", "channel": "in", "score": -0.25}]
    nodes = ["embed", FIRST, "logits"]
    circuit = {"nodes": nodes, "edges": edges, "size": 2, "method": "eap"}
    lost = ("embed", "logits", "in")
    return drawn(circuit, roles={FIRST: HOSTILE}, groups={FIRST: HOSTILE}, pinned=[FIRST], marks={lost: "cut"}, key=key)


def show(page: Page, what: dict[str, Any]) -> None:
    page.evaluate("(data) => window.wbCircuitGraph.show('host', data)", what)


def picture(page: Page) -> ElementTree.Element:
    return ElementTree.fromstring(page.evaluate("window.wbCircuitGraph.svg('host')"))


def words(drawing: ElementTree.Element) -> dict[str, tuple[float, float]]:
    """Where each text of the picture stands."""
    return {
        text.text or "": (float(text.get("x", "")), float(text.get("y", ""))) for text in drawing.iter(f"{SVG}text")
    }


def sent(page: Page) -> list[Any]:
    return page.evaluate("window.sent.splice(0)")


def test_a_circuit_is_picked_cut_zoomed_and_exported_and_text_stays_text(page: Page, app_url: str) -> None:
    def alone(route: Route) -> None:
        route.fulfill(content_type="text/html", body=ALONE)

    page.route(f"{app_url}/graph-alone", alone)
    page.goto(f"{app_url}/graph-alone")
    page.evaluate(LISTEN)
    show(page, data())
    canvas, readout = page.locator("canvas"), page.locator(".cg-readout")
    expect(readout).to_have_text("3 nodes, 3 edges")
    expect(canvas).to_have_accessible_name(re.compile("^Circuit graph, 3 nodes, 3 edges"))

    # By pointer: a node, the edge below it, nothing.
    at = words(picture(page))
    head, bottom = at["0.1"], at["embedding"]
    canvas.click(position={"x": head[0], "y": head[1]})
    assert sent(page) == [["host", "circuit-pick", {"node": FIRST}]]
    expect(readout).to_contain_text("head 0.1 · 1 edge in, 1 out")
    expect(readout).to_contain_text(HOSTILE.replace("\x00", ""))
    canvas.click(position={"x": head[0], "y": (head[1] + bottom[1]) / 2})
    assert sent(page) == [["host", "circuit-pick", {"edge": EDGE}]]
    expect(page.locator(".cg-tip")).to_have_text("embedding → 0.1, heard as value\n+0.500")
    canvas.click(position={"x": head[0] + 200, "y": head[1]})
    assert sent(page) == [["host", "circuit-pick", {}]]

    # By keys: up one row, Enter; along the edges, Delete; Escape.
    page.get_by_text("before", exact=True).focus()
    page.keyboard.press("Tab")
    expect(canvas).to_be_focused()
    page.evaluate("window.wbCircuitGraph.select('host', {node: 'embed'})")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert sent(page) == [["host", "circuit-pick", {"node": FIRST}]]
    page.keyboard.press("Shift+ArrowRight")
    expect(readout).to_contain_text("embedding → 0.1, heard as value · +0.500")
    page.keyboard.press("Delete")
    assert sent(page) == [["host", "circuit-cut", {"edge": EDGE}]]
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert sent(page) == [["host", "circuit-pick", {}]]

    # Another version of the same graph keeps the view; another graph begins anew.
    page.keyboard.press("+")
    near = words(picture(page))
    assert near["0.1"][1] - near["layer 0"][1] == pytest.approx(0, abs=1)
    assert near["embedding"][1] - near["0.1"][1] > 1.4 * (bottom[1] - head[1])
    show(page, data())
    assert words(picture(page))["0.1"] == near["0.1"]
    show(page, data("another"))
    assert words(picture(page))["0.1"] == head

    # Exported and on the page, what others wrote is text; what XML cannot hold is replaced.
    drawing = picture(page)
    assert {part.tag for part in drawing.iter()} <= {f"{SVG}{tag}" for tag in ("svg", "title", "rect", "path", "text")}
    assert HOSTILE.replace("\x00", "\ufffd") in words(drawing)
    assert {"×", "cut", "positive score", "negative score"} <= set(words(drawing))
    assert page.locator("img").count() == 0
    expect(page.locator(".cg-legend")).to_contain_text(HOSTILE.replace("\x00", ""))
