// The open head of the Attention page: the prompt as tokens, in step with the map, the tooltip and the overview.
(function () {
  "use strict";
  const attention = (window.wbAttention = window.wbAttention || {});
  const LINGER = 300; // ms that a look must last before the address keeps it
  const view = { data: null, values: null, shapes: [], text: null, token: null, column: false, timer: 0, answer: 0, awaited: false, edge: null };
  const wired = new WeakSet();
  attention.view = view;
  // What is said of a row and of a column, and when every cell of it is zero.
  const WORDS = {
    attention: ["attends to", "is attended to by", "nothing"],
    weighted: ["reads most from", "is read most by", "nothing"],
    scores: ["scores highest with key", "scores highest for query", "nothing"],
    difference: ["changes most at key", "changes most for query", "none: nothing changes"],
  };
  const signed = () => view.data.scale === "difference" || view.data.scale === "scores";

  // A typed array as plotly's Python side writes it, flat.
  function decode(typed) {
    const bytes = Uint8Array.from(atob(typed.bdata), (letter) => letter.charCodeAt(0)).buffer;
    return typed.dtype === "f4" ? new Float32Array(bytes) : new Float64Array(bytes);
  }

  async function matrix(figure, data) {
    if (!data.exact) return decode(figure.data[0].z);
    const answer = await fetch(data.exact);
    if (!answer.ok) throw await attention.refusal(answer);
    return new Float32Array(await answer.arrayBuffer());
  }

  attention.showHead = async function (figure, panel) {
    const host = document.getElementById("attn-text");
    if (!host || !panel) return;
    words(panel);
    view.awaited = panel.awaited;
    const data = panel.drawn, answer = ++view.answer;
    if (!data) {
      view.values = null;
      unlit();
      readout("");
      return;
    }
    let values;
    try {
      values = await matrix(figure, data);
    } catch (refusal) {
      readout(`${refusal.message} ${refusal.hint || ""}`);
      return;
    }
    if (answer !== view.answer) return;
    Object.assign(view, { data, values, shapes: figure.layout.shapes || [] });
    // The same text drawn again, as when something else arrives, leaves the look where it is.
    if (chips(host, data)) fromAddress(data);
    top(panel.top);
    light();
    map();
  };

  function fromAddress(data) {
    const { token, column } = attention.shown.state;
    view.column = Boolean(column);
    const count = (view.column && data.keys ? data.keys : data.strings).length;
    view.token = token !== null && token < count ? token : data.grid ? 0 : null;
  }

  const say = (name, text) => { document.getElementById(`attn-${name}`).textContent = text; };

  function words(panel) {
    for (const name of ["title", "sharing", "meaning"]) say(name, panel[name]);
    say("map-note", panel.note);
    document.getElementById("attn-head").classList.toggle("wb-edited", panel.edited);
    for (const [name, enabled] of Object.entries(panel.enabled)) {
      const control = document.getElementById(`attn-${name}`);
      if (control && control.disabled === enabled) window.wb.set(`attn-${name}`, { disabled: !enabled });
    }
  }

  // The strongest cells as a list: the map in words.
  function top(cells) {
    const list = document.createElement(cells.length ? "ol" : "p");
    list.className = cells.length ? "attn-top-list" : "attn-note";
    if (!cells.length) list.textContent = "No cell differs from zero.";
    for (const [query, key, weight] of cells) {
      const item = document.createElement("li");
      for (const [name, text] of [["wb-mono", named(query)], ["", " attends to "], ["wb-mono", namedKey(key)], ["attn-top-number", attention.number(weight, signed())]]) {
        const part = document.createElement("bdi");
        part.className = name;
        part.textContent = text;
        item.append(part);
      }
      list.append(item);
    }
    document.getElementById("attn-top").replaceChildren(list);
  }

  /* The tokens of the keys: the same as those of the queries, but for attention between two stacks. */
  const keysOf = () => view.data.keys || view.data.strings;
  const value = (query, key) => view.values[query * keysOf().length + key];
  const named = (place) => `${place} ${view.data.strings[place]}`;
  const namedKey = (place) => `${place} ${keysOf()[place]}`;

  // Puts the tokens in place; false where they stand there already.
  function chips(host, data) {
    const text = JSON.stringify([data.strings, data.keys]);
    if (view.text === text && host.children.length) return false;
    view.text = text;
    const keys = document.getElementById("attn-keys");
    keys.hidden = !data.keys;
    fill(host, data.strings, data.special);
    fill(keys, data.keys || [], data.special_keys || []);
    wire(host);
    wireKeys(keys);
    return true;
  }
  function fill(host, strings, special) {
    host.replaceChildren(...strings.map((text, place) => {
      const chip = document.createElement("span");
      chip.className = special[place] ? "attn-token attn-special" : "attn-token";
      chip.setAttribute("role", "option");
      chip.dataset.place = place;
      chip.tabIndex = place === 0 ? 0 : -1;
      const word = document.createElement("bdi");
      word.textContent = text;
      const weight = document.createElement("span");
      weight.className = "attn-weight";
      chip.append(word, weight);
      return chip;
    }));
  }
  /* Over the source's tokens: a column, what attends to this one. */
  function wireKeys(host) {
    if (wired.has(host)) return;
    wired.add(host);
    const place = (event) => event.target.closest(".attn-token");
    host.addEventListener("mouseover", (event) => { if (place(event)) look(Number(place(event).dataset.place), true); });
    host.addEventListener("focusin", (event) => { if (place(event)) look(Number(place(event).dataset.place), true); });
    host.addEventListener("click", (event) => { if (place(event)) keep(); });
  }

  function wire(host) {
    if (wired.has(host)) return;
    wired.add(host);
    const place = (event) => {
      const chip = event.target.closest(".attn-token");
      return chip ? Number(chip.dataset.place) : null;
    };
    host.addEventListener("mouseover", (event) => {
      const at = place(event);
      if (at !== null) look(at, event.shiftKey);
    });
    host.addEventListener("mousemove", (event) => {
      if (view.token !== null && event.shiftKey !== view.column && place(event) === view.token) look(view.token, event.shiftKey);
    });
    host.addEventListener("focusin", (event) => {
      const at = place(event);
      if (at !== null && at !== view.token) look(at, false);
    });
    host.addEventListener("click", (event) => {
      if (place(event) !== null) keep();
    });
    host.addEventListener("keydown", (event) => {
      const count = view.data.strings.length;
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1, Home: -count, End: count }[event.key];
      if (event.key === "Shift") return look(view.token ?? 0, true);
      if (event.key === "Escape") return look(null, false);
      if (!step || event.ctrlKey || event.metaKey || event.altKey) return undefined;
      event.preventDefault();
      event.stopPropagation();
      const next = Math.max(0, Math.min(count - 1, (view.token ?? 0) + step));
      look(next, event.shiftKey);
      host.children[next].focus({ preventScroll: false });
      return undefined;
    });
    host.addEventListener("keyup", (event) => {
      if (event.key === "Shift" && view.column) look(view.token, false);
    });
  }

  // Looks at one token: its row (what it attends to) or its column (what attends to it).
  function look(token, column) {
    if (!view.values) return;
    view.token = token;
    view.column = Boolean(column);
    light();
    clearTimeout(view.timer);
    view.timer = setTimeout(keep, LINGER);
  }
  attention.look = look;

  function keep() {
    clearTimeout(view.timer);
    const { token, column } = attention.shown.state;
    if (token !== view.token || Boolean(column) !== view.column) attention.set({ token: view.token, column: view.column });
  }

  function shade(weight) {
    const { low, high, scale } = view.data;
    if (!Number.isFinite(weight)) return null;
    return attention.rgb(signed() ? "diverging" : "sequential", (weight - low) / (high - low));
  }

  const luminance = ([red, green, blue]) => (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255;

  function bare(host) {
    for (const chip of host.children) {
      chip.style.background = "";
      chip.classList.remove("attn-on-dark", "attn-on-light", "attn-lit");
      chip.lastChild.textContent = "";
    }
  }

  // While a view is awaited, the tokens stand without its weights.
  function unlit() {
    for (const name of ["attn-text", "attn-keys"]) bare(document.getElementById(name));
  }

  function light() {
    const host = document.getElementById("attn-text");
    if (!host || !view.values) return;
    const weights = weightsOf();
    const best = view.token === null ? [] : strongest(weights);
    const keys = document.getElementById("attn-keys");
    const other = view.data.keys ? (view.column ? host : keys) : host;
    const own = view.data.keys ? (view.column ? keys : host) : host;
    if (own !== other) {
      bare(own);
      [...own.children].forEach((chip, place) => chip.classList.toggle("attn-looked", place === view.token));
      [...other.children].forEach((chip) => chip.classList.remove("attn-looked"));
    }
    [...other.children].forEach((chip, place) => {
      const rgb = view.token === null ? null : shade(weights[place]);
      chip.style.background = rgb ? `rgb(${rgb.join(" ")})` : "";
      chip.classList.toggle("attn-on-dark", Boolean(rgb) && luminance(rgb) < 0.5);
      chip.classList.toggle("attn-on-light", Boolean(rgb) && luminance(rgb) >= 0.5);
      if (own === other) chip.classList.toggle("attn-looked", place === view.token);
      chip.classList.toggle("attn-lit", place === best[0]);
      chip.tabIndex = place === (view.token ?? 0) ? 0 : -1;
      chip.setAttribute("aria-selected", String(place === view.token));
      const text = rgb && best.includes(place) ? attention.number(weights[place], signed()) : "";
      chip.lastChild.textContent = text;
    });
    if (attention.paintImage) attention.paintImage(view.data, weights, view.token, view.column);
    readout(sentence(weights, best));
    outline(best[0]);
    attention.shown.cross = view.token === null ? null : crossing(best[0]);
    attention.paint();
  }

  const crossing = (best) => (view.column ? { query: best ?? null, key: view.token } : { query: view.token, key: best ?? null });

  function weightsOf() {
    const count = view.column ? view.data.strings.length : keysOf().length;
    return Array.from({ length: count }, (_, other) => (view.token === null ? 0 : view.column ? value(other, view.token) : value(view.token, other)));
  }

  // The places of the three largest weights (in size), without the hidden first key and without nothing.
  function strongest(weights) {
    const size = (place) => (view.data.scale === "scores" ? weights[place] : Math.abs(weights[place]));
    return weights.map((_, place) => place)
      .filter((place) => Number.isFinite(weights[place]) && weights[place] !== 0 && !(view.data.hide_first && !view.column && place === 0))
      .sort((one, other) => size(other) - size(one)).slice(0, 3);
  }

  function sentence(weights, best) {
    if (view.token === null) return "";
    const [mine, theirs] = view.column ? [namedKey, named] : [named, namedKey];
    const list = best.map((place) => `${theirs(place)} ${attention.number(weights[place], signed())}`).join(", ");
    const [row, column, nothing] = WORDS[view.data.scale];
    return `${mine(view.token)} ${view.column ? column : row} ${list || nothing}`;
  }

  function readout(text) {
    const line = document.getElementById("attn-readout");
    if (line) line.textContent = text;
  }

  const plot = () => document.querySelector("#attn-map .js-plotly-plot");

  // Frames the row or column looked at and its strongest cell in the map.
  function outline(best) {
    const graph = plot();
    if (!graph || !graph.layout || !window.Plotly) return;
    const across = [-0.5, keysOf().length - 0.5], down = [-0.5, view.data.strings.length - 0.5];
    const line = { color: window.wb.color("positive"), width: 1.5 };
    const shapes = [...view.shapes];
    const rect = (x, y, width) => shapes.push({ type: "rect", x0: x[0], x1: x[1], y0: y[0], y1: y[1], line: { ...line, width } });
    const around = (place) => [place - 0.5, place + 0.5];
    if (view.token !== null) {
      rect(view.column ? around(view.token) : across, view.column ? down : around(view.token), 1.5);
      if (best !== undefined) rect(around(view.column ? view.token : best), around(view.column ? best : view.token), 2.5);
    }
    if (shapes.length || (graph.layout.shapes || []).length) window.Plotly.relayout(graph, { shapes });
  }

  // The map may be drawn after its data: waits for it, then follows the pointer over it.
  function map(tries = 40) {
    const graph = plot();
    if (!graph || !graph.on) {
      if (tries) setTimeout(() => map(tries - 1), 25);
      return;
    }
    outline(view.token === null ? undefined : strongest(weightsOf())[0]);
    performance.mark("attention:head");
    if (wired.has(graph)) return;
    wired.add(graph);
    graph.on("plotly_hover", (event) => {
      const query = Math.round(event.yvals[0]), key = Math.round(event.xvals[0]);
      if (!view.values || query < 0 || key < 0 || query >= view.data.strings.length || key >= keysOf().length) return;
      const weight = value(query, key);
      const masked = Number.isFinite(weight) ? attention.number(weight, signed()) : "masked";
      attention.tip(`query ${named(query)} → key ${namedKey(key)} · ${masked}`, event.event);
      point(query, key);
    });
    graph.on("plotly_unhover", () => {
      attention.tip("");
      clearPoint();
    });
    graph.on("plotly_click", (event) => {
      const [query, key] = [Math.round(event.points[0].y), Math.round(event.points[0].x)];
      look(query, event.event.shiftKey);
      choose({ query, key });
    });
  }

  // The edge that is to be cut: the cell that was clicked, else the strongest one of the token looked at.
  function choose(edge) {
    view.edge = edge;
    const button = document.getElementById("attn-cut");
    if (!button) return;
    button.disabled = !edge;
    button.textContent = edge ? `Cut edge ${edge.query} → ${edge.key}` : "Cut edge";
  }
  attention.cut = function () {
    const open = attention.open();
    const { query, key } = view.edge || attention.shown.cross || {};
    if (!open || query === undefined || query === null || key === undefined || key === null) return false;
    const at = `${attention.address(open.layer, "pattern")}[head=${open.head},q_pos=${query},k_pos=${key}]`;
    window.wb.addEdit(window.wb.writeEdit({ kind: "mask_edge", at }));
    return true;
  };
  document.addEventListener("click", (event) => {
    if (event.target.closest && event.target.closest("#attn-cut")) attention.cut();
  });

  // A cell under the pointer: its row in the text, the key marked, the crosshair in the overview.
  function point(query, key) {
    const host = document.getElementById("attn-text");
    if (view.token !== query || view.column) {
      look(query, false);
      show(host, host.children[query]);
    }
    const list = view.data.keys ? document.getElementById("attn-keys") : host;
    [...list.children].forEach((chip, place) => chip.classList.toggle("attn-pointed", place === key));
    attention.shown.cross = { query, key };
    attention.paint();
  }

  // Scrolls the text, not the page, to a token.
  function show(host, chip) {
    const over = chip.offsetTop - host.offsetTop;
    if (over < host.scrollTop || over + chip.offsetHeight > host.scrollTop + host.clientHeight) host.scrollTop = over - host.clientHeight / 2;
  }

  function clearPoint() {
    const host = document.getElementById("attn-text");
    if (host) [...host.children].forEach((chip) => chip.classList.remove("attn-pointed"));
  }
})();
