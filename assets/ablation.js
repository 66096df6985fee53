/* The Ablate page in the browser: cells that are drawn, pointed at, walked over with arrows and clicked. */
window.wbAblation = window.wbAblation || {};
(function (ablation) {
  "use strict";
  const none = () => window.dash_clientside.no_update;
  const drawn = new WeakMap();
  const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const MANY_COLUMNS = 24;
  const WORDED = ["pos", "q_pos", "k_pos", "position"];

  /* ---- Colours: from the ramps of workbench/figures/theme.py ---- */
  function colour(scale, level) {
    const ramp = window.wb.ramp(scale === "signed" ? "diverging" : "sequential");
    const last = ramp.length / 3 - 1;
    const at = 3 * Math.round((scale === "signed" ? (level + 1) / 2 : Math.max(0, level)) * last);
    return `rgb(${ramp[at]},${ramp[at + 1]},${ramp[at + 2]})`;
  }
  function gradient(ramp) {
    const scale = ramp === "diverging" ? "signed" : "share";
    const low = scale === "signed" ? -1 : 0;
    const stops = Array.from({ length: 17 }, (_, i) => colour(scale, low + (i / 16) * (1 - low)));
    return `linear-gradient(to right, ${stops.join(",")})`;
  }

  /* ---- Parts ---- */
  const filled = (template, at) => template.replace(/\{(\w+)\}/g, (whole, name) => (name in at ? String(at[name]) : whole));
  const isOn = (target, held) => target !== "" && target.split(";").every((part) => held.has(part));
  /* Add the parts (joined by ';') as edits of a kind, or take them out when all of them are there. Without a kind they
     are whole edits, which take the place of others of the same part. */
  function toggle(target, kind) {
    const items = target.split(";");
    const added = kind ? window.wb.toggleParts(items, kind) : window.wb.toggleEdits(items);
    mark();
    window.wb.toast(added ? "Added to the edits" : "Taken out of the edits");
  }
  /* Show in every map and list which parts are in the tray. */
  function mark() {
    const held = window.wb.heldEdits();
    for (const cell of document.querySelectorAll("[data-abl-toggle]")) {
      cell.setAttribute("aria-pressed", isOn(cell.dataset.ablToggle, held) ? "true" : "false");
    }
  }

  /* ---- Drawing ---- */
  const column = (value, spec, col) => (Array.isArray(value) ? value[col] : value);
  function coordinates(spec, row, col) {
    const at = { ...spec.rowKeys[row] };
    if (spec.colDim) at[spec.colDim] = spec.colKeys[row][col];
    return at;
  }
  const shapeOf = (spec) => JSON.stringify([spec.rows, spec.cols, spec.target, spec.name, spec.kind, spec.action, spec.colKeys[0], spec.targets, Boolean(spec.faces)]);

  function build(host, spec) {
    host.replaceChildren();
    host.style.setProperty("--cols", spec.cols.length);
    if (spec.gap !== undefined) {
      host.style.setProperty("--gap", spec.gap);
      const blocks = spec.cols.length - spec.gap;
      const heads = spec.gap ? `repeat(${spec.gap}, minmax(0, 1fr)) ` : "";
      if (spec.targets) host.style.gridTemplateColumns = `max-content ${heads}repeat(${blocks}, minmax(20px, max-content))`;
    }
    host.classList.toggle("abl-pick", spec.scale === "pick");
    host.classList.toggle("abl-words", WORDED.includes(spec.colDim));
    host.classList.toggle("abl-one", spec.cols.length === 1);
    host.setAttribute("role", "group");
    host.setAttribute("aria-label", spec.label);
    if (spec.colName && spec.gap !== 0) {
      const name = label(spec.colName, "abl-axis");
      name.style.gridColumn = `2 / span ${spec.gap === undefined ? spec.cols.length : spec.gap}`;
      host.append(name);
      if (spec.gap !== undefined) host.append(...Array.from({ length: spec.cols.length - spec.gap }, () => document.createElement("span")));
    }
    host.append(label(spec.rowName, "abl-corner"));
    const heads = spec.gap === undefined ? spec.cols.length : spec.gap;
    const every = spec.cols.length > MANY_COLUMNS && !WORDED.includes(spec.colDim) ? 8 : spec.scale === "pick" && heads > 9 ? 2 : 1;
    spec.cols.forEach((text, col) => {
      const head = label(col < heads && col % every ? "" : text, "abl-col");
      head.classList.toggle("abl-sparse", col < heads && every > 1);
      if (spec.gap === col) head.classList.add("abl-gap");
      host.append(head);
    });
    spec.rows.forEach((text, row) => {
      host.append(label(text, "abl-row"));
      const count = spec.colKeys[row].length;
      for (let col = 0; col < spec.cols.length; col += 1) host.append(col < count ? makeCell(spec, row, col) : document.createElement("span"));
    });
    const kept = focused && focused.id === host.id ? focused : null;
    const [row, col] = kept ? [kept.row, kept.col] : spec.chosen || [0, 0];
    const first = at(host, row, col) || host.querySelector("button");
    if (first) first.tabIndex = 0;
    // Cells that are drawn anew give the focus back, unless the reader has gone elsewhere in the meantime.
    if (first && kept && document.activeElement === document.body) first.focus({ preventScroll: true });
  }
  let focused = null;
  const at = (host, row, col) => host.querySelector(`.abl-cell[data-row="${row}"][data-col="${col}"]`);
  for (const name of ["focusin", "pointerdown"]) {
    document.addEventListener(name, function (event) {
      const cell = event.target.closest && event.target.closest(".abl-cell");
      focused = cell ? { id: cell.closest(".abl-cells").id, row: cell.dataset.row, col: cell.dataset.col } : null;
    });
  }
  function label(text, name) {
    const box = document.createElement("span");
    box.className = name;
    box.setAttribute("aria-hidden", "true");
    const inner = document.createElement("bdi");
    inner.textContent = text;
    box.append(inner);
    return box;
  }
  function makeCell(spec, row, col) {
    const cell = document.createElement("button");
    const at = coordinates(spec, row, col);
    cell.type = "button";
    cell.className = "abl-cell" + (spec.gap !== undefined && col >= spec.gap ? " abl-block" : "") + (spec.gap === col ? " abl-gap" : "");
    cell.tabIndex = -1;
    cell.dataset.row = row;
    cell.dataset.col = col;
    cell.dataset.name = filled(column(spec.name, spec, col), at);
    const target = spec.targets ? spec.targets[row][col] : filled(column(spec.target, spec, col), at);
    if (spec.targets && !target) {
      cell.classList.add("abl-none");
      cell.dataset.name += ": this layer has none that can be edited";
      cell.setAttribute("aria-disabled", "true");
      return cell;
    }
    if (spec.action === "toggle") {
      cell.dataset.ablToggle = target;
      cell.dataset.ablKind = spec.kind;
    } else if (spec.action === "open") cell.dataset.ablOpen = target;
    else if (spec.action === "neuron") cell.dataset.neuron = target;
    else if (spec.action === "lens") cell.dataset.lensCell = target;
    if (spec.faces) cell.append(document.createElement("bdi"));
    return cell;
  }
  function paint(host, spec) {
    for (const cell of host.querySelectorAll(".abl-cell")) {
      const { row, col, name } = cell.dataset;
      const level = spec.levels ? spec.levels[row][col] : null;
      const text = spec.texts ? spec.texts[row][col] : "";
      cell.classList.toggle("abl-missing", Boolean(spec.levels) && level === null);
      const within = Boolean(spec.inside && spec.inside[row][col]);
      cell.classList.toggle("abl-inside", spec.grey && within);
      cell.style.background = level === null || (spec.grey && within) ? "" : colour(spec.scale, level);
      cell.dataset.text = (level === null ? text : `${text} ${spec.unit}`) + (within ? " · inside the control’s range" : "");
      const face = spec.faces ? spec.faces[row][col] : "";
      if (spec.faces) write(cell, face, spec.scale, level);
      const said = face ? `“${face}”, ` : "";
      if (spec.faces) cell.dataset.text = said + cell.dataset.text;
      cell.setAttribute("aria-label", text ? `${name}: ${cell.dataset.text}` : name);
      if (spec.chosen) cell.setAttribute("aria-current", Number(row) === spec.chosen[0] && Number(col) === spec.chosen[1] ? "true" : "false");
    }
  }
  /* A text in a cell, in whichever of the theme's two inks stands out from the cell's colour. */
  function write(cell, face, scale, level) {
    cell.firstElementChild.textContent = face;
    const [red, green, blue] = level === null ? [0, 0, 0] : colour(scale, level).match(/\d+/g).map(Number);
    const bright = level !== null && 0.3 * red + 0.59 * green + 0.11 * blue > 128;
    const dark = window.wb.themeName() === "dark";
    cell.style.color = level === null ? "" : bright === dark ? "var(--wb-panel)" : "var(--wb-text)";
  }
  function thumb(host, spec) {
    const canvas = host.firstElementChild || host.appendChild(document.createElement("canvas"));
    const rows = spec.levels.length;
    const cols = Math.max(...spec.levels.map((line) => line.length));
    const size = Math.max(1, Math.min(8, Math.floor(192 / Math.max(rows, cols))));
    canvas.width = cols * size;
    canvas.height = rows * size;
    const pen = canvas.getContext("2d");
    spec.levels.forEach((line, row) => line.forEach((level, col) => {
      if (level === null) return;
      pen.fillStyle = colour(spec.scale, level);
      pen.fillRect(col * size, row * size, size, size);
    }));
  }
  /* Bring every host to what its attribute says and every colour to the theme; cheap where nothing changed. */
  function draw(force) {
    let built = false;
    for (const host of document.querySelectorAll("[data-cells]")) {
      const before = drawn.get(host);
      if (!force && before && before.text === host.dataset.cells) continue;
      const spec = JSON.parse(host.dataset.cells);
      if (host.classList.contains("res-thumb")) thumb(host, spec);
      else {
        const shape = shapeOf(spec);
        if (!before || before.shape !== shape) { build(host, spec); built = true; }
        paint(host, spec);
        drawn.set(host, { text: host.dataset.cells, shape, spec });
        continue;
      }
      drawn.set(host, { text: host.dataset.cells, spec });
    }
    for (const bar of document.querySelectorAll("[data-ramp]")) {
      if (force || !bar.style.background) bar.style.background = gradient(bar.dataset.ramp);
    }
    if (built || document.querySelector("[data-abl-toggle]:not([aria-pressed])")) mark();
  }
  let waiting = false;
  function soon(records) {
    const ours = records.some((record) => record.type === "attributes" || Array.from(record.addedNodes).some((node) => node.nodeType === 1 && (node.matches("[data-cells],[data-ramp],[data-abl-toggle]") || node.querySelector("[data-cells],[data-ramp],[data-abl-toggle]"))));
    if (!ours || waiting) return;
    waiting = true;
    window.requestAnimationFrame(() => { waiting = false; draw(false); mark(); });
  }
  new MutationObserver(soon).observe(document.documentElement, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-cells"] });
  window.addEventListener("wb-theme", () => draw(true));

  /* ---- Pointer and keyboard ---- */
  const readoutOf = (cell) => { const figure = cell.closest(".abl-figure"); return figure && figure.querySelector(".abl-readout"); };
  function say(cell) {
    const line = readoutOf(cell);
    if (!line) return;
    const text = cell.dataset.text ? ` ${cell.dataset.text}` : "";
    const on = cell.getAttribute("aria-pressed") === "true" ? " · in the edits" : "";
    line.textContent = `${cell.dataset.name}${text ? ":" + text : ""}${on}`;
  }
  for (const name of ["pointerover", "focusin"]) {
    document.addEventListener(name, (event) => {
      const cell = event.target.closest && event.target.closest(".abl-cell");
      if (cell) say(cell);
    });
  }
  document.addEventListener("pointerout", (event) => {
    const cell = event.target.closest && event.target.closest(".abl-cell");
    const line = cell && readoutOf(cell);
    if (line && !(event.relatedTarget && event.relatedTarget.closest && event.relatedTarget.closest(".abl-cells"))) line.textContent = line.dataset.rest;
  });
  document.addEventListener("click", (event) => {
    const target = event.target.closest && event.target.closest("[data-abl-toggle],[data-abl-open],[data-abl-where]");
    if (!target) return;
    const data = target.dataset;
    if (data.ablToggle !== undefined) {
      toggle(data.ablToggle, data.ablKind);
      if (target.classList.contains("abl-cell")) { focusCell(target); say(target); }
    } else if (data.ablOpen !== undefined) {
      const [layer, head, stack] = data.ablOpen.split(".");
      window.wb.open("/attention", { layer: Number(layer), head: Number(head), stack: stack || "", tab: "difference" });
    } else window.wb.set("abl-change", { data: { where: data.ablWhere === "" ? null : Number(data.ablWhere), at: Date.now() } });
  });
  function focusCell(cell) {
    for (const other of cell.closest(".abl-cells").querySelectorAll('.abl-cell[tabindex="0"]')) other.tabIndex = -1;
    cell.tabIndex = 0;
    cell.focus({ preventScroll: false });
  }
  document.addEventListener("keydown", (event) => {
    const cell = event.target.closest && event.target.closest(".abl-cell");
    if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = ARROWS[event.key];
    if (event.key === "a" && cell.dataset.ablToggle) { event.preventDefault(); cell.click(); return; }
    if (!step) return;
    event.preventDefault();
    const [row, col] = [Number(cell.dataset.row) + step[0], Number(cell.dataset.col) + step[1]];
    const next = at(cell.closest(".abl-cells"), row, col);
    if (next) focusCell(next);
  }, true);

  /* ---- Called by Dash's clientside callbacks (pages/ablation.py) ---- */
  ablation.edits = function () {
    mark();
    return none();
  };
  /* A metric of the reader's own starts as the logit difference in words. */
  function expressionFor(state) {
    const quoted = (token) => "logit('" + token.replace(/[\\']/g, "\\$&").replaceAll("\n", "\\n") + "')";
    return state.answer && state.foil ? `${quoted(state.answer)} - ${quoted(state.foil)}` : "logit(' Mary') - logit(' John')";
  }
  const isOwn = (metric) => !/^\w+$/.test(metric);
  ablation.metric = function (chosen, own, state) {
    if (chosen !== "custom") return chosen;
    return isOwn(state.metric) ? own || state.metric : expressionFor(state);
  };
  /* From the controls into the address. A kind also changes the edits that are there, which the server writes. */
  ablation.controls = function (kind, metric, over, within, site, own, inside) {
    const state = window.wb.state();
    if (kind && kind !== state.kind) window.wb.set("abl-change", { data: { kind, at: Date.now() } });
    const changes = { metric: ablation.metric(metric, own, state), over, site, within: over === "neuron" && typeof within === "number" ? within : state.within, hide_inside: Boolean(inside) };
    const changed = Object.entries(changes).filter(([name, value]) => value !== undefined && value !== null && value !== state[name]);
    if (changed.length) window.wb.setState(Object.fromEntries(changed));
    return none();
  };
  /* From the address into the controls, so that a link, undo and the palette move them too. */
  ablation.follow = function (search, ...present) {
    const state = window.wb.state(search);
    const own = isOwn(state.metric);
    const metric = own ? "custom" : state.metric;
    const wanted = [state.kind, metric, state.over, state.within === null ? 0 : state.within, state.site, own ? state.metric : "", state.hide_inside];
    return [...wanted.map((value, place) => (value === present[place] ? none() : value)), !own];
  };
  /* The address once it has stopped changing: what costs a look at the model waits for that. */
  const SETTLED = 700;
  let settling = 0;
  ablation.settle = function (search) {
    window.clearTimeout(settling);
    settling = window.setTimeout(() => { if (document.getElementById("abl-forecast")) window.wb.set("abl-settled", { data: search || "" }); }, SETTLED);
    return none();
  };
})(window.wbAblation);
