/* The nodes and edges of a circuit as lists, for keyboard and screen reader. Texts are set as text. */
window.wbCircuits = window.wbCircuits || {};
(function (circuits) {
  "use strict";
  function make(tag, parent, text, name) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    parent.append(made);
    return made;
  }
  function opener(parent, pick, words) {
    const button = make("button", parent, words, "cir-pick");
    button.type = "button";
    button.dataset.cirPick = pick;
  }
  function nodes(told) {
    const box = document.createElement("div");
    make("h3", box, told.nodes_title);
    const list = make("ul", box, undefined, "cir-nodes");
    for (const [pick, words] of told.nodes) opener(make("li", list), pick, words);
    return box;
  }
  function edges(told) {
    const box = document.createElement("div");
    make("h3", box, told.edges_title);
    const table = make("table", make("div", box, undefined, "cir-scroll"), undefined, "cir-table");
    const head = make("tr", make("thead", table));
    for (const words of told.head) make("th", head, words).scope = "col";
    const body = make("tbody", table);
    for (const [pick, from, to, channel, score] of told.edges) {
      const row = make("tr", body);
      opener(make("td", row), pick, from);
      make("td", row, to);
      make("td", row, channel);
      make("td", row, score, "wb-mono cir-score");
    }
    return box;
  }
  /* Write the lists anew; who has one of their buttons in focus keeps it. */
  circuits.list = function (place, told) {
    const focused = place.contains(document.activeElement) ? document.activeElement.dataset.cirPick : null;
    place.replaceChildren(...(told ? [nodes(told), edges(told)] : []));
    if (!focused) return;
    for (const button of place.querySelectorAll("[data-cir-pick]")) {
      if (button.dataset.cirPick === focused) { button.focus({ preventScroll: true }); return; }
    }
  };
})(window.wbCircuits);
