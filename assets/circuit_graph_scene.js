// The circuit graph as numbers: nodes in their places, edges grouped by how they look, who is joined to whom, and bins
// in which the pointer finds an edge. x runs from 0 to 1, rows upwards; pixels are a matter of circuit_graph_view.js.
window.wbCircuitGraph = window.wbCircuitGraph || {};
(function (graph) {
  "use strict";
  const WIDTHS = [0.6, 1.2, 2.2, 3.6, 5.5];
  const ALPHAS = [0.4, 0.55, 0.7, 0.8, 0.9];
  const CHANNELS = ["v", "in", "q", "k"];
  // Heads hear q, k and v side by side.
  const ASIDE = { q: -1, v: 1 };
  const NEAR = 0.02, BOW = 0.1;
  const COLUMNS = 64, LEFT = -0.15, SPAN = 1.3, PER_ROW = 2;

  const at = (list, place, fallback) => (list && list[place] !== null && list[place] !== undefined ? list[place] : fallback);
  graph.edgeKey = (edge) => JSON.stringify([edge.source, edge.target, edge.channel]);

  // What `show` is given, laid out for drawing; missing and null entries are allowed.
  graph.scene = function (data) {
    const nodes = (data && data.nodes) || {}, edges = (data && data.edges) || {};
    const n = (nodes.id || []).length;
    const scene = {
      key: (data && data.key) || "", total: (data && data.total) || null, rows: (data && data.rows) || [], n,
      ids: nodes.id || [], x: new Float64Array(n), row: new Float64Array(n), half: new Float64Array(n),
      labels: [], kinds: [], roles: [], groups: [], pinned: [], nodeScore: [], groupNames: [],
    };
    for (let node = 0; node < n; node++) {
      scene.x[node] = at(nodes.x, node, 0.5);
      scene.row[node] = at(nodes.row, node, 0);
      scene.labels.push(String(at(nodes.label, node, scene.ids[node])));
      scene.kinds.push(at(nodes.kind, node, "head"));
      scene.roles.push(String(at(nodes.role, node, "")));
      scene.pinned.push(Boolean(at(nodes.pinned, node, false)));
      scene.nodeScore.push(at(nodes.score, node, null));
      scene.groups.push(groupOf(scene, at(nodes.group, node, "")));
    }
    scene.index = new Map(scene.ids.map((id, node) => [id, node]));
    scene.bottom = n ? Math.min(...scene.row) : 0;
    scene.top = n ? Math.max(...scene.row) : 1;
    scene.levels = levels(scene);
    readEdges(scene, edges);
    scene.buckets = buckets(scene);
    joined(scene);
    scene.bins = bins(scene);
    return scene;
  };

  function groupOf(scene, name) {
    if (!name) return -1;
    if (!scene.groupNames.includes(String(name))) scene.groupNames.push(String(name));
    return scene.groupNames.indexOf(String(name));
  }

  // Nodes by layer (an MLP half a row up belongs to the layer below it), each from left to right: what arrows walk.
  function levels(scene) {
    const found = new Map();
    for (let node = 0; node < scene.n; node++) {
      const level = Math.floor(scene.row[node] + 0.01);
      if (!found.has(level)) found.set(level, []);
      found.get(level).push(node);
    }
    const sorted = [...found.entries()].sort((one, other) => one[0] - other[0]).map((entry) => entry[1]);
    for (const level of sorted) level.sort((one, other) => scene.x[one] - scene.x[other]);
    return sorted;
  }

  // Edges whose ends are not among the nodes are left out.
  function readEdges(scene, edges) {
    const kept = [], count = (edges.source || []).length;
    for (let edge = 0; edge < count; edge++) {
      const source = at(edges.source, edge, -1), target = at(edges.target, edge, -1);
      if (source >= 0 && source < scene.n && target >= 0 && target < scene.n) kept.push(edge);
    }
    scene.m = kept.length;
    scene.source = Int32Array.from(kept, (edge) => edges.source[edge]);
    scene.target = Int32Array.from(kept, (edge) => edges.target[edge]);
    scene.channel = kept.map((edge) => at(edges.channel, edge, "in"));
    scene.score = Float64Array.from(kept, (edge) => at(edges.score, edge, NaN));
    scene.mark = kept.map((edge) => at(edges.mark, edge, ""));
    scene.aside = Float64Array.from(scene.channel, (channel) => ASIDE[channel] || 0);
    scene.bow = new Float64Array(scene.m);
    scene.edgeIndex = new Map();
    for (let edge = 0; edge < scene.m; edge++) {
      const source = scene.source[edge], target = scene.target[edge];
      const up = scene.row[target] - scene.row[source];
      // A straight line would run through the nodes between the two.
      if (Math.abs(scene.x[target] - scene.x[source]) < NEAR && up > 1) scene.bow[edge] = -BOW * Math.min(1, up / 6);
      scene.edgeIndex.set(graph.edgeKey(graph.edgeAt(scene, edge)), edge);
    }
  }

  graph.edgeAt = (scene, edge) => ({
    source: scene.ids[scene.source[edge]], target: scene.ids[scene.target[edge]], channel: scene.channel[edge],
  });

  // Edges that look alike, thin ones first, so that strong ones lie on top: one path each.
  function buckets(scene) {
    let most = 0;
    for (const score of scene.score) most = Math.max(most, Math.abs(score) || 0);
    const found = new Map();
    scene.width = new Float64Array(scene.m);
    scene.sign = new Int8Array(scene.m);
    scene.dash = [];
    for (let edge = 0; edge < scene.m; edge++) {
      const score = scene.score[edge] || 0;
      const share = most ? Math.abs(score) / most : 0;
      const step = most ? Math.min(WIDTHS.length - 1, Math.floor(Math.sqrt(share) * WIDTHS.length)) : 1;
      const faint = scene.mark[edge] === "cut";
      scene.width[edge] = WIDTHS[step];
      scene.sign[edge] = Math.sign(score);
      const key = `${faint ? 0 : 1}${step} ${CHANNELS.indexOf(scene.channel[edge])} ${scene.sign[edge]}`;
      if (!found.has(key)) {
        found.set(key, { key, sign: scene.sign[edge], channel: scene.channel[edge], width: WIDTHS[step], alpha: faint ? 0.3 : ALPHAS[step], dash: graph.dashOf(scene.channel[edge], WIDTHS[step]), edges: [] });
      }
      scene.dash[edge] = found.get(key).dash;
      found.get(key).edges.push(edge);
    }
    return [...found.values()].sort((one, other) => (one.key < other.key ? -1 : 1));
  }

  // Edges into and out of each node: those of node i are edges[start[i]] … edges[start[i + 1] − 1].
  function joined(scene) {
    for (const [name, ends] of [["into", scene.target], ["out", scene.source]]) {
      const start = new Int32Array(scene.n + 1), edges = new Int32Array(scene.m);
      for (const node of ends) start[node + 1]++;
      for (let node = 0; node < scene.n; node++) start[node + 1] += start[node];
      const next = start.slice();
      for (let edge = 0; edge < scene.m; edge++) edges[next[ends[edge]]++] = edge;
      scene[name] = { start, edges };
    }
  }

  // Sideways place along an edge at share t of its way up.
  graph.alongX = function (scene, edge, t) {
    const from = scene.x[scene.source[edge]], to = scene.x[scene.target[edge]];
    return from + (to - from) * t * t * (3 - 2 * t) + 4 * t * (1 - t) * scene.bow[edge];
  };

  const column = (x) => Math.max(0, Math.min(COLUMNS - 1, Math.floor(((x - LEFT) / SPAN) * COLUMNS)));

  function bins(scene) {
    const high = Math.max(1, Math.ceil((scene.top - scene.bottom) * PER_ROW) + 1);
    const count = new Int32Array(COLUMNS * high + 1);
    const visit = (each) => {
      for (let edge = 0; edge < scene.m; edge++) {
        const y0 = scene.row[scene.source[edge]] - scene.bottom, y1 = scene.row[scene.target[edge]] - scene.bottom;
        const steps = Math.max(1, Math.ceil(Math.abs(y1 - y0) * PER_ROW));
        for (let step = 0; step < steps; step++) {
          const t0 = step / steps, t1 = (step + 1) / steps;
          const line = Math.max(0, Math.min(high - 1, Math.floor((y0 + ((y1 - y0) * (t0 + t1)) / 2) * PER_ROW)));
          const one = column(graph.alongX(scene, edge, t0)), other = column(graph.alongX(scene, edge, t1));
          for (let c = Math.min(one, other); c <= Math.max(one, other); c++) each(line * COLUMNS + c, edge);
        }
      }
    };
    visit((cell) => { count[cell + 1]++; });
    for (let cell = 0; cell < COLUMNS * high; cell++) count[cell + 1] += count[cell];
    const edges = new Int32Array(count[COLUMNS * high]), next = count.slice();
    visit((cell, edge) => { edges[next[cell]++] = edge; });
    return { start: count, edges, high };
  }

  // Calls each(edge) for edges near a place, within `aside` sideways and `up` rows; an edge may come more than once.
  graph.near = function (scene, x, row, aside, up, each) {
    const { start, edges, high } = scene.bins;
    const first = Math.max(0, Math.floor((row - scene.bottom - up) * PER_ROW));
    const last = Math.min(high - 1, Math.floor((row - scene.bottom + up) * PER_ROW));
    for (let line = first; line <= last; line++) {
      for (let c = column(x - aside); c <= column(x + aside); c++) {
        const cell = line * COLUMNS + c;
        for (let place = start[cell]; place < start[cell + 1]; place++) each(edges[place]);
      }
    }
  };
})(window.wbCircuitGraph);
