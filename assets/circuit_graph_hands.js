// Pointer, wheel, two fingers and keys over the circuit graph.
window.wbCircuitGraph = window.wbCircuitGraph || {};
(function (graph) {
  "use strict";
  const DRAG = 4, FINGER = 8, STEP = 40, GLIDE = 150;
  const still = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

  /* ---- Moving the view ---- */
  function changed(g) {
    g.moved = performance.now();
    graph.touch(g);
    graph.invalidate(g);
  }
  // Where all is in the window, a finger scrolls the page over the graph; else it moves the graph.
  graph.touch = function (g) {
    const wanted = g.view.zoom > 1.0005 ? "none" : "pan-y";
    if (g.canvas.style.touchAction !== wanted) g.canvas.style.touchAction = wanted;
  };
  graph.home = function (g) {
    glideTo(g, g.home.zoom, g.home.left, g.home.bottom);
  };
  graph.glide = function (g, factor, x, y) {
    const { view } = g, from = { ...view };
    graph.zoomAt(g, factor, x, y);
    const { zoom, left, bottom } = view;
    Object.assign(view, from);
    glideTo(g, zoom, left, bottom);
  };
  function glideTo(g, zoom, left, bottom) {
    const { view } = g, from = { ...view }, started = performance.now(), turn = (g.turn = {});
    const step = (now) => {
      if (g.turn !== turn) return;
      const share = still() ? 1 : Math.min(1, (now - started) / GLIDE), eased = share * (2 - share);
      view.zoom = from.zoom * Math.pow(zoom / from.zoom, eased);
      // The place that stays put does so all the way, though zoom is not linear in time.
      const way = zoom === from.zoom ? eased : (view.zoom - from.zoom) / (zoom - from.zoom);
      view.left = from.left + (left - from.left) * way;
      view.bottom = from.bottom + (bottom - from.bottom) * way;
      changed(g);
      if (share < 1) requestAnimationFrame(step);
    };
    if (still()) step(started + GLIDE);
    else requestAnimationFrame(step);
  }
  function pan(g, dx, dy) {
    g.turn = null;
    g.view.left += dx;
    g.view.bottom += dy;
    graph.hold(g);
    changed(g);
  }

  /* ---- What is under the pointer, and what is chosen ---- */
  function look(g, x, y, slack) {
    const node = graph.nodeUnder(g, x, y, slack / 2), edge = node < 0 ? graph.edgeUnder(g, x, y, slack) : -1;
    if (node === g.hover.node && edge === g.hover.edge) return;
    g.hover.node = node;
    g.hover.edge = edge;
    g.canvas.style.cursor = node >= 0 || edge >= 0 ? "pointer" : "";
    graph.invalidate(g);
  }
  function leave(g) {
    g.hover.node = g.hover.edge = -1;
    graph.tipOf(g, null);
    graph.invalidate(g);
  }
  function pick(g, node, edge) {
    const nothing = node < 0 && edge < 0;
    if (nothing && g.picked.node < 0 && g.picked.edge < 0) return;
    g.picked = { node, edge };
    if (!nothing) g.cursor = { node: node < 0 ? g.scene.target[edge] : node, edge };
    graph.readout(g);
    graph.invalidate(g);
    graph.send(g, "circuit-pick", graph.pickedNames(g));
  }

  graph.hands = function (g) {
    pointers(g);
    g.canvas.addEventListener("wheel", (event) => {
      // At its smallest, the graph lets the page scroll on.
      if (!g.scene.n || (event.deltaY > 0 && g.view.zoom <= 1.0005 && !event.ctrlKey)) return;
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1, pace = event.ctrlKey ? 0.01 : 0.0018;
      g.turn = null;
      graph.zoomAt(g, Math.exp(-Math.max(-240, Math.min(240, event.deltaY * lines)) * pace), event.offsetX, event.offsetY);
      changed(g);
    }, { passive: false });
    g.canvas.addEventListener("keydown", (event) => key(g, event));
    g.canvas.addEventListener("focus", () => {
      g.keys = g.canvas.matches(":focus-visible");
      if (g.keys) start(g);
    });
    g.canvas.addEventListener("blur", () => {
      g.keys = false;
      graph.readout(g);
      graph.invalidate(g);
    });
  };

  /* ---- Pointer ---- */
  function pointers(g) {
    const { canvas } = g, down = new Map();
    let dragged = false, spread = 0;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      down.set(event.pointerId, { ...place(event), fromX: event.clientX, fromY: event.clientY });
      if (down.size === 1) dragged = false;
      spread = 0;
      g.keys = false;
    });
    canvas.addEventListener("pointermove", (event) => {
      const at = place(event), held = down.get(event.pointerId);
      if (!held) {
        if (down.size) return;
        look(g, at.x, at.y, 0);
        graph.tipOf(g, event);
        return;
      }
      const limit = event.pointerType === "touch" ? FINGER : DRAG;
      if (!dragged && down.size === 1 && Math.hypot(event.clientX - held.fromX, event.clientY - held.fromY) < limit) return;
      if (!dragged) {
        dragged = true;
        for (const id of down.keys()) if (!canvas.hasPointerCapture(id)) canvas.setPointerCapture(id);
        leave(g);
      }
      const dx = at.x - held.x, dy = at.y - held.y;
      held.x = at.x;
      held.y = at.y;
      if (down.size === 1) pan(g, dx, dy);
      else pinch(g, dx / 2, dy / 2);
    });
    function pinch(g_, dx, dy) {
      const [one, other] = down.values(), apart = Math.hypot(one.x - other.x, one.y - other.y);
      if (spread) graph.zoomAt(g_, apart / spread, (one.x + other.x) / 2, (one.y + other.y) / 2);
      spread = apart;
      pan(g_, dx, dy);
    }
    canvas.addEventListener("pointerup", (event) => {
      const held = down.get(event.pointerId);
      down.delete(event.pointerId);
      spread = 0;
      if (!held || dragged || down.size) return;
      const at = place(event), finger = event.pointerType === "touch";
      look(g, at.x, at.y, finger ? 10 : 0);
      pick(g, g.hover.node, g.hover.edge);
      if (finger) leave(g);
    });
    canvas.addEventListener("pointercancel", (event) => { down.delete(event.pointerId); spread = 0; });
    canvas.addEventListener("pointerleave", () => { if (!down.size) leave(g); });
  }

  /* ---- Keys ---- */
  function start(g) {
    if (g.cursor.node < 0 && g.scene.n) g.cursor = { node: g.picked.node >= 0 ? g.picked.node : g.scene.levels[0][0], edge: -1 };
    to(g, g.cursor.node, g.cursor.edge);
  }
  // Puts the cursor on a node (and one of its edges), in the window.
  function to(g, node, edge) {
    if (node < 0) return;
    g.keys = true;
    g.cursor.node = node;
    g.cursor.edge = edge;
    const x = graph.px(g, g.view, g.scene.x[node]), y = graph.py(g, g.view, g.scene.row[node]), rim = 40;
    const dx = Math.max(0, g.gutter + rim - x) - Math.max(0, x - g.width + rim), dy = Math.max(0, 24 - y) - Math.max(0, y - g.height + 24);
    if ((dx || dy) && g.view.zoom > 1.0005) pan(g, dx, dy);
    graph.readout(g);
    graph.invalidate(g);
  }
  const levelOf = (scene, node) => scene.levels.findIndex((level) => level.includes(node));

  function across(g, way) {
    const { scene, cursor } = g, level = scene.levels[levelOf(scene, cursor.node)];
    const next = level[level.indexOf(cursor.node) + way];
    g.wantedX = null;
    if (next !== undefined) to(g, next, -1);
    else to(g, cursor.node, -1);
  }
  // The nearest node of the next layer; over several layers the way stays straight.
  function upwards(g, way) {
    const { scene, cursor } = g, level = scene.levels[levelOf(scene, cursor.node) + way];
    if (!level) return;
    g.wantedX ??= scene.x[cursor.node];
    let best = level[0];
    for (const node of level) if (Math.abs(scene.x[node] - g.wantedX) < Math.abs(scene.x[best] - g.wantedX)) best = node;
    to(g, best, -1);
  }
  // Along the edges of the node: first those it hears, then those by which it is heard, each from the strongest.
  function along(g, way) {
    const { scene, cursor } = g, { into, out } = scene, node = cursor.node;
    const strongest = (one, other) => (Math.abs(scene.score[other]) || 0) - (Math.abs(scene.score[one]) || 0);
    const part = ({ start: from, edges }) => [...edges.subarray(from[node], from[node + 1])].sort(strongest);
    const edges = [...part(into), ...part(out)];
    if (!edges.length) return;
    const now = edges.indexOf(cursor.edge), next = now < 0 ? (way > 0 ? 0 : edges.length - 1) : (now + way + edges.length) % edges.length;
    to(g, node, edges[next]);
  }
  function cut(g) {
    const { cursor, picked } = g, what = g.keys && cursor.edge >= 0 ? cursor : picked.edge >= 0 || picked.node >= 0 ? picked : cursor;
    const named = graph.pickedNames(g, what);
    if (named.edge || named.node) graph.send(g, "circuit-cut", named);
  }
  function clear(g) {
    if (g.cursor.edge >= 0) { to(g, g.cursor.node, -1); if (g.picked.edge < 0) return; }
    pick(g, -1, -1);
  }
  function magnify(g, factor) {
    const { cursor, scene, view } = g, known = g.keys && cursor.node >= 0;
    graph.glide(g, factor, known ? graph.px(g, view, scene.x[cursor.node]) : (g.width + g.gutter) / 2, known ? graph.py(g, view, scene.row[cursor.node]) : g.height / 2);
  }

  const KEYS = {
    ArrowRight: (g, event) => (event.shiftKey ? along(g, 1) : across(g, 1)),
    ArrowLeft: (g, event) => (event.shiftKey ? along(g, -1) : across(g, -1)),
    ArrowUp: (g) => upwards(g, 1),
    ArrowDown: (g) => upwards(g, -1),
    Home: (g) => to(g, g.scene.levels[0][0], -1),
    End: (g) => to(g, g.scene.levels[g.scene.levels.length - 1][0], -1),
    Enter: (g) => pick(g, g.cursor.edge >= 0 ? -1 : g.cursor.node, g.cursor.edge),
    " ": (g) => pick(g, g.cursor.edge >= 0 ? -1 : g.cursor.node, g.cursor.edge),
    Escape: clear,
    Delete: cut,
    Backspace: cut,
    "+": (g) => magnify(g, 1.5),
    "=": (g) => magnify(g, 1.5),
    "-": (g) => magnify(g, 1 / 1.5),
    "0": (g) => graph.home(g),
  };

  function key(g, event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key] || !g.scene.n) return;
    // Nothing to clear: the page may have use for Escape.
    if (event.key === "Escape" && g.picked.node < 0 && g.picked.edge < 0 && g.cursor.edge < 0) return;
    event.preventDefault();
    if (g.cursor.node < 0) start(g);
    g.keys = true;
    KEYS[event.key](g, event);
  }
})(window.wbCircuitGraph);
