"""How fast the circuit graph is in headless Chromium; prints JSON.

A page with the asset alone and a random circuit of SmolLM2's shape (30 layers of 9 heads and an MLP). drawn_ms: from
data to a drawn picture. dragging, zooming, hovering: frames per second from the intervals of requestAnimationFrame,
the median and the slowest 5 %. cpu_ms: processor time of all of the browser's processes, which other work on the
machine sways less. load: of the machine in the last minute, before the run.

Usage: python bench/graph.py [--edges N] [--frames N] [--width PIXELS] [--picture FILE.png]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, Route, sync_playwright

from analyses.circuit import Graph
from hooks.info import StackInfo
from workbench.figures import theme
from workbench.parts.circuit_graph import drawn

ASSETS = Path(__file__).resolve().parents[1] / "assets"
SCRIPTS = sorted(path.name for path in ASSETS.glob("circuit_graph*.js"))
SHEETS = ("theme.css", "wb.css", "circuit_graph.css")
ADDRESS = "http://graph.bench/"
BODY = '<div class="wb-panel" style="margin:16px"><div class="cg"><div id="host" class="cg-host"></div></div></div>'
SHAPE = {"n_layers": 30, "n_heads": 9, "n_kv_heads": 3, "d_model": 576, "d_head": 64, "d_mlp": 1536, "norm": "pre",
         "norm_kind": "RMSNorm", "positions": "rotary", "gated": True, "windows": (None,) * 30,
         "parallel": False}  # fmt: skip
SHOW = """async (data) => {
  await new Promise(requestAnimationFrame);
  const started = performance.now();
  wbCircuitGraph.show("host", data);
  await new Promise(requestAnimationFrame);
  await new Promise((done) => setTimeout(done, 0));
  document.querySelector("canvas").getContext("2d").getImageData(0, 0, 1, 1);
  return performance.now() - started;
}"""
FRAMES = """([what, count]) => new Promise((done) => {
  const canvas = document.querySelector("canvas"), box = canvas.getBoundingClientRect();
  const x = box.x + box.width / 2, y = box.y + box.height / 2;
  const point = (name, clientX, clientY) =>
    canvas.dispatchEvent(new PointerEvent(name, { clientX, clientY, pointerId: 1, button: 0, bubbles: true }));
  const wheel = (deltaY) =>
    canvas.dispatchEvent(new WheelEvent("wheel", { deltaY, clientX: x, clientY: y, bubbles: true, cancelable: true }));
  canvas.setPointerCapture = () => {};
  const act = {
    dragging: (turn) => point("pointermove", x + 260 * Math.sin(turn / 14), y + 160 * Math.cos(turn / 19)),
    zooming: (turn) => wheel(turn % 80 < 40 ? -20 : 20),
    hovering: (turn) =>
      point("pointermove", box.x + 90 + ((turn * 37) % (box.width - 120)), box.y + 20 + ((turn * 23) % 600)),
  }[what];
  const intervals = [];
  let frame = 0, last = 0;
  if (what === "dragging") point("pointerdown", x, y);
  const step = (now) => {
    if (frame > 0) intervals.push(now - last);
    last = now;
    if (frame++ < count) { act(frame); requestAnimationFrame(step); return; }
    if (what === "dragging") point("pointerup", x, y);
    done(intervals);
  };
  requestAnimationFrame(step);
})"""


def circuit(edges: int) -> dict[str, Any]:
    """Random edges of the whole graph, heavy-tailed scores of either sign."""
    graph, rng = Graph(StackInfo(**SHAPE)), np.random.default_rng(0)
    scores = rng.standard_t(3, size=graph.allowed.shape) * graph.allowed
    return graph.circuit(graph.top(scores, edges), "eap", scores).model_dump(mode="json")


def serve(route: Route) -> None:
    name = route.request.url.removeprefix(ADDRESS).split("?")[0]
    if name == "theme.css":
        return route.fulfill(content_type="text/css", body=theme.css())
    if name:
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        return route.fulfill(content_type=kind, body=(ASSETS / name).read_text("utf-8"))
    links = "".join(f'<link rel="stylesheet" href="{sheet}">' for sheet in SHEETS)
    scripts = "".join(f'<script src="{script}"></script>' for script in SCRIPTS)
    page = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{links}</head><body>{BODY}{scripts}</body></html>'
    )
    return route.fulfill(content_type="text/html", body=page)


def rates(intervals: list[float]) -> dict[str, float]:
    """Frames per second: the median, and what 95 % of the frames reach."""
    return {"median": round(1000 / float(np.median(intervals)), 1),
            "p5": round(1000 / float(np.percentile(intervals, 95)), 1)}  # fmt: skip


def busy(pids: list[int]) -> float:
    """Processor time of the browser's processes so far, ms."""
    ticks = 0
    for pid in pids:
        ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def children(parent: int) -> list[int]:
    """The processes that a process started, and theirs."""
    listed = [Path(task, "children").read_text().split() for task in Path(f"/proc/{parent}/task").iterdir()]
    found = [int(pid) for pids in listed for pid in pids]
    return [pid for child in found for pid in (child, *children(child))]


def measure(page: Page, data: dict[str, Any], frames: int) -> dict[str, Any]:
    pids = children(os.getpid())
    started = busy(pids)
    report: dict[str, Any] = {"drawn_ms": round(page.evaluate(SHOW, data))}
    report["drawn_cpu_ms"] = round(busy(pids) - started)
    for what in ("hovering", "zooming", "dragging"):
        if what == "dragging":
            page.evaluate("wbCircuitGraph.zoom('host', 2.5)")
            page.wait_for_timeout(500)
        started = busy(pids)
        report[what] = rates(page.evaluate(FRAMES, [what, frames]))
        report[what]["cpu_ms_per_frame"] = round((busy(pids) - started) / frames, 1)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, default=2000)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--width", type=int, default=1440)
    parser.add_argument("--picture", help="also write a screenshot here")
    given = parser.parse_args()
    load, data = os.getloadavg()[0], drawn(circuit(given.edges))
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": given.width, "height": 900})
        page.route(f"{ADDRESS}**", serve)
        page.goto(ADDRESS)
        report = measure(page, data, given.frames)
        if given.picture:
            page.evaluate("wbCircuitGraph.fit('host')")
            page.wait_for_timeout(600)
            page.screenshot(path=given.picture)
        browser.close()
    sizes = {"edges": len(data["edges"]["source"]), "nodes": len(data["nodes"]["id"]), "load": round(load, 1)}
    print(json.dumps({**sizes, **report}))


if __name__ == "__main__":
    main()
