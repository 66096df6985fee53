/* The Lens page in the browser: its controls, opening a cell, the edits of a cell's stream. Cells are drawn by ablation.js. */
window.wbLens = window.wbLens || {};
(function (lens) {
  "use strict";
  const here = () => document.getElementById("lens-panel");

  /* Called by Dash (pages/lens.py) when a control has changed, and when controls were drawn. */
  lens.controls = function () {
    const state = window.wb.state();
    const triggered = window.dash_clientside.callback_context.triggered;
    // Several at once were drawn, not changed by hand: what they show is what the address means already.
    if (triggered.length === 1) {
      const { prop_id: id, value } = triggered[0];
      const name = JSON.parse(id.slice(0, id.lastIndexOf("."))).name;
      const wanted = name === "lens_prompt" ? (value === "mean" ? null : Number(value)) : value;
      const usual = name === "lens_by" && state.lens_by === "";
      if (value !== undefined && value !== null && wanted !== state[name] && !(usual && same(value))) window.wb.setState({ [name]: wanted });
    }
    return window.dash_clientside.no_update;
  };
  /* Whether the map is coloured by this already: a list drawn anew tells its usual value. */
  const same = (value) => here() && here().querySelector(`[data-lens-by="${value}"]`) !== null;

  /* "5.3 L5.resid_pre[pos=3]": the entry, the position, the stream. */
  function read(cell) {
    const [place, part] = cell.dataset.lensCell.split(" ");
    const [layer, position] = place.split(".").map(Number);
    return { layer, position, part };
  }
  function open(cell) {
    const { layer, position } = read(cell);
    for (const other of document.querySelectorAll("[data-lens-cell]")) {
      const at = read(other);
      other.setAttribute("aria-current", at.layer === layer && at.position === position ? "true" : "false");
    }
    window.wb.setState({ lens_layer: layer, position });
  }
  document.addEventListener("click", function (event) {
    const target = event.target.closest && event.target.closest("[data-lens-cell],[data-lens-to],[data-lens-patch]");
    if (!target) return;
    if (target.dataset.lensCell !== undefined) open(target);
    else if (target.dataset.lensTo !== undefined) window.wb.setState({ position: Number(target.dataset.lensTo) });
    else patch();
  });
  function patch() {
    window.wb.open("/patching", { method: "activation_patching", at: window.wb.state().lens_at, axes: "pos", shown: "" });
  }
  /* The cell under the keyboard, else the open one of the clean map. */
  function present() {
    const active = document.activeElement;
    return (active && active.closest("[data-lens-cell]")) || document.querySelector('#lens-map [data-lens-cell][aria-current="true"]');
  }
  window.wb.onKey("a", function () {
    const cell = here() && present();
    const part = cell ? read(cell).part : "";
    if (!part) return false;
    window.wb.toast(window.wb.toggleEdits([`zero:${part}`]) ? "Added to the edits" : "Taken out of the edits");
  });
  window.wb.onKey("p", function () {
    if (!here()) return false;
    patch();
  });
})(window.wbLens);
