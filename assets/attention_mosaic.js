// The overview of the Attention page: every head as a small map on one canvas, with score bars, cursor and selection.
(function () {
  "use strict";
  const attention = (window.wbAttention = window.wbAttention || {});
  const MARGIN = { left: 40, top: 36 };
  const DASH = [3, 2];
  const shown = {
    url: null, header: null, tiles: null, atlas: null, atlasKey: "", plan: null, scores: null,
    state: {}, cursor: null, hover: null, cross: null, large: false, order: [], painted: null,
  };
  attention.shown = shown;

  let palette = {};
  const colour = (name) => (palette[name] ??= window.wb.color(name));

  // The bytes of /data/mosaic: header length, header, one byte per pixel. Rejects with {message, hint}.
  attention.fetchMosaic = async function (url) {
    const answer = await fetch(url);
    if (!answer.ok) throw await attention.refusal(answer);
    const bytes = await answer.arrayBuffer();
    const length = new DataView(bytes).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
    return { header, tiles: new Uint8Array(bytes, 4 + length) };
  };

  attention.refusal = async function (answer) {
    const fallback = { message: `The server answered ${answer.status}.`, hint: "Reload the page." };
    return answer.json().catch(() => fallback);
  };

  // All tiles in the theme's colours: one row of tiles per layer.
  function atlas() {
    const theme = window.wb.themeName();
    const key = `${shown.url} ${theme}`;
    if (shown.atlasKey === key) return shown.atlas;
    const { layers, heads, side } = shown.header;
    const canvas = document.createElement("canvas");
    canvas.width = heads * side;
    canvas.height = layers * side;
    const image = new ImageData(canvas.width, canvas.height);
    const pixels = new Uint32Array(image.data.buffer);
    const lookup = attention.lookup("sequential");
    let from = 0;
    for (let tile = 0; tile < layers * heads; tile++) {
      const corner = Math.floor(tile / heads) * side * canvas.width + (tile % heads) * side;
      for (let row = 0; row < side; row++) {
        const to = corner + row * canvas.width;
        for (let column = 0; column < side; column++) pixels[to + column] = lookup[shown.tiles[from++]];
      }
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    shown.atlas = canvas;
    shown.atlasKey = key;
    return canvas;
  }

  attention.score = function (layer, head) {
    const grid = shown.scores && shown.scores.values[shown.state.score];
    return grid ? grid[layer][head] : null;
  };

  // Heads from the highest to the lowest score; in order of layers where there are no scores.
  attention.ranking = function () {
    const { layers, heads } = shown.header || shown.scores || { layers: 0, heads: 0 };
    const cells = [];
    for (let layer = 0; layer < layers; layer++) {
      for (let head = 0; head < heads; head++) cells.push({ layer, head, score: attention.score(layer, head) });
    }
    return shown.scores ? cells.sort((one, other) => other.score - one.score) : cells;
  };

  function dimmed(cell) {
    const score = attention.score(cell.layer, cell.head);
    return score !== null && score < shown.state.least;
  }

  // Where each head stands: rows of layers, or a wrapped ranking with captions. Maps may be wider than high, up to this:
  const WIDEST = 1.75;

  function arrange(box) {
    const cells = attention.ranking();
    const width = Math.max(box.clientWidth, 120);
    return shown.state.sort === "score" && shown.scores ? wrapped(cells, width) : rowed(cells, width, Math.max(box.clientHeight, 160));
  }

  function wrapped(cells, width) {
    const size = shown.large ? 96 : 52;
    const columns = Math.max(1, Math.floor((width - 4) / (size + 8)));
    cells.forEach((cell, place) => {
      cell.x = 4 + (place % columns) * (size + 8);
      cell.y = 4 + Math.floor(place / columns) * (size + 26);
    });
    const height = Math.ceil(cells.length / columns) * (size + 26) + 8;
    return { cells, wide: size, high: size, bar: 3, ranked: true, columns, width: columns * (size + 8), height };
  }

  function rowed(cells, width, height) {
    const { layers, heads } = shown.header;
    const gap = 3, bar = shown.scores ? 2 : 0;
    const clamp = (value, low, high) => Math.floor(Math.max(low, Math.min(high, value)));
    const fit = clamp((height - MARGIN.top - 4) / layers - gap - bar, 10, 96);
    const high = shown.large ? Math.min(2 * fit, 128) : fit;
    const wide = clamp((width - MARGIN.left - 4) / heads - gap, shown.large ? high : 13, WIDEST * high);
    for (const cell of cells) {
      const row = shown.state.flip ? layers - 1 - cell.layer : cell.layer;
      cell.x = MARGIN.left + cell.head * (wide + gap);
      cell.y = MARGIN.top + row * (high + gap + bar);
    }
    const size = { width: MARGIN.left + heads * (wide + gap), height: MARGIN.top + layers * (high + gap + bar) };
    return { cells, wide, high, bar, across: wide + gap, down: high + gap + bar, ranked: false, columns: heads, ...size };
  }

  // Draws once per frame, however often it is asked to.
  let asked = false;
  attention.paint = function () {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      palette = {};
      draw();
    });
  };

  function draw() {
    const canvas = document.getElementById("attn-canvas");
    const box = document.getElementById("attn-canvas-box");
    if (!canvas || !shown.tiles || !box.clientHeight) return;
    const plan = (shown.plan = arrange(box));
    const ratio = window.devicePixelRatio || 1;
    canvas.style.width = `${plan.width}px`;
    canvas.style.height = `${plan.height}px`;
    canvas.width = Math.round(plan.width * ratio);
    canvas.height = Math.round(plan.height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "11px " + colour("sans");
    if (!plan.ranked) axes(pen, plan);
    plan.cells.forEach((cell) => tile(pen, plan, cell, ratio));
    marks(pen, plan);
    bar("attn-overview-bar", shown.header.top, shown.header.clipped, plan);
    if (shown.painted !== shown.url) {
      shown.painted = shown.url;
      performance.mark("attention:overview");
    }
  }

  function axes(pen, plan) {
    const { layers, heads } = shown.header;
    pen.fillStyle = colour("muted");
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const everyHead = Math.ceil(18 / plan.across);
    for (let head = 0; head < heads; head += everyHead) pen.fillText(head, MARGIN.left + head * plan.across + plan.wide / 2, 26);
    pen.textAlign = "left";
    pen.fillText("head →", MARGIN.left, 9);
    pen.fillText(shown.state.flip ? "layer ↑" : "layer ↓", 0, 26);
    pen.textAlign = "right";
    const everyLayer = Math.ceil(12 / plan.down);
    for (let layer = 0; layer < layers; layer += everyLayer) {
      const row = shown.state.flip ? layers - 1 - layer : layer;
      pen.fillText(layer, MARGIN.left - 6, MARGIN.top + row * plan.down + plan.high / 2);
    }
  }

  // A layer without attention: hatched, as what is missing is everywhere.
  function hatch(pen, cell, wide, high) {
    pen.save();
    pen.beginPath();
    pen.rect(cell.x, cell.y, wide, high);
    pen.clip();
    pen.fillStyle = colour("sunken");
    pen.fill();
    pen.strokeStyle = colour("missing");
    pen.lineWidth = 1;
    pen.beginPath();
    for (let at = -high; at < wide; at += 6) { pen.moveTo(cell.x + at, cell.y + high); pen.lineTo(cell.x + at + high, cell.y); }
    pen.stroke();
    pen.restore();
    pen.globalAlpha = 1;
  }

  function tile(pen, plan, cell, ratio) {
    const { side } = shown.header;
    const { wide, high } = plan;
    pen.globalAlpha = dimmed(cell) ? 0.15 : 1;
    pen.fillStyle = colour("line");
    pen.fillRect(cell.x - 1, cell.y - 1, wide + 2, high + 2);
    if (attention.missing(cell.layer)) return hatch(pen, cell, wide, high);
    pen.imageSmoothingEnabled = high * ratio < side;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(atlas(), cell.head * side, cell.layer * side, side, side, cell.x, cell.y, wide, high);
    if (cell.score !== null && plan.bar) {
      const share = Math.max(0, Math.min(1, cell.score / attention.scoreTop()));
      pen.fillStyle = colour("accent");
      pen.fillRect(cell.x, cell.y + high + 1, wide * share, plan.bar - 1);
    }
    if (plan.ranked) caption(pen, plan, cell);
    pen.globalAlpha = 1;
  }

  function caption(pen, plan, cell) {
    const line = cell.y + plan.high + 15;
    pen.textBaseline = "alphabetic";
    pen.textAlign = "left";
    pen.fillStyle = colour("text");
    pen.fillText(`${cell.layer}.${cell.head}`, cell.x, line);
    pen.textAlign = "right";
    pen.fillStyle = colour("muted");
    pen.fillText(attention.twoDigits(cell.score), cell.x + plan.wide, line);
  }

  // Open: a solid frame. Cursor: a dashed one. A crosshair shows the query and key under the eye in the open map.
  function marks(pen, plan) {
    const frame = (place, style, width, dash) => {
      const cell = place && plan.cells.find((one) => one.layer === place.layer && one.head === place.head);
      if (!cell) return null;
      pen.setLineDash(dash);
      pen.strokeStyle = style;
      pen.lineWidth = width;
      pen.strokeRect(cell.x - 1.5, cell.y - 1.5, plan.wide + 3, plan.high + 3);
      pen.setLineDash([]);
      return cell;
    };
    frame(shown.hover, colour("line-strong"), 1, []);
    const open = frame(attention.open(), colour("selection"), 2.5, []);
    if (document.activeElement === document.getElementById("attn-canvas")) frame(shown.cursor, colour("text"), 1.5, DASH);
    if (open && shown.cross) crosshair(pen, plan, open);
  }

  function crosshair(pen, plan, cell) {
    const across = plan.wide / shown.header.tokens, down = plan.high / shown.header.tokens;
    const { query, key } = shown.cross;
    pen.strokeStyle = colour("positive");
    pen.lineWidth = 1;
    if (query !== null) pen.strokeRect(cell.x + 0.5, cell.y + down * query, plan.wide - 1, down);
    if (key !== null) pen.strokeRect(cell.x + across * key, cell.y + 0.5, across, plan.high - 1);
  }

  function bar(id, top, clipped, plan) {
    const host = document.getElementById(id);
    if (!host) return;
    host.querySelector(".attn-bar-ramp").style.background = attention.gradient("sequential");
    const score = shown.scores ? ` · line under a map: ${attention.scoreWords()} score` : "";
    const order = plan.ranked ? "layer.head and score, highest first · " : "";
    host.querySelector(".attn-bar-name").textContent = `${order}attention weight${score}`;
    host.querySelector(".attn-bar-high").textContent = (clipped ? "≥ " : "") + (top === 1 ? "1" : attention.number(top));
  }

  attention.at = function (event) {
    const canvas = document.getElementById("attn-canvas");
    const place = canvas.getBoundingClientRect();
    const x = event.clientX - place.left, y = event.clientY - place.top;
    const inside = (value, from, size) => value >= from - 2 && value <= from + size + 2;
    const { plan } = shown;
    return plan && plan.cells.find((one) => inside(x, one.x, plan.wide) && inside(y, one.y, plan.high + plan.bar));
  };

  // The head one step away on the screen: along the ranking, or over rows and columns.
  attention.step = function (from, right, down) {
    const { cells, columns, ranked } = shown.plan;
    if (ranked) {
      const place = cells.findIndex((one) => one.layer === from.layer && one.head === from.head) + right + down * columns;
      return cells[Math.max(0, Math.min(cells.length - 1, place))];
    }
    const { layers, heads } = shown.header;
    const limit = (value, count) => Math.max(0, Math.min(count - 1, value));
    return { layer: limit(from.layer + (shown.state.flip ? -down : down), layers), head: limit(from.head + right, heads) };
  };
})();
