"use strict";
(function () {
  const graph = document.getElementById("figure-of-the-circuit");
  const edges = [...graph.querySelectorAll(".edge")];
  const nodes = [...graph.querySelectorAll(".node")];
  let kept = null;
  function show(node) {
    const n = node && node.dataset.n;
    graph.classList.toggle("chosen", Boolean(node));
    for (const edge of edges) edge.classList.toggle("on", edge.dataset.s === n || edge.dataset.t === n);
    for (const other of nodes) other.classList.toggle("on", other === node);
  }
  function keep(node) {
    kept = kept === node ? null : node;
    show(kept);
  }
  for (const node of nodes) {
    node.addEventListener("pointerenter", () => show(node));
    node.addEventListener("pointerleave", () => show(kept));
    node.addEventListener("focus", () => show(node));
    node.addEventListener("blur", () => show(kept));
    node.addEventListener("click", () => keep(node));
    node.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        keep(node);
      }
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") show((kept = null));
  });
  const field = document.getElementById("find");
  const rows = [...document.querySelectorAll("#edges tr")].slice(1);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      found += row.hidden ? 0 : 1;
    }
    document.getElementById("found").textContent = words.length ? `${found} of ${rows.length} edges` : "";
  });
})();
