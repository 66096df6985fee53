/* The size of a circuit and its faithfulness over size as one control: drag along the curve, or use the arrow keys. */
window.wbCircuits = window.wbCircuits || {};
(function (circuits) {
  "use strict";
  const NS = "http://www.w3.org/2000/svg";
  const WIDE = 560, HIGH = 168, LEFT = 44, RIGHT = 12, TOP = 12, BOTTOM = 34;
  const THROTTLE_MS = 120;
  const curve = circuits.curve = {};
  let host = null, told = null, dragging = null, live = null, sent = 0, later = 0;

  function part(name, attributes, parent, text) {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }
  const most = () => Math.max(2, told.most);
  const xOf = (size) => LEFT + (WIDE - LEFT - RIGHT) * Math.log(Math.max(1, size)) / Math.log(most());
  const sizeAt = (x) => Math.max(1, Math.min(told.most, Math.round(Math.exp((x - LEFT) / (WIDE - LEFT - RIGHT) * Math.log(most())))));
  function range() {
    const lines = told.curve || {};
    const all = ["value", "low", "high", "random", "random_low", "random_high"].flatMap((name) => lines[name] || []);
    const known = [...all, live, 0, 1].filter((value) => value !== null && value !== undefined);
    return [Math.max(-2, Math.min(...known)), Math.min(3, Math.max(...known))];
  }
  function yOf(value, [low, high]) {
    const share = (Math.max(low, Math.min(high, value)) - low) / (high - low || 1);
    return TOP + (HIGH - TOP - BOTTOM) * (1 - share);
  }
  function path(values, ends) {
    let text = "", open = false;
    told.curve.size.forEach((size, place) => {
      const value = values[place];
      if (value === null || size > told.most) { open = false; return; }
      text += `${open ? "L" : "M"}${xOf(size).toFixed(1)} ${yOf(value, ends).toFixed(1)}`;
      open = true;
    });
    return text;
  }
  function band(low, high, ends, name, svg) {
    if (!low || !high) return;
    const there = told.curve.size.map((size, place) => place).filter((place) => low[place] !== null && high[place] !== null && told.curve.size[place] <= told.most);
    const line = (values, places) => places.map((place) => `${xOf(told.curve.size[place]).toFixed(1)} ${yOf(values[place], ends).toFixed(1)}`);
    if (there.length > 1) part("path", { d: `M${[...line(high, there), ...line(low, there.slice().reverse())].join("L")}Z`, class: name }, svg);
  }
  const shortly = (size) => (size >= 10000 ? `${Math.round(size / 1000)}k` : String(size));

  function axes(svg, ends) {
    for (const level of [0, 0.5, 1]) {
      if (level < ends[0] || level > ends[1]) continue;
      const y = yOf(level, ends);
      part("line", { x1: LEFT, x2: WIDE - RIGHT, y1: y, y2: y, class: "cir-grid" }, svg);
      part("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, svg, String(level));
    }
    const base = HIGH - BOTTOM;
    part("line", { x1: LEFT, x2: WIDE - RIGHT, y1: base, y2: base, class: "cir-axis" }, svg);
    for (let size = 1; size <= told.most; size *= 10) {
      part("line", { x1: xOf(size), x2: xOf(size), y1: base, y2: base + 4, class: "cir-axis" }, svg);
      if (xOf(told.most) - xOf(size) > 40 || size === told.most) part("text", { x: xOf(size), y: base + 16, "text-anchor": "middle" }, svg, shortly(size));
    }
    part("text", { x: xOf(told.most), y: base + 16, "text-anchor": "end" }, svg, shortly(told.most));
    part("text", { x: (LEFT + WIDE - RIGHT) / 2, y: HIGH - 3, "text-anchor": "middle", class: "cir-axis-name" }, svg, `${told.unit}s of highest score, before those that lead nowhere go`);
    part("text", { x: 10, y: (TOP + base) / 2, transform: `rotate(-90 10 ${(TOP + base) / 2})`, "text-anchor": "middle", class: "cir-axis-name" }, svg, "faithfulness");
  }
  function lines(svg, ends) {
    const held = told.curve;
    if (!held) return;
    band(held.random_low, held.random_high, ends, "cir-random-band", svg);
    if (held.random) part("path", { d: path(held.random, ends), class: "cir-random" }, svg);
    band(held.low, held.high, ends, "cir-band", svg);
    part("path", { d: path(held.value, ends), class: "cir-line" }, svg);
    held.size.forEach((size, place) => {
      if (held.value[place] === null || size > told.most) return;
      part("title", {}, part("circle", { cx: xOf(size), cy: yOf(held.value[place], ends), r: 3, class: "cir-dot" }, svg), `${size} ${told.unit}s: ${held.value[place].toPrecision(3)}`);
    });
  }
  function draw() {
    if (!host || !told) return;
    const ends = range(), size = dragging === null ? told.size : dragging;
    const svg = part("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "cir-svg", "aria-hidden": "true" });
    axes(svg, ends);
    lines(svg, ends);
    if (told.resizable || live !== null) {
      const x = xOf(size);
      part("line", { x1: x, x2: x, y1: TOP, y2: HIGH - BOTTOM, class: "cir-handle-line" }, svg);
      part("circle", { cx: x, cy: live === null ? HIGH - BOTTOM : yOf(live, ends), r: 7, class: live === null ? "cir-handle" : "cir-handle cir-handle-known" }, svg);
    }
    host.replaceChildren(svg, words());
    const spoken = `${size} ${told.unit}${size === 1 ? "" : "s"}`;
    for (const [name, value] of [["aria-valuenow", size], ["aria-valuemin", 1], ["aria-valuemax", told.most], ["aria-valuetext", spoken], ["aria-disabled", !told.resizable]]) host.setAttribute(name, String(value));
  }
  function words() {
    const line = document.createElement("p");
    line.className = "wb-muted cir-legend";
    line.textContent = !told.resizable ? "Its edges have no scores by which it could shrink or grow."
      : told.curve ? "Line and band: by score, with 95 % interval. Dashed: random circuits. Ring: this circuit."
      : "Drag the ring, or use the arrow keys. Evaluate draws the curve.";
    return line;
  }

  /* ---- Pointer and keys ---- */
  function at(event) {
    const box = host.querySelector("svg").getBoundingClientRect();
    return sizeAt((event.clientX - box.left) * WIDE / box.width);
  }
  function send(first, last) {
    window.clearTimeout(later);
    const wait = sent + THROTTLE_MS - Date.now();
    if (!last && !first && wait > 0) { later = window.setTimeout(() => send(false, false), wait); return; }
    if (dragging === null) return;
    sent = Date.now();
    circuits.change({ op: "size", size: dragging }, first);
  }
  function move(size, first) {
    if (size === dragging && !first) return;
    dragging = size;
    live = null;
    draw();
    send(first, false);
  }
  function hands() {
    host.tabIndex = 0;
    host.setAttribute("role", "slider");
    host.setAttribute("aria-label", "Size of the circuit");
    host.addEventListener("pointerdown", function (event) {
      if (!told || !told.resizable || event.button) return;
      event.preventDefault();
      host.focus();
      host.setPointerCapture(event.pointerId);
      move(at(event), true);
    });
    host.addEventListener("pointermove", (event) => { if (dragging !== null && host.hasPointerCapture(event.pointerId)) move(at(event), false); });
    for (const name of ["pointerup", "pointercancel"]) {
      host.addEventListener(name, function () {
        if (dragging === null) return;
        send(false, true);
        told.size = dragging;
        dragging = null;
      });
    }
    host.addEventListener("keydown", function (event) {
      if (!told || !told.resizable || event.ctrlKey || event.metaKey || event.altKey) return;
      const one = Math.max(1, Math.round(told.size * 0.05)), ten = Math.max(1, Math.round(told.size * 0.5));
      const to = { ArrowRight: told.size + one, ArrowUp: told.size + one, ArrowLeft: told.size - one, ArrowDown: told.size - one,
        PageUp: told.size + ten, PageDown: told.size - ten, Home: 1, End: told.most }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      told.size = Math.max(1, Math.min(told.most, to));
      live = null;
      draw();
      circuits.change({ op: "size", size: told.size }, true);
    });
  }

  /* Draw the control for a circuit; while it is dragged the size is the hand's. */
  curve.show = function (place, view) {
    if (place !== host) { host = place; dragging = null; hands(); }
    told = view;
    draw();
  };
  /* The faithfulness that was measured of the circuit as it is now; null while it is not known. */
  curve.point = function (value) {
    live = value;
    if (host && document.contains(host)) draw();
  };
})(window.wbCircuits);
