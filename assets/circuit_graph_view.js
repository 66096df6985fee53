// Where the circuit graph stands on the screen, what is under the pointer, and the curves of edges. A pen is a 2D
// canvas context, or the recorder of circuit_graph_svg.js.
window.wbCircuitGraph = window.wbCircuitGraph || {};
(function (graph) {
  "use strict";
  const NODE = { height: 20, padding: 7, font: 11, least: 0.3, most: 1.35 };
  const SOLID = [];
  const SIGNS = { "1": "positive", "-1": "negative", "0": "line-strong" };
  const REACH = 6, SAMPLES = 24;
  const MOST_ZOOM = 16, WIDEST_ROW = 120, WIDEST = 1100;
  const CHAR = 0.605;

  /* ---- The view: pixels of a place are x · across + left and bottom − row · up ---- */
  graph.measure = function (g, width, height) {
    const { scene } = g;
    g.width = width;
    g.height = height;
    g.narrow = width < 560;
    g.gutter = g.narrow ? 26 : 78;
    const rows = Math.max(scene.top - scene.bottom, 1);
    let gap = 1, widest = 3, longest = 3;
    for (const level of scene.levels) {
      for (let place = 0; place < level.length; place++) {
        const node = level[place], long = scene.labels[node].length, before = level[place - 1];
        longest = Math.max(longest, long);
        if (before === undefined || scene.row[node] !== scene.row[before]) continue;
        gap = Math.min(gap, scene.x[node] - scene.x[before]);
        widest = Math.max(widest, long);
      }
    }
    const side = Math.min(36, longest * 4 + 6);
    const free = Math.max(80, width - g.gutter - 2 * side);
    g.across = Math.min(free, WIDEST);
    g.up = Math.max(4, Math.min(WIDEST_ROW, (height - 56) / (rows + 0.6)));
    g.gap = gap * g.across;
    g.widest = widest;
    g.home = {
      zoom: 1,
      left: g.gutter + side + (free - g.across) / 2,
      bottom: height / 2 + ((scene.top + scene.bottom) / 2) * g.up,
    };
  };

  graph.sizes = function (g, view) {
    const roomy = Math.min((g.up * view.zoom) / 24, (g.gap * view.zoom) / (g.widest * NODE.font * CHAR + NODE.padding + 3));
    const size = Math.max(NODE.least, Math.min(NODE.most, roomy));
    view.high = NODE.height * size;
    view.font = NODE.font * size;
    view.size = size;
    for (let node = 0; node < g.scene.n; node++) {
      g.scene.half[node] = Math.max(5, (g.scene.labels[node].length * NODE.font * CHAR + NODE.padding) * size) / 2;
    }
  };

  graph.px = (g, view, x) => view.left + x * g.across * view.zoom;
  graph.py = (g, view, row) => view.bottom - row * g.up * view.zoom;

  // The same place stays under (x, y); the graph never leaves the window wholly.
  graph.zoomAt = function (g, factor, x, y) {
    const { view } = g, zoom = Math.max(1, Math.min(MOST_ZOOM, view.zoom * factor)), change = zoom / view.zoom;
    view.left = x + (view.left - x) * change;
    view.bottom = y + (view.bottom - y) * change;
    view.zoom = zoom;
    graph.hold(g);
  };

  // Where the graph fits it stays in the middle as it is; else no side may come farther in than a third of the window.
  graph.hold = function (g) {
    const { view, home } = g, slack = 0.35;
    const between = (value, one, other) => Math.max(Math.min(one, other), Math.min(Math.max(one, other), value));
    if (view.zoom < 1.0005) {
      view.left = home.left;
      view.bottom = home.bottom;
      return;
    }
    const wide = g.across * view.zoom, high = (g.scene.top - g.scene.bottom) * g.up * view.zoom;
    const right = g.width - (g.width - g.gutter) * slack - g.gutter, left = g.gutter + (g.width - g.gutter) * slack;
    view.left = between(view.left, right - wide, left);
    const low = g.scene.bottom * g.up * view.zoom;
    view.bottom = between(view.bottom - low, g.height * (1 - slack), g.height * slack + high) + low;
  };

  /* ---- Edges ---- */
  // The four points of an edge's curve on the screen, into `to`.
  graph.curve = function (g, view, edge, to) {
    const { scene } = g, source = scene.source[edge], target = scene.target[edge];
    const wide = g.across * view.zoom, rise = g.up * view.zoom;
    const aside = scene.aside[edge] * Math.min(0.008 * wide, 0.5 * scene.half[target]);
    const bow = (scene.bow[edge] * wide * 4) / 3;
    to[0] = view.left + scene.x[source] * wide;
    to[1] = view.bottom - scene.row[source] * rise;
    to[6] = view.left + scene.x[target] * wide + aside;
    to[7] = view.bottom - scene.row[target] * rise;
    const third = (to[7] - to[1]) / 3;
    to[2] = to[0] + bow;
    to[3] = to[1] + third;
    to[4] = to[6] + bow;
    to[5] = to[7] - third;
    return to;
  };
  const points = new Float64Array(8);

  // Short straight pieces: without a graphics card, half the cost of the curve that they follow.
  function trace(pen, p) {
    const long = Math.abs(p[6] - p[0]) + Math.abs(p[7] - p[1]) + 2 * Math.abs(p[2] - p[0]);
    const pieces = Math.max(4, Math.min(48, Math.ceil(long / 24)));
    pen.moveTo(p[0], p[1]);
    for (let piece = 1; piece < pieces; piece++) {
      const t = piece / pieces, u = 1 - t, a = u * u * u, b = 3 * u * u * t, c = 3 * u * t * t, d = t * t * t;
      pen.lineTo(a * p[0] + b * p[2] + c * p[4] + d * p[6], a * p[1] + b * p[3] + c * p[5] + d * p[7]);
    }
    pen.lineTo(p[6], p[7]);
  }

  // Dots for queries, dashes for keys, longer on wide lines.
  graph.dashOf = function (channel, width) {
    if (channel === "q") return [Math.max(1.5, width), 2 + 1.2 * width];
    return channel === "k" ? [4 + 1.5 * width, 2.5 + width] : SOLID;
  };

  graph.strokeStyle = function (g, pen, bucket) {
    pen.strokeStyle = g.colour(SIGNS[bucket.sign]);
    pen.lineWidth = bucket.width;
    pen.setLineDash(bucket.dash);
  };

  // Some of a bucket's edges as one path, those outside `region` left out.
  graph.strokeEdges = function (g, view, pen, edges, from, to, region) {
    pen.beginPath();
    for (let place = from; place < to; place++) {
      const p = graph.curve(g, view, edges[place], points);
      if (Math.max(p[0], p[2], p[4], p[6]) < region.left || Math.min(p[0], p[2], p[4], p[6]) > region.right) continue;
      if (p[1] < region.top || p[7] > region.bottom) continue;
      trace(pen, p);
    }
    pen.stroke();
  };

  // One edge by itself, wider than it lies in the picture.
  graph.strokeOne = function (g, pen, edge, alpha, more) {
    const p = graph.curve(g, g.view, edge, points);
    pen.globalAlpha = alpha;
    pen.strokeStyle = g.colour(SIGNS[g.scene.sign[edge]]);
    pen.lineWidth = g.scene.width[edge] + more;
    pen.setLineDash(g.scene.dash[edge]);
    pen.beginPath();
    trace(pen, p);
    pen.stroke();
    pen.setLineDash(SOLID);
    pen.globalAlpha = 1;
  };

  /* ---- Under the pointer ---- */
  graph.nodeUnder = function (g, x, y, slack) {
    const { scene, view } = g;
    for (let node = scene.n - 1; node >= 0; node--) {
      const aside = Math.abs(graph.px(g, view, scene.x[node]) - x), off = Math.abs(graph.py(g, view, scene.row[node]) - y);
      if (aside <= scene.half[node] + slack && off <= view.high / 2 + slack) return node;
    }
    return -1;
  };

  const found = { edge: -1, far: 0, x: 0, y: 0, g: null };
  function nearer(edge) {
    const p = graph.curve(found.g, found.g.view, edge, points);
    let lastX = p[0], lastY = p[1];
    for (let step = 1; step <= SAMPLES; step++) {
      const t = step / SAMPLES, u = 1 - t, a = u * u * u, b = 3 * u * u * t, c = 3 * u * t * t, d = t * t * t;
      const x = a * p[0] + b * p[2] + c * p[4] + d * p[6], y = a * p[1] + b * p[3] + c * p[5] + d * p[7];
      const dx = x - lastX, dy = y - lastY, long = dx * dx + dy * dy || 1;
      const share = Math.max(0, Math.min(1, ((found.x - lastX) * dx + (found.y - lastY) * dy) / long));
      const far = Math.hypot(lastX + share * dx - found.x, lastY + share * dy - found.y) - found.g.scene.width[edge] / 2;
      if (far < found.far) { found.far = far; found.edge = edge; }
      lastX = x;
      lastY = y;
    }
  }

  graph.edgeUnder = function (g, x, y, slack) {
    const wide = g.across * g.view.zoom, rise = g.up * g.view.zoom, reach = REACH + slack;
    Object.assign(found, { edge: -1, far: reach, x, y, g });
    graph.near(g.scene, (x - g.view.left) / wide, (g.view.bottom - y) / rise, (reach + 10) / wide, reach / rise, nearer);
    return found.edge;
  };
})(window.wbCircuitGraph);
