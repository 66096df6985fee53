// A row (or column) of attention over the image: each patch is tinted by its weight; a patch is chosen by pointing at it.
(function () {
  "use strict";
  const attention = (window.wbAttention = window.wbAttention || {});
  const wired = new WeakSet();
  const DEEPEST = 0.88;

  function cellsOf(host, count) {
    if (host.children.length !== count) {
      host.replaceChildren(...Array.from({ length: count }, () => {
        const cell = document.createElement("button");
        cell.type = "button";
        cell.tabIndex = -1;
        return cell;
      }));
    }
    if (!wired.has(host)) {
      wired.add(host);
      const place = (event) => (event.target.dataset.place === undefined ? null : Number(event.target.dataset.place));
      const chosen = (event) => { if (place(event) !== null) attention.look(place(event), event.shiftKey); };
      host.addEventListener("click", chosen);
      host.addEventListener("focusin", chosen);
      host.addEventListener("pointermove", (event) => {
        if (place(event) !== null) attention.tip(event.target.getAttribute("aria-label"), event);
      });
      host.addEventListener("pointerleave", () => attention.tip(""));
      host.addEventListener("keydown", (event) => arrows(host, event));
    }
    return [...host.children];
  }

  function arrows(host, event) {
    const columns = Number(host.dataset.columns), cells = [...host.children], at = cells.indexOf(document.activeElement);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (!step || at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const next = cells[at + step];
    if (next) next.focus({ preventScroll: true });
  }

  attention.paintImage = function (data, weights, token, column) {
    const host = document.getElementById("attn-patches"), before = document.getElementById("attn-prefix");
    if (!host || !before || !data.grid) return;
    const [rows, columns] = data.grid, first = data.strings.length - rows * columns;
    host.dataset.columns = columns;
    before.dataset.columns = 1;
    const size = (place) => (Number.isFinite(weights[place]) ? Math.abs(weights[place]) : 0);
    const patches = Array.from({ length: rows * columns }, (_, patch) => first + patch);
    const high = token === null ? 0 : Math.max(0, ...patches.map(size));
    const signed = data.scale === "difference" || data.scale === "scores";
    const colour = (place) => {
      const share = high ? Math.min(1, size(place) / high) : 0;
      const rgb = signed ? attention.rgb("diverging", weights[place] < 0 ? 0.5 - share / 2 : 0.5 + share / 2) : attention.rgb("sequential", 0.25 + 0.5 * share);
      return `rgb(${rgb.join(" ")} / ${(DEEPEST * share).toFixed(3)})`;
    };
    const label = (place) => `${data.strings[place]}: ${token === null ? "choose a patch" : attention.number(weights[place], signed)}`;
    const paint = (cell, place, word) => {
      cell.dataset.place = place;
      cell.style.background = token === null ? "" : colour(place);
      cell.setAttribute("aria-label", label(place));
      cell.setAttribute("aria-pressed", String(place === token));
      cell.tabIndex = place === (token ?? first) ? 0 : -1;
      if (word) cell.textContent = label(place);
    };
    cellsOf(host, patches.length).forEach((cell, patch) => paint(cell, first + patch, false));
    cellsOf(before, first).forEach((cell, place) => paint(cell, place, true));
    const whose = token === null ? "" : token < first ? data.strings[token] : `patch ${data.strings[token]}`;
    document.getElementById("attn-image-of").textContent = token === null ? "Choose a patch." : column ? `What attends to ${whose}` : `Where ${whose} looks · click a patch, or the class token, to see its row; with Shift its column`;
    document.getElementById("attn-image-high").textContent = attention.number(high);
    document.getElementById("attn-image-ramp").style.background = attention.gradient(signed ? "diverging" : "sequential");
  };
})();
