// Nodes of the circuit graph, the hulls of their groups, and the signs on edges, drawn with a pen of circuit_graph_view.js.
window.wbCircuitGraph = window.wbCircuitGraph || {};
(function (graph) {
  "use strict";
  const LEGIBLE = 6.5;
  const SOLID = [];
  // Pixels between the middles of nodes that share a hull, at full size.
  const CLOSE = 110;
  const points = new Float64Array(8);
  graph.BADGES = { added: "+", cut: "×", only_a: "A", only_b: "B" };

  // What was done to an edge, as a sign at its middle; signs that would lie on one another are left out.
  graph.badges = function (g, view, pen, region) {
    const { scene } = g, taken = new Set();
    pen.font = `600 10px ${g.colour("sans")}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.setLineDash(SOLID);
    pen.globalAlpha = 1;
    for (let edge = 0; edge < scene.m; edge++) {
      const sign = graph.BADGES[scene.mark[edge]];
      if (!sign) continue;
      const p = graph.curve(g, view, edge, points);
      const x = (p[0] + 3 * p[2] + 3 * p[4] + p[6]) / 8, y = (p[1] + p[7]) / 2;
      const cell = `${Math.round(x / 15)} ${Math.round(y / 15)}`;
      if (taken.has(cell) || x < region.left || x > region.right || y < region.top || y > region.bottom) continue;
      taken.add(cell);
      const role = scene.mark[edge] === "cut" ? "bad" : "text";
      pen.beginPath();
      pen.arc(x, y, 6.5, 0, 2 * Math.PI);
      pen.fillStyle = g.colour("panel");
      pen.fill();
      pen.strokeStyle = g.colour(role);
      pen.lineWidth = 1;
      pen.stroke();
      pen.fillStyle = g.colour(role);
      pen.fillText(sign, x, y + 0.5);
    }
  };

  /* ---- Nodes ---- */
  const GROUNDS = { mlp: "special", embed: "sunken", pos: "sunken", logits: "sunken" };
  const EDGES = { mlp: "special-text", embed: "line-strong", pos: "line-strong", logits: "line-strong" };
  const box = (g, pen, node, more, round) => {
    const { view, scene } = g, half = scene.half[node] + more, high = view.high + 2 * more;
    pen.roundRect(graph.px(g, view, scene.x[node]) - half, graph.py(g, view, scene.row[node]) - high / 2, 2 * half, high, round);
  };
  const inside = (g, node) => {
    const x = graph.px(g, g.view, g.scene.x[node]), y = graph.py(g, g.view, g.scene.row[node]), half = g.scene.half[node];
    return x + half > 0 && x - half < g.width && y > -20 && y < g.height + 20;
  };

  // Soft hulls: nodes of a group that stand close side by side share one.
  graph.hulls = function (g, pen, alpha) {
    const { scene, view } = g;
    scene.groupNames.forEach((name, group) => {
      pen.globalAlpha = alpha;
      pen.fillStyle = g.colour(graph.category(group));
      pen.beginPath();
      for (const level of scene.levels) {
        for (let place = 0; place < level.length; place++) {
          const node = level[place], next = level[place + 1];
          if (scene.groups[node] !== group) continue;
          const joins = next !== undefined && scene.groups[next] === group && scene.row[next] === scene.row[node]
            && (scene.x[next] - scene.x[node]) * g.across * view.zoom < CLOSE * view.size;
          const left = graph.px(g, view, scene.x[node]) - scene.half[node] - 4, middle = graph.py(g, view, scene.row[node]);
          const right = joins ? graph.px(g, view, scene.x[next]) : graph.px(g, view, scene.x[node]) + scene.half[node] + 4;
          pen.roundRect(left, middle - view.high / 2 - 4, right - left, view.high + 8, 8);
        }
      }
      pen.fill("nonzero");
      pen.globalAlpha = 1;
    });
  };

  // The name of each group over its highest node, where there is room between rows; the legend has them all.
  graph.groupNames = function (g, pen) {
    const { scene, view } = g;
    if (g.up * view.zoom < view.high + 24) return;
    scene.groupNames.forEach((name, group) => {
      for (let level = scene.levels.length - 1; level >= 0; level--) {
        const node = scene.levels[level].find((one) => scene.groups[one] === group);
        if (node === undefined) continue;
        groupName(g, pen, name, node);
        return;
      }
    });
  };

  function groupName(g, pen, name, node) {
    const long = name.length * 6, left = graph.px(g, g.view, g.scene.x[node]) - g.scene.half[node] - 2;
    const x = Math.max(g.gutter + 4, Math.min(left, g.width - long - 4));
    const y = graph.py(g, g.view, g.scene.row[node]) - g.view.high / 2 - 12;
    pen.font = `11px ${g.colour("sans")}`;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    pen.lineWidth = 3;
    pen.strokeStyle = g.colour("panel");
    pen.strokeText(name, x, y);
    pen.fillStyle = g.colour("muted");
    pen.fillText(name, x, y);
  }
  graph.category = (group) => `category-${(group % 6) + 1}`;

  // Nodes for which lit[node] is `want`; all of them when `lit` is null. One path for all that look alike.
  graph.nodes = function (g, pen, lit, want) {
    const { scene, view } = g, round = 4 * view.size;
    pen.setLineDash(SOLID);
    for (const kind of ["head", "attn", "mlp", "embed", "pos", "logits"]) {
      let some = false;
      pen.beginPath();
      for (let node = 0; node < scene.n; node++) {
        if (scene.kinds[node] !== kind || (lit && lit[node] !== want) || !inside(g, node)) continue;
        some = true;
        box(g, pen, node, 0, kind === "mlp" ? 1 : round);
      }
      if (!some) continue;
      pen.fillStyle = g.colour(GROUNDS[kind] || "panel");
      pen.fill();
      pen.strokeStyle = g.colour(EDGES[kind] || "accent");
      pen.lineWidth = 1.2;
      pen.stroke();
    }
    pins(g, pen, lit, want);
    if (view.font >= LEGIBLE) labels(g, pen, lit, want);
  };

  // A pinned node has a filled corner.
  function pins(g, pen, lit, want) {
    const { scene, view } = g, size = Math.max(4, 7 * view.size);
    pen.fillStyle = g.colour("text");
    pen.beginPath();
    for (let node = 0; node < scene.n; node++) {
      if (!scene.pinned[node] || (lit && lit[node] !== want) || !inside(g, node)) continue;
      const x = graph.px(g, view, scene.x[node]) + scene.half[node] + 1, y = graph.py(g, view, scene.row[node]) - view.high / 2 - 1;
      pen.moveTo(x - size, y);
      pen.lineTo(x, y);
      pen.lineTo(x, y + size);
      pen.closePath();
    }
    pen.fill();
  }

  function labels(g, pen, lit, want) {
    const { scene, view } = g;
    pen.font = `${view.font.toFixed(2)}px ${g.colour("mono")}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillStyle = g.colour("text");
    for (let node = 0; node < scene.n; node++) {
      if ((lit && lit[node] !== want) || !inside(g, node)) continue;
      pen.fillText(scene.labels[node], graph.px(g, view, scene.x[node]), graph.py(g, view, scene.row[node]) + 0.5);
    }
  }

  graph.ring = function (g, pen, node, role, width, more, dash) {
    pen.setLineDash(dash || SOLID);
    pen.strokeStyle = g.colour(role);
    pen.lineWidth = width;
    pen.beginPath();
    box(g, pen, node, more, 5);
    pen.stroke();
    pen.setLineDash(SOLID);
  };
})(window.wbCircuitGraph);
