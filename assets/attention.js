// The Attention page: its state in the address, its controls, keys and callbacks. The pictures are in attention_mosaic.js
// (overview) and attention_head.js (open head).
(function () {
  "use strict";
  const attention = (window.wbAttention = window.wbAttention || {});
  const none = () => window.dash_clientside.no_update;
  const SCORE_WORDS = { induction: "induction", previous_token: "previous token", duplicate_token: "duplicate token", first_token: "first token", entropy: "entropy" };
  const SETTLED = 500, SOON = 250, LOST = 20000; // ms: until a head is drawn, until the next look, until an answer counts as lost
  const wired = new WeakSet();
  let timer = 0;

  // A ramp as 256 or 257 packed pixels, and as a CSS gradient.
  attention.lookup = function (kind) {
    const flat = window.wb.ramp(kind);
    const packed = new Uint32Array(flat.length / 3);
    for (let i = 0; i < packed.length; i++) packed[i] = (255 << 24) | (flat[3 * i + 2] << 16) | (flat[3 * i + 1] << 8) | flat[3 * i];
    return packed;
  };
  attention.rgb = function (kind, share) {
    const flat = window.wb.ramp(kind);
    const at = 3 * Math.round(Math.max(0, Math.min(1, share)) * (flat.length / 3 - 1));
    return [flat[at], flat[at + 1], flat[at + 2]];
  };
  attention.gradient = function (kind) {
    const stops = [];
    for (let i = 0; i <= 16; i++) stops.push(`rgb(${attention.rgb(kind, i / 16).join(" ")})`);
    return `linear-gradient(to right, ${stops.join(", ")})`;
  };

  // Three significant digits, a true minus; as workbench/figures/numbers.py writes them.
  attention.number = function (value, signed) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    const size = Math.abs(value);
    let text;
    if (size === 0) text = "0";
    else if (size < 1e-4 || size >= 1e7) text = size.toExponential(2).replace("e+", "e").replace("e-", "e−");
    else text = size.toFixed(Math.max(2 - Math.floor(Math.log10(size)), 0));
    return (value < 0 ? "−" : signed && size ? "+" : "") + text;
  };
  attention.twoDigits = (value) => (value === null ? "–" : value.toFixed(2).replace("-", "−"));

  // The state of an address; a score that does not exist is the usual one.
  function read(search) {
    const state = window.wb.state(search);
    return SCORE_WORDS[state.score] ? state : { ...state, score: window.wb.defaults.score };
  }

  attention.set = (fields) => window.wb.setState(fields);

  // The head that is open: the address' own, else the one with the highest score.
  attention.open = function () {
    const { state } = attention.shown;
    if (state.layer !== null && state.layer !== undefined) return { layer: state.layer, head: state.head || 0 };
    if (attention.shown.scores) return attention.ranking().find((cell) => !missing(cell.layer));
    return attention.shown.header && attention.shown.scoreless ? { layer: attention.firstLayer(), head: 0 } : null;
  };
  const missing = (layer) => ((attention.shown.header || {}).missing || []).includes(layer);
  attention.missing = missing;
  attention.firstLayer = function () {
    const { layers } = attention.shown.header;
    return Math.max(0, Array.from({ length: layers }, (_, layer) => layer).findIndex((layer) => !missing(layer)));
  };
  /* A site of the attention that is shown, as the address names its stack. */
  attention.address = function (layer, site) {
    const { stack } = attention.shown.state;
    return `${stack && stack !== "cross" ? `${stack}.` : ""}L${layer}.${stack === "cross" ? "cross_" : ""}${site}`;
  };
  attention.scoreTop = () => (attention.shown.state.score === "entropy" ? attention.shown.scores.top.entropy : 1);
  attention.scoreWords = () => SCORE_WORDS[attention.shown.state.score];
  attention.name = (cell) => `L${cell.layer} h${cell.head}`;
  attention.caption = function (cell) {
    if (missing(cell.layer)) return `layer ${cell.layer}: ${attention.shown.header.reason}`;
    const score = attention.score(cell.layer, cell.head);
    const words = score === null ? "" : ` · ${attention.scoreWords()} ${attention.twoDigits(score)}`;
    return attention.name(cell) + words;
  };
  // The server is asked at once; what follows the address waits until the head is likely drawn.
  attention.openHead = function (cell) {
    const { layer, head } = cell;
    if (missing(layer)) return;
    attention.shown.state = { ...attention.shown.state, layer, head };
    window.wb.set("attn-view", { data: viewOf(attention.shown.state, cell) });
    attention.paint();
    window.wb.setStateFirst({ layer, head }, SETTLED);
  };
  function viewOf(state, open) {
    const { tab, average, hide_first, edits } = state;
    return { layer: open && open.layer, head: open && open.head, tab, average, hide_first, edits };
  }

  attention.tip = function (text, event) {
    const tip = document.getElementById("attn-tip");
    if (!tip) return;
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
    const top = event.clientY + 18 + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 12 : event.clientY + 18;
    tip.style.transform = `translate(${Math.max(8, left)}px, ${top}px)`;
  };

  function move(right, down) {
    const { shown } = attention;
    if (!shown.plan) return;
    shown.cursor = attention.step(shown.cursor || attention.open() || { layer: 0, head: 0 }, right, down);
    document.getElementById("attn-live").textContent = attention.caption(shown.cursor);
    attention.paint();
  }

  // The head that a key means: the one under the pointer, the one that the arrows stand on, else the open one.
  function headMeant() {
    const { shown } = attention;
    const walking = document.activeElement && document.activeElement.id === "attn-canvas" ? shown.cursor : null;
    const meant = shown.hover || walking;
    return meant && !missing(meant.layer) ? meant : attention.open();
  }

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  function wire(canvas) {
    if (wired.has(canvas)) return;
    wired.add(canvas);
    const { shown } = attention;
    canvas.addEventListener("mousemove", (event) => {
      const cell = attention.at(event) || null;
      attention.tip(cell && attention.caption(cell), event);
      if (cell !== shown.hover) {
        shown.hover = cell;
        attention.paint();
      }
    });
    canvas.addEventListener("mouseleave", () => {
      shown.hover = null;
      attention.tip("");
      attention.paint();
    });
    canvas.addEventListener("click", (event) => {
      const cell = attention.at(event);
      if (cell) {
        shown.cursor = { layer: cell.layer, head: cell.head };
        attention.openHead(cell);
      }
    });
    for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, attention.paint);
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (ARROWS[event.key]) move(...ARROWS[event.key]);
      else if (event.key === "Enter" || event.key === " ") attention.openHead(shown.cursor || attention.open());
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    new ResizeObserver(attention.paint).observe(document.getElementById("attn-overview"));
  }

  function ranking() {
    const list = document.getElementById("attn-ranking");
    const { shown } = attention;
    if (!list) return;
    const about = document.getElementById("attn-score-about");
    about.textContent = JSON.parse(about.dataset.about)[shown.state.score];
    if (!shown.scores) return;
    const cells = attention.ranking().filter((cell) => !missing(cell.layer));
    const kept = cells.filter((cell) => cell.score >= shown.state.least);
    document.getElementById("attn-least-text").textContent = `${attention.twoDigits(shown.state.least)} · ${kept.length} of ${cells.length}`;
    const open = attention.open();
    list.replaceChildren(...kept.slice(0, 12).map((cell) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "attn-rank";
      button.setAttribute("aria-current", String(cell.layer === open.layer && cell.head === open.head));
      button.style.setProperty("--share", Math.max(0, Math.min(1, cell.score / attention.scoreTop())));
      for (const [name, text] of [["name", attention.name(cell)], ["bar", ""], ["score", attention.twoDigits(cell.score)]]) {
        const part = document.createElement("span");
        part.className = `attn-rank-${name}`;
        part.textContent = text;
        button.append(part);
      }
      button.addEventListener("click", () => attention.openHead(cell));
      item.append(button);
      return item;
    }));
  }

  function ask() {
    if (!document.getElementById("attn-page")) return;
    window.wb.set("attn-tick", { data: Date.now() });
    timer = setTimeout(ask, LOST);
  }

  async function load(url) {
    const { shown } = attention;
    if (shown.url === url) return;
    shown.url = url;
    try {
      const mosaic = await attention.fetchMosaic(url);
      if (shown.url !== url) return;
      Object.assign(shown, mosaic, { atlasKey: "" });
    } catch (refusal) {
      shown.url = null;
      document.getElementById("attn-overview-wait").textContent = `${refusal.message} ${refusal.hint || ""}`;
      return;
    }
    document.getElementById("attn-overview-wait").replaceChildren();
    document.getElementById("attn-overview-note").textContent = shown.header.note;
    attention.paint();
    ranking();
  }

  const callbacks = {
    // Draws the overview whenever its data, the address or the theme change.
    overview(mosaic, scores, search, theme, large) {
      const { shown } = attention;
      shown.state = read(search);
      shown.scores = scores && scores.values ? scores : null;
      shown.scoreless = Boolean(scores && scores.failed);
      shown.large = Boolean(large);
      const canvas = document.getElementById("attn-canvas");
      if (canvas) wire(canvas);
      keys();
      if (!mosaic) {
        Object.assign(shown, { url: null, header: null, tiles: null, plan: null, painted: null });
        return none();
      }
      load(mosaic.url + (shown.state.hide_first ? "&hide=1" : ""));
      attention.paint();
      ranking();
      return none();
    },
    // The part of the address that the head panel's server callback needs; unchanged parts do not wake it.
    view(search, scores, mosaic, before) {
      const { shown } = attention;
      shown.state = read(search);
      shown.scores = scores && scores.values ? scores : null;
      shown.scoreless = Boolean(scores && scores.failed);
      if (mosaic && !shown.header) shown.header = { layers: mosaic.layers, heads: mosaic.heads, missing: mosaic.missing };
      const view = viewOf(shown.state, attention.open());
      return JSON.stringify(view) === JSON.stringify(before) ? none() : view;
    },
    // From the controls into the address. Sorting by score opens the head that comes first.
    controls(score, sort, least, hide, flip, tab, average, search) {
      const before = read(search);
      const after = { score, sort, least, hide_first: Boolean(hide), flip: Boolean(flip), tab, average };
      const changed = Object.fromEntries(Object.entries(after).filter(([name, value]) => value !== null && value !== undefined && value !== before[name]));
      if (!Object.keys(changed).length) return none();
      if ((changed.sort === "score" || (changed.score && after.sort === "score")) && attention.shown.scores) {
        attention.shown.state = { ...before, ...changed };
        const { layer, head } = attention.ranking().find((cell) => !missing(cell.layer));
        Object.assign(changed, { layer, head });
      }
      if (changed.score) changed.least = 0;
      attention.set(changed);
      return none();
    },
    // From the address into the controls, so that a link, the palette and undo move them too.
    follow(search, scores, ...present) {
      const state = read(search);
      const wanted = [state.score, state.sort, state.least, state.hide_first, state.flip, state.tab, state.average];
      const entropy = state.score === "entropy" && scores && scores.values;
      const values = wanted.map((value, place) => (value === present[place] ? none() : value));
      return [...values, entropy ? scores.top.entropy : 1];
    },
    // While something is awaited, asks again a moment after each answer. Not at a fixed pace: Dash drops the answer of a
    // callback that was called again meanwhile, so a slow server would never be heard.
    awaited(waits) {
      // The open head may have begun to wait after this answer was given.
      clearTimeout(timer);
      if (waits || attention.view.awaited) timer = setTimeout(ask, SOON);
      return none();
    },
    ablate(clicks) {
      const open = clicks && (clicks === "key" ? headMeant() : attention.open());
      if (open) window.wb.addEdit(`zero:${attention.address(open.layer, "z")}[head=${open.head}]`);
      return none();
    },
    copy(clicks) {
      if (clicks) window.wb.copyLink();
      return none();
    },
    head(data, figure) {
      attention.showHead(figure, data);
      return none();
    },
  };

  // Keys of the page; false lets the frame have them elsewhere.
  let keyed = false;
  function keys() {
    if (keyed) return;
    keyed = true;
    const on = (key, run) => window.wb.onKey(key, () => (document.getElementById("attn-page") ? run() : false));
    for (const [key, steps] of Object.entries(ARROWS)) on(key, () => move(...steps));
    on("Enter", () => (attention.open() ? attention.openHead(attention.shown.cursor || attention.open()) : false));
    on("a", () => callbacks.ablate("key"));
    on("x", () => attention.cut());
    for (const [key, by] of [["[", -1], ["]", 1]]) {
      on(key, () => {
        const open = attention.open();
        if (!open) return false;
        const layer = Math.max(0, Math.min(attention.shown.header.layers - 1, open.layer + by));
        return attention.openHead({ layer, head: open.head });
      });
    }
  }

  attention.callbacks = callbacks;
})();
