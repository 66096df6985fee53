/* The page of circuits in the browser: changes of the circuit, their undo, the picture and the number that follow. */
window.wbCircuits = window.wbCircuits || {};
(function (circuits) {
  "use strict";
  const ROUTE = "/data/circuit", HISTORY = "wb-circuit-history", HOST = "cir-graph";
  const MOST_STEPS = 100, SETTLED = 400; // steps that undo keeps; ms until the rest of the page hears of an edit
  const HEAD = /^L\d+\.z\[head=\d+\]$/;
  /* Fields of the address that say what is shown beside the circuit, and nothing of its numbers. */
  const BESIDE = ["pick", "cell", "judged", "against", "edits"];
  const none = () => window.dash_clientside.no_update;
  const at = (id) => document.getElementById(id);
  const write = (id, text) => { const place = at(id); if (place && place.textContent !== text) place.textContent = text; };
  const here = () => window.location.search || "?";
  let shown = null, stopPicture = null, wanted = "", drawn = "", picked = null;

  async function asked(path, options) {
    const answer = await window.fetch(ROUTE + path, { cache: "no-store", ...options });
    const told = await answer.json();
    if (told.state === "failed") throw new Error(`${told.message.charAt(0).toUpperCase()}${told.message.slice(1)} ${told.hint || ""}`.trim());
    return told;
  }
  const send = (path, body) => asked(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const lost = (error) => (error instanceof TypeError ? "The workbench does not answer. Is it still running?" : error.message);

  /* ---- The picture ---- */
  async function picture() {
    if (stopPicture) stopPicture.abort();
    const stop = stopPicture = new AbortController();
    try {
      const told = await asked("/view" + here(), { signal: stop.signal });
      if (stop !== stopPicture || !at("cir-panel")) return;
      show(told);
    } catch (error) {
      if (error.name !== "AbortError" && stop === stopPicture) { show({ state: "none" }); write("cir-status", lost(error)); }
    }
  }
  function show(told) {
    shown = told;
    const panel = at("cir-panel");
    panel.dataset.state = told.state;
    circuits.list(at("cir-lists"), told.lists);
    if (told.state !== "ok") { circuits.unnumbered(); return; }
    write("cir-size", told.words);
    circuits.curve.show(at("cir-curve"), told);
    window.wbCircuitGraph.show(HOST, told.graph);
    select();
    enable();
  }
  circuits.now = () => shown;
  const edgeOf = (text) => { const [source, target, channel] = text.split(">"); return { source, target, channel }; };
  const textOf = (edge) => [edge.source, edge.target, edge.channel].join(">");
  function select() {
    const pick = window.wb.state().pick;
    if (pick === picked && shown && shown.selected) return;
    picked = pick;
    if (shown) shown.selected = true;
    window.wbCircuitGraph.select(HOST, !pick ? {} : pick.includes(">") ? { edge: edgeOf(pick) } : { node: pick });
  }

  /* ---- Called by Dash's clientside callbacks (pages/circuits.py) ---- */
  /* The address has changed, or a search, an evaluation or the roles have come. */
  circuits.follow = function () {
    const triggered = window.dash_clientside.callback_context.triggered.map((one) => one.prop_id);
    if (at("cir-panel")) refresh(triggered.some((name) => name !== "url.search"));
    return none();
  };
  /* The address without what an edit changes; no update while that is all that changes. */
  circuits.unedited = function (search, before) {
    const params = new URLSearchParams(search || "");
    for (const name of ["draft", "judged", "against"]) params.delete(name);
    const now = params.toString();
    return now === before ? none() : now;
  };
  function refresh(came) {
    const params = new URLSearchParams(window.location.search);
    for (const name of ["pick", "cell"]) params.delete(name);
    at("cir-head").hidden = !HEAD.test(window.wb.state().pick);
    const about = params.toString(), fresh = !document.querySelector(`#${HOST} canvas`);
    if (fresh) { shown = null; picked = null; }
    for (const name of BESIDE) params.delete(name);
    const numbered = params.toString();
    if (came || fresh || numbered !== wanted) {
      wanted = numbered;
      circuits.number(came && !fresh);
    }
    if (came || fresh || about !== drawn) { drawn = about; picture(); }
    else if (shown && shown.state === "ok") { select(); enable(); }
  }
  /* A control has changed. What was edited and judged belongs to the search that was. */
  circuits.controls = function () {
    const state = window.wb.state(), changes = {};
    const triggered = window.dash_clientside.callback_context.triggered;
    for (const { prop_id: id, value } of triggered.length === 1 ? triggered : []) {
      const name = JSON.parse(id.slice(0, id.lastIndexOf("."))).name;
      if (value === undefined || (value === null && name !== "against") || (name === "points" && typeof value !== "number")) continue;
      const held = name === "metric" && value === "custom" ? window.wbAblation.metric(value, "", state) : value || "";
      const field = name === "own" ? "metric" : name;
      if (held !== state[field] && (name !== "own" || held)) changes[field] = held;
    }
    if (Object.keys(changes).length) {
      const anew = !("against" in changes);
      window.wb.setState(anew ? { ...changes, draft: "", judged: "", pick: "", given: "" } : changes);
    }
    return none();
  };
  circuits.add = function (clicks, source, target) {
    if (clicks && source && target) circuits.change({ op: "add", edge: `${source}>${target}` });
    else if (clicks) window.wb.toast("Choose the two nodes that the edge joins");
    return none();
  };

  /* ---- Changes, one after the other, with the history of the window ---- */
  let queue = Promise.resolve(), resizing = null;
  function load() {
    try {
      const kept = JSON.parse(window.sessionStorage.getItem(HISTORY));
      if (kept && shown && shown.graph && kept.key === shown.graph.key) return kept;
    } catch (error) { /* begin anew */ }
    return { key: shown && shown.graph ? shown.graph.key : "", past: [], future: [] };
  }
  function save(history) {
    history.past = history.past.slice(-MOST_STEPS);
    try { window.sessionStorage.setItem(HISTORY, JSON.stringify(history)); } catch (error) { /* undo is lost, edits are not */ }
    enable();
  }
  function enable() {
    const history = load(), state = window.wb.state();
    const off = { undo: !history.past.length, redo: !history.future.length, cut: !state.pick, clear: !state.draft };
    for (const [name, disabled] of Object.entries(off)) {
      const button = document.querySelector(`[data-cir-act="${name}"]`);
      if (button) button.disabled = disabled;
    }
  }
  /* step: false for the middle of a drag, which is one step of the history in all. */
  circuits.change = function (change, step) {
    if (change.op === "size") {
      const waits = resizing;
      resizing = { change, step: step || Boolean(waits && waits.step) };
      if (waits) return queue;
    }
    circuits.computing();
    queue = queue.then(async function () {
      const one = change.op === "size" ? resizing : { change, step: step !== false };
      if (change.op === "size") resizing = null;
      const before = window.wb.state().draft;
      try {
        const told = await send("/edit", { search: here(), change: one.change, session: window.wb.session() });
        if (one.step) record(before);
        if (told.draft !== before) {
          put(told.draft);
        } else circuits.number(true);
      } catch (error) {
        window.wb.toast(lost(error));
        circuits.number(true);
      }
    });
    return queue;
  };
  /* The number and the picture are what is waited for: the rest of the page hears of a change a little later. */
  function put(draft) {
    window.wb.setStateFirst({ draft }, SETTLED);
    if (at("cir-panel")) refresh(false);
  }
  function record(before) {
    const history = load();
    history.past.push(before);
    history.future = [];
    save(history);
  }
  function step(from, to) {
    const history = load();
    if (!history[from].length) { window.wb.toast(from === "past" ? "Nothing to undo in the circuit" : "Nothing to redo in the circuit"); return; }
    history[to].push(window.wb.state().draft);
    const draft = history[from].pop();
    save(history);
    circuits.computing();
    put(draft);
  }
  function cutPicked() {
    const pick = window.wb.state().pick;
    if (pick) circuits.change(pick.includes(">") ? { op: "cut", edge: pick } : { op: "cut_node", node: pick });
  }

  /* ---- Files of the circuit as it stands ---- */
  function hand(name, address) {
    const link = document.createElement("a");
    link.href = address;
    link.download = name;
    link.click();
  }
  function svg() {
    const address = URL.createObjectURL(new Blob([window.wbCircuitGraph.svg(HOST)], { type: "image/svg+xml" }));
    hand("circuit.svg", address);
    window.setTimeout(() => URL.revokeObjectURL(address), 60000);
  }
  const file = (form) => hand(`circuit.${form}`, `${ROUTE}/file${here()}&form=${form}`);

  /* ---- Pointer and keys ---- */
  const ACTS = {
    undo: () => queue.then(() => step("past", "future")),
    redo: () => queue.then(() => step("future", "past")),
    cut: cutPicked,
    clear: () => circuits.change({ op: "clear" }),
    search: () => window.wb.setState({ given: "", draft: "", judged: "", pick: "" }),
    again: () => circuits.number(true),
    stop: () => circuits.stop(),
    "save-svg": svg,
    "save-layers": () => file("svg"),
    ...Object.fromEntries(["json", "csv", "graphml", "dot"].map((form) => [`save-${form}`, () => file(form)])),
  };
  document.addEventListener("click", function (event) {
    const target = event.target.closest && event.target.closest("[data-cir-op],[data-cir-pick],[data-cir-act],[data-cir-exact]");
    if (!target) return;
    const data = target.dataset;
    if (data.cirOp !== undefined) circuits.change(JSON.parse(data.cirOp));
    else if (data.cirPick !== undefined) window.wb.setState({ pick: data.cirPick });
    else if (data.cirExact !== undefined) circuits.exact(target, data.cirExact);
    else ACTS[data.cirAct]();
  });
  document.addEventListener("circuit-pick", function (event) {
    const { node, edge } = event.detail || {};
    picked = node || (edge ? textOf(edge) : "");
    window.wb.setState({ pick: picked });
  });
  document.addEventListener("circuit-cut", function (event) {
    const { node, edge } = event.detail || {};
    if (edge) circuits.change({ op: "cut", edge: textOf(edge) });
    else if (node) circuits.change({ op: "cut_node", node });
  });
  /* A label or a group is taken when its field is left, or with Enter. */
  document.addEventListener("change", function (event) {
    const place = event.target.closest && event.target.closest("[data-cir-field]");
    if (place) circuits.change({ op: place.dataset.cirField, node: place.dataset.node, text: event.target.value });
  });
  const mine = (act) => () => { if (!at("cir-panel") || !shown || shown.state !== "ok") return false; ACTS[act](); return true; };
  window.wb.onKey("u", mine("undo"));
  window.wb.onKey("Shift-u", mine("redo"));
})(window.wbCircuits);
