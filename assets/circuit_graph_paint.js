// One frame of the circuit graph. All edges lie in a bitmap a little larger than the window, which is moved and stretched
// while the view changes and drawn anew, a few hundred edges a frame, once it has come to rest or does not reach.
window.wbCircuitGraph = window.wbCircuitGraph || {};
(function (graph) {
  "use strict";
  const MARGIN = 0.25, REST = 110, MOST_RATIO = 2, DIM = 0.12;
  // Edges drawn anew in a frame, ms of a frame that is late. A late frame halves what the next one draws.
  const PER_FRAME = { least: 12, moving: 60, resting: 160 }, LATE = 25;
  const SOLID = [];

  graph.invalidate = function (g) {
    if (g.asked) return;
    g.asked = true;
    requestAnimationFrame(g.frame);
  };

  const same = (one, other) => one.zoom === other.zoom && one.left === other.left && one.bottom === other.bottom;

  /* ---- The bitmap of edges ---- */
  graph.layers = () => ({ shown: layer(), next: layer(), valid: false, job: null, count: PER_FRAME.moving, drawn: 0 });
  const layer = () => ({
    canvas: document.createElement("canvas"), view: { zoom: 1, left: 0, bottom: 0 },
    region: { left: 0, top: 0, right: 0, bottom: 0 }, ratio: 1,
  });

  function begin(g, into) {
    const aside = g.width * MARGIN, over = g.height * MARGIN, { region, canvas } = into;
    into.ratio = Math.min(MOST_RATIO, g.ratio);
    Object.assign(into.view, g.view);
    Object.assign(region, { left: -aside, top: -over, right: g.width + aside, bottom: g.height + over });
    const wide = Math.round((region.right - region.left) * into.ratio), high = Math.round((region.bottom - region.top) * into.ratio);
    if (canvas.width !== wide || canvas.height !== high) {
      canvas.width = wide;
      canvas.height = high;
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, wide, high);
    pen.setTransform(into.ratio, 0, 0, into.ratio, aside * into.ratio, over * into.ratio);
    return { into, pen, bucket: 0, place: 0 };
  }

  // Draws at most `count` more edges of a job; true when it is done.
  function proceed(g, job, count) {
    const { buckets } = g.scene;
    let left = count;
    while (job.bucket < buckets.length && left > 0) {
      const bucket = buckets[job.bucket], to = Math.min(bucket.edges.length, job.place + left);
      job.pen.globalAlpha = bucket.alpha;
      graph.strokeStyle(g, job.pen, bucket);
      graph.strokeEdges(g, job.into.view, job.pen, bucket.edges, job.place, to, job.into.region);
      left -= to - job.place;
      job.place = to;
      if (to === bucket.edges.length) { job.bucket++; job.place = 0; }
    }
    if (job.bucket < buckets.length) return false;
    graph.badges(g, job.into.view, job.pen, job.into.region);
    return true;
  }

  function drawLayer(g, now) {
    const { layers } = g;
    if (!layers.valid) {
      layers.job = null;
      proceed(g, begin(g, layers.shown), Infinity);
      layers.valid = true;
      return;
    }
    if (layers.job === null) {
      if (same(layers.shown.view, g.view)) return;
      if (now - g.moved < REST && reaches(g, layers.shown)) return;
      layers.job = begin(g, layers.next);
    }
    if (!proceed(g, layers.job, budget(g, now))) return;
    layers.job = null;
    [layers.shown, layers.next] = [layers.next, layers.shown];
  }

  function budget(g, now) {
    const most = now - g.moved < REST ? PER_FRAME.moving : PER_FRAME.resting, { layers } = g;
    layers.count = now - layers.drawn > LATE ? layers.count / 2 : layers.count * 1.3;
    layers.count = Math.max(PER_FRAME.least, Math.min(most, layers.count));
    return Math.round(layers.count);
  }

  // Whether the bitmap, as it lies now, holds all of the graph that is in the window, and sharply enough.
  function reaches(g, held) {
    const { view, scene } = g, change = view.zoom / held.view.zoom;
    if (change > 1.8 || change < 0.5) return false;
    const x = (value) => (value - held.view.left) * change + view.left;
    const y = (value) => (value - held.view.bottom) * change + view.bottom;
    const left = Math.max(0, graph.px(g, view, 0) - 20), right = Math.min(g.width, graph.px(g, view, 1) + 20);
    const top = Math.max(0, graph.py(g, view, scene.top) - 8), bottom = Math.min(g.height, graph.py(g, view, scene.bottom) + 8);
    return x(held.region.left) <= left && x(held.region.right) >= right && y(held.region.top) <= top && y(held.region.bottom) >= bottom;
  }

  function lay(g, pen) {
    const { view, region, canvas, ratio } = g.layers.shown, change = g.view.zoom / view.zoom;
    let x = (region.left - view.left) * change + g.view.left, y = (region.top - view.bottom) * change + g.view.bottom;
    if (change === 1) {
      // Whole pixels are copied, not blended.
      x = Math.round(x * ratio) / ratio;
      y = Math.round(y * ratio) / ratio;
    }
    pen.drawImage(canvas, x, y, (canvas.width / ratio) * change, (canvas.height / ratio) * change);
  }

  /* ---- What is under the eye ---- */
  // Marks in g.lit the nodes that stay bright; what is focused is the pointer's, else the cursor's, else what is picked.
  graph.focusOf = function (g) {
    const { hover, cursor, picked } = g;
    if (hover.node >= 0 || hover.edge >= 0) return hover;
    if (g.keys && (cursor.node >= 0 || cursor.edge >= 0)) return cursor;
    return picked;
  };

  function light(g, focus) {
    const { scene, lit } = g;
    lit.fill(0);
    if (focus.edge >= 0) {
      lit[scene.source[focus.edge]] = lit[scene.target[focus.edge]] = 1;
      return;
    }
    lit[focus.node] = 1;
    for (let place = scene.into.start[focus.node]; place < scene.into.start[focus.node + 1]; place++) lit[scene.source[scene.into.edges[place]]] = 1;
    for (let place = scene.out.start[focus.node]; place < scene.out.start[focus.node + 1]; place++) lit[scene.target[scene.out.edges[place]]] = 1;
  }

  function litEdges(g, pen, focus) {
    const { into, out } = g.scene;
    if (focus.edge >= 0) {
      graph.strokeOne(g, pen, focus.edge, 1, 1.5);
      return;
    }
    for (let place = out.start[focus.node]; place < out.start[focus.node + 1]; place++) graph.strokeOne(g, pen, out.edges[place], 0.55, 0.3);
    for (let place = into.start[focus.node]; place < into.start[focus.node + 1]; place++) graph.strokeOne(g, pen, into.edges[place], 1, 0.9);
  }

  /* ---- The frame ---- */
  function rows(g, pen) {
    const { scene, view } = g;
    pen.setLineDash(SOLID);
    pen.strokeStyle = g.colour("line");
    pen.lineWidth = 1;
    pen.beginPath();
    for (let row = 0; row < scene.rows.length; row++) {
      const y = Math.round(graph.py(g, view, row)) + 0.5;
      if (y < 0 || y > g.height) continue;
      pen.moveTo(g.gutter, y);
      pen.lineTo(g.width, y);
    }
    pen.stroke();
  }

  // Row names stay at the left whatever the view; as many as have room.
  function names(g, pen) {
    const { scene, view } = g;
    pen.fillStyle = g.colour("panel");
    pen.globalAlpha = 0.9;
    pen.beginPath();
    pen.rect(0, 0, g.gutter, g.height);
    pen.fill();
    pen.globalAlpha = 1;
    pen.fillStyle = g.colour("muted");
    pen.font = `11px ${g.colour("sans")}`;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    const every = Math.max(1, Math.ceil(13 / (g.up * view.zoom)));
    for (let row = 0; row < scene.rows.length; row++) {
      const y = graph.py(g, view, row), name = scene.rows[row] || "";
      if (y < 6 || y > g.height - 6 || (row % every && row < scene.rows.length - 1)) continue;
      const short = g.narrow ? (/\d+$/.exec(name) || [""])[0] : name;
      pen.fillText(short, g.gutter - 8, y);
    }
  }

  // Everything but the edges that lie in the bitmap; `edges(pen)` draws those.
  graph.picture = function (g, pen, edges) {
    const { scene, picked, cursor, hover } = g, focus = graph.focusOf(g), focused = focus.node >= 0 || focus.edge >= 0;
    graph.sizes(g, g.view);
    rows(g, pen);
    graph.hulls(g, pen, focused ? 0.12 : 0.28);
    pen.globalAlpha = focused ? DIM : 1;
    edges(pen, focused ? DIM : 1);
    pen.globalAlpha = 1;
    if (focused) {
      light(g, focus);
      pen.globalAlpha = 0.35;
      graph.nodes(g, pen, g.lit, 0);
      pen.globalAlpha = 1;
      litEdges(g, pen, focus);
      if (picked.edge >= 0 && picked.edge !== focus.edge) graph.strokeOne(g, pen, picked.edge, 1, 1.5);
      graph.nodes(g, pen, g.lit, 1);
    } else graph.nodes(g, pen, null, 0);
    graph.groupNames(g, pen);
    if (picked.node >= 0) graph.ring(g, pen, picked.node, "selection", 2.5, 2);
    if (picked.edge >= 0) {
      graph.ring(g, pen, scene.source[picked.edge], "selection", 1.5, 2);
      graph.ring(g, pen, scene.target[picked.edge], "selection", 1.5, 2);
    }
    if (hover.node >= 0 && hover.node !== picked.node) graph.ring(g, pen, hover.node, "line-strong", 1.5, 2);
    if (g.keys && cursor.node >= 0) graph.ring(g, pen, cursor.node, "text", 1.5, 4, [3, 2]);
    names(g, pen);
  };

  graph.draw = function (g, now) {
    const { pen } = g;
    drawLayer(g, now);
    g.layers.drawn = now;
    pen.setTransform(g.ratio, 0, 0, g.ratio, 0, 0);
    pen.clearRect(0, 0, g.width, g.height);
    graph.picture(g, pen, g.lay);
    if (g.layers.job || !same(g.layers.shown.view, g.view)) graph.invalidate(g);
  };
  graph.lay = lay;
})(window.wbCircuitGraph);
