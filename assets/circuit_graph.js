// The circuit graph of the Circuits page. show(host, data), select(host, what), fit(host), svg(host); the host element
// sends circuit-pick and circuit-cut. Nodes and edges as numbers: circuit_graph_scene.js; the screen: _view, _nodes,
// _paint; pointer and keys: _hands; words: _words.
window.wbCircuitGraph = window.wbCircuitGraph || {};
(function (graph) {
  "use strict";
  const graphs = new Map();
  const NOTHING = () => ({ node: -1, edge: -1 });
  const SPOKEN = "Arrow keys move from node to node, Shift with left and right along a node’s edges, Enter picks, Escape clears, Delete cuts, plus, minus and 0 zoom.";

  const make = (tag, name, parent) => {
    const made = document.createElement(tag);
    made.className = name;
    parent.append(made);
    return made;
  };

  function build(id, host) {
    const g = {
      id, host, scene: graph.scene(null), layers: graph.layers(), lit: new Uint8Array(0), palette: {}, asked: false, keys: false,
      view: { zoom: 1, left: 0, bottom: 0, high: 20, font: 11, size: 1 }, home: { zoom: 1, left: 0, bottom: 0 },
      hover: NOTHING(), cursor: NOTHING(), picked: NOTHING(), wantedX: null, moved: 0, width: 0, height: 0, ratio: 1,
    };
    const stage = make("div", "cg-stage", host);
    g.canvas = make("canvas", "cg-canvas", stage);
    g.empty = make("p", "cg-empty", stage);
    g.legend = make("div", "cg-legend", host);
    g.readout = make("p", "cg-readout", host);
    g.tip = make("div", "cg-tip", host);
    g.tip.hidden = true;
    g.tip.setAttribute("aria-hidden", "true");
    g.readout.setAttribute("role", "status");
    g.canvas.tabIndex = 0;
    g.canvas.setAttribute("role", "application");
    g.canvas.setAttribute("aria-roledescription", "circuit graph");
    g.canvas.setAttribute("aria-details", `${id}-text`);
    g.pen = g.canvas.getContext("2d");
    g.colour = (role) => (g.palette[role] ??= getComputedStyle(host).getPropertyValue(`--wb-${role}`).trim());
    g.frame = (now) => {
      g.asked = false;
      if (g.width) graph.draw(g, now);
    };
    g.lay = (pen) => graph.lay(g, pen);
    graph.hands(g);
    g.watch = new ResizeObserver(() => resize(g));
    g.watch.observe(stage);
    return g;
  }

  // The canvas takes the size of its place, in the pixels of the screen.
  function sized(g) {
    const { clientWidth: width, clientHeight: height } = g.canvas.parentElement, ratio = window.devicePixelRatio || 1;
    const wide = Math.round(width * ratio), high = Math.round(height * ratio);
    g.ratio = ratio;
    if (!width || !height) return false;
    if (g.canvas.width !== wide) g.canvas.width = wide;
    if (g.canvas.height !== high) g.canvas.height = high;
    return true;
  }

  function resize(g) {
    const { clientWidth: width, clientHeight: height } = g.canvas.parentElement;
    if ((width === g.width && height === g.height && window.devicePixelRatio === g.ratio) || !sized(g)) return;
    arrange(g, width, height);
    // A canvas that was given a size is empty until it is drawn.
    graph.draw(g, performance.now());
  }

  // The same part of the graph stays in the middle of the window.
  function arrange(g, width, height) {
    const { view } = g, known = g.width > 0;
    const x = known ? (g.width / 2 - view.left) / (g.across * view.zoom) : 0;
    const row = known ? (view.bottom - g.height / 2) / (g.up * view.zoom) : 0;
    graph.measure(g, width, height);
    if (known) {
      view.left = width / 2 - x * g.across * view.zoom;
      view.bottom = height / 2 + row * g.up * view.zoom;
      graph.hold(g);
    } else Object.assign(view, g.home);
    g.layers.valid = false;
  }

  function held(id) {
    const host = document.getElementById(id), before = graphs.get(id);
    if (!host) return null;
    if (before && before.host === host) return before;
    const g = build(id, host);
    if (before) {
      before.watch.disconnect();
      g.before = { key: before.scene.key, zoom: before.view.zoom, x: (before.width / 2 - before.view.left) / (before.across * before.view.zoom || 1), row: (before.view.bottom - before.height / 2) / (before.up * before.view.zoom || 1), picked: graph.pickedNames(before) };
    }
    graphs.set(id, g);
    return g;
  }

  graph.pickedNames = function (g, picked = g.picked) {
    if (picked.edge >= 0) return { edge: graph.edgeAt(g.scene, picked.edge) };
    return picked.node >= 0 ? { node: g.scene.ids[picked.node] } : {};
  };
  const placed = (scene, what) => ({
    node: what && what.node ? scene.index.get(what.node) ?? -1 : -1,
    edge: what && what.edge ? scene.edgeIndex.get(graph.edgeKey(what.edge)) ?? -1 : -1,
  });

  graph.show = function (id, data) {
    const g = held(id);
    if (!g) return;
    const scene = graph.scene(data), before = g.before || { key: g.scene.key, picked: graph.pickedNames(g) };
    const kept = before.key === scene.key && (g.before || g.scene.n > 0), cursor = graph.pickedNames(g, g.cursor);
    g.scene = scene;
    g.lit = new Uint8Array(scene.n);
    g.hover = NOTHING();
    g.cursor = kept ? placed(scene, cursor) : NOTHING();
    g.picked = kept ? placed(scene, before.picked) : NOTHING();
    const { clientWidth: width, clientHeight: height } = g.canvas.parentElement;
    if (!kept) g.width = 0;
    if (g.before && kept && width) {
      graph.measure(g, width, height);
      g.view.zoom = g.before.zoom;
      g.view.left = width / 2 - g.before.x * g.across * g.view.zoom;
      g.view.bottom = height / 2 + g.before.row * g.up * g.view.zoom;
      graph.hold(g);
    }
    g.before = null;
    if (sized(g)) arrange(g, width, height);
    say(g);
    graph.touch(g);
    graph.invalidate(g);
  };

  function say(g) {
    const { scene } = g;
    g.empty.textContent = scene.n ? "" : "No circuit yet.";
    const counts = `${graph.counted(scene.n, "node")}, ${graph.counted(scene.m, "edge")}`;
    g.canvas.setAttribute("aria-label", scene.n ? `Circuit graph, ${counts}. ${SPOKEN}` : "Circuit graph, empty.");
    graph.writeLegend(g);
    graph.readout(g);
    graph.tipOf(g, null);
  }

  graph.select = function (id, what) {
    const g = held(id);
    if (!g) return;
    g.picked = placed(g.scene, what);
    if (g.picked.node >= 0) g.cursor = { node: g.picked.node, edge: -1 };
    graph.readout(g);
    graph.invalidate(g);
  };

  graph.fit = function (id) {
    const g = held(id);
    if (g) graph.home(g);
  };

  graph.zoom = function (id, factor) {
    const g = held(id);
    if (g) graph.glide(g, factor, (g.width + g.gutter) / 2, g.height / 2);
  };

  // The picture as drawn, with its legend: text is text, colours are those of the theme.
  graph.svg = function (id) {
    const g = held(id);
    if (!g || !g.width || !g.scene.n) return "";
    const lines = graph.legendLines(g), high = g.height + 20 * lines.length + 8;
    const window_ = { left: 0, top: 0, right: g.width, bottom: g.height };
    const edges = (pen, alpha) => {
      for (const bucket of g.scene.buckets) {
        graph.strokeStyle(g, pen, bucket);
        pen.globalAlpha = bucket.alpha * alpha;
        graph.strokeEdges(g, g.view, pen, bucket.edges, 0, bucket.edges.length, window_);
      }
      graph.badges(g, g.view, pen, window_);
    };
    return graph.recorded(g.width, high, g.colour("panel"), g.canvas.getAttribute("aria-label").split(". ")[0], (pen) => {
      graph.picture(g, pen, edges);
      graph.drawLegend(g, pen, lines);
    });
  };

  graph.send = function (g, name, detail) {
    g.host.dispatchEvent(new CustomEvent(name, { bubbles: true, detail }));
  };

  window.addEventListener("wb-theme", () => {
    for (const g of graphs.values()) {
      if (!g.host.isConnected) continue;
      g.palette = {};
      g.layers.valid = false;
      graph.invalidate(g);
    }
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("[data-cg-zoom]");
    if (!button) return;
    const id = button.dataset.cgHost;
    if (button.dataset.cgZoom === "fit") graph.fit(id);
    else graph.zoom(id, button.dataset.cgZoom === "in" ? 1.5 : 1 / 1.5);
  });
})(window.wbCircuitGraph);
