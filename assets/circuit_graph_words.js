// What the circuit graph says in words: the tooltip, the readout for those who listen, the legend. Text nodes only.
window.wbCircuitGraph = window.wbCircuitGraph || {};
(function (graph) {
  "use strict";
  const CHANNELS = { q: "as query", k: "as key", v: "as value", in: "as input" };
  const MARKS = { added: "added", cut: "cut", only_a: "only in A", only_b: "only in B", both: "in both" };
  const SAID = { positive: "positive score", negative: "negative score", "line-strong": "no score" };
  const DASHED = { q: "heard as query", k: "heard as key", v: "heard as value, MLP or logits" };

  graph.counted = (count, word) => `${String(count).replace(/\B(?=(\d{3})+$)/g, "\u202f")} ${word}${count === 1 ? "" : "s"}`;

  // Three significant digits, always with a sign.
  graph.number = function (value) {
    if (value === null || Number.isNaN(value)) return "no score";
    const size = Math.abs(value);
    let text = "0";
    if (size && (size < 1e-4 || size >= 1e7)) text = size.toExponential(2).replace("e+", "e").replace("e-", "e−");
    else if (size) text = size.toFixed(Math.max(2 - Math.floor(Math.log10(size)), 0));
    return (value < 0 ? "−" : size ? "+" : "") + text;
  };

  const named = (g, node) => (g.scene.labels[node] || g.scene.ids[node]).trim();

  function nodeLines(g, node) {
    const { scene } = g, { into, out } = scene;
    const hears = into.start[node + 1] - into.start[node], heard = out.start[node + 1] - out.start[node];
    const kind = scene.kinds[node] === "head" ? "head " : "";
    const lines = [`${kind}${named(g, node)}`, `${graph.counted(hears, "edge")} in, ${heard} out`];
    if (scene.nodeScore[node] !== null) lines.push(`score ${graph.number(scene.nodeScore[node])}`);
    if (scene.roles[node]) lines.push(scene.roles[node]);
    if (scene.groups[node] >= 0) lines.push(`group ${scene.groupNames[scene.groups[node]]}`);
    if (scene.pinned[node]) lines.push("pinned");
    return lines;
  }

  function edgeLines(g, edge) {
    const { scene } = g, channel = CHANNELS[scene.channel[edge]] || scene.channel[edge];
    const lines = [`${named(g, scene.source[edge])} → ${named(g, scene.target[edge])}, heard ${channel}`, graph.number(scene.score[edge])];
    if (MARKS[scene.mark[edge]]) lines.push(MARKS[scene.mark[edge]]);
    return lines;
  }

  const linesOf = (g, focus) => (focus.edge >= 0 ? edgeLines(g, focus.edge) : focus.node >= 0 ? nodeLines(g, focus.node) : []);

  graph.tipOf = function (g, event) {
    const { tip, hover } = g, lines = event ? linesOf(g, hover) : [];
    tip.hidden = !lines.length;
    if (!lines.length) return;
    const text = lines.join("\n");
    if (tip.textContent !== text) tip.textContent = text;
    const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
    const below = event.clientY + 18, top = below + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 12 : below;
    tip.style.transform = `translate(${Math.max(8, left)}px, ${Math.max(8, top)}px)`;
  };

  graph.readout = function (g) {
    const { scene, cursor, picked } = g, focus = g.keys && (cursor.node >= 0 || cursor.edge >= 0) ? cursor : picked;
    let lines = linesOf(g, focus);
    if (lines.length && (focus.edge >= 0 ? focus.edge === picked.edge : focus.node === picked.node && picked.edge < 0)) lines = [...lines, "picked"];
    const whole = scene.total && scene.total > scene.m ? `the ${graph.counted(scene.m, "edge")} of highest score, of ${graph.counted(scene.total, "edge").split(" ")[0]}` : graph.counted(scene.m, "edge");
    const text = lines.length ? lines.join(" · ") : scene.n ? `${graph.counted(scene.n, "node")}, ${whole}` : "";
    if (g.readout.textContent !== text) g.readout.textContent = text;
  };

  /* ---- The legend: for those signs, dashes, marks and groups that occur ---- */
  const signRole = (sign) => (sign > 0 ? "positive" : sign < 0 ? "negative" : "line-strong");

  // {kind, role | channel | sign, text} of each entry.
  graph.legendEntries = function (g) {
    const { scene } = g, entries = [];
    if (!scene.n) return entries;
    const signs = new Set(scene.sign), channels = new Set(scene.channel), marks = new Set(scene.mark);
    for (const sign of [1, -1, 0]) if (signs.has(sign)) entries.push({ kind: "line", role: signRole(sign), channel: "v", text: SAID[signRole(sign)] });
    for (const channel of ["q", "k", "v"]) {
      if (channels.has(channel) || (channel === "v" && channels.has("in"))) entries.push({ kind: "line", role: "muted", channel, text: DASHED[channel] });
    }
    for (const mark of Object.keys(graph.BADGES)) if (marks.has(mark)) entries.push({ kind: "sign", role: "text", sign: graph.BADGES[mark], text: MARKS[mark] });
    if (scene.pinned.some(Boolean)) entries.push({ kind: "sign", role: "text", sign: "◥", text: "pinned" });
    scene.groupNames.forEach((name, group) => entries.push({ kind: "swatch", role: graph.category(group), text: name }));
    return entries;
  };

  graph.writeLegend = function (g) {
    g.legend.replaceChildren(...graph.legendEntries(g).map((entry) => {
      const item = document.createElement("span"), sample = document.createElement("span"), words = document.createElement("bdi");
      item.className = "cg-entry";
      sample.className = `cg-${entry.kind}`;
      sample.setAttribute("aria-hidden", "true");
      sample.style.color = `var(--wb-${entry.role})`;
      if (entry.channel) sample.dataset.channel = entry.channel;
      if (entry.sign) sample.textContent = entry.sign;
      words.textContent = entry.text;
      item.append(sample, words);
      return item;
    }));
  };

  /* ---- The legend in an exported picture ---- */
  const ROOM = 6.6;

  graph.legendLines = function (g) {
    const lines = [[]];
    let x = 12;
    for (const entry of graph.legendEntries(g)) {
      const wide = 48 + entry.text.length * ROOM;
      if (x + wide > g.width && lines[lines.length - 1].length) { lines.push([]); x = 12; }
      lines[lines.length - 1].push({ ...entry, x });
      x += wide;
    }
    return lines;
  };

  graph.drawLegend = function (g, pen, lines) {
    lines.forEach((line, number) => {
      const y = g.height + 14 + 20 * number;
      for (const entry of line) {
        sample(g, pen, entry, y);
        pen.font = `12px ${g.colour("sans")}`;
        pen.textAlign = "left";
        pen.fillStyle = g.colour("text");
        pen.fillText(entry.text, entry.x + 30, y);
      }
    });
  };

  function sample(g, pen, entry, y) {
    pen.globalAlpha = 1;
    if (entry.kind === "sign") {
      pen.font = `600 12px ${g.colour("sans")}`;
      pen.textAlign = "center";
      pen.fillStyle = g.colour(entry.role);
      pen.fillText(entry.sign, entry.x + 12, y);
      return;
    }
    pen.beginPath();
    if (entry.kind === "swatch") {
      pen.globalAlpha = 0.28;
      pen.roundRect(entry.x, y - 6, 24, 12, 4);
      pen.fillStyle = g.colour(entry.role);
      pen.fill();
      pen.globalAlpha = 1;
      return;
    }
    pen.moveTo(entry.x, y);
    pen.lineTo(entry.x + 24, y);
    pen.lineWidth = 2;
    pen.strokeStyle = g.colour(entry.role);
    pen.setLineDash(graph.dashOf(entry.channel, 2));
    pen.stroke();
    pen.setLineDash([]);
  }
})(window.wbCircuitGraph);
