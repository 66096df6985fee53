/* The Patch page in the browser: its controls, and the key that brings it for a head or for a cell of a map. */
window.wbPatching = window.wbPatching || {};
(function (patching) {
  "use strict";
  const USUAL = "usual";
  /* Numbers that may be left to the method. */
  const OPTIONAL = ["window", "text_window", "stride"];
  const SITE = /^L\d+\.(\w+)/;

  /* The control's value as the address holds it. */
  function held(name, value, state) {
    if (name === "metric" && value === "custom") return window.wbAblation.metric(value, "", state);
    if (Array.isArray(value)) return value.join(";");
    if (name === "star") return value === "1";
    if (name === "within") return typeof value === "number" ? value : 0;
    if (name === "draws") return typeof value === "number" ? value : undefined;
    if (OPTIONAL.includes(name)) return typeof value === "number" ? value : null;
    return value === USUAL ? "" : value;
  }
  /* Called by Dash (pages/patching.py) when a control has changed, and when controls were drawn. */
  patching.controls = function () {
    const state = window.wb.state();
    const changes = {};
    const triggered = window.dash_clientside.callback_context.triggered;
    // Several at once were drawn, not changed by hand: what they show is what the address means already.
    for (const { prop_id: id, value } of triggered.length === 1 ? triggered : []) {
      const name = JSON.parse(id.slice(0, id.lastIndexOf("."))).name;
      const wanted = value === undefined ? undefined : held(name, value, state);
      if (wanted === undefined || (wanted === null && !OPTIONAL.includes(name))) continue;
      const field = name === "own" ? "metric" : name;
      if (wanted !== state[field] && (name !== "own" || wanted)) changes[field] = wanted;
    }
    // A map of another method or site has other axes, sites and grids.
    if ("method" in changes) Object.assign(changes, { at: "", axes: "", shown: "" });
    if ("at" in changes) changes.axes = "";
    if (Object.keys(changes).length) window.wb.setState(changes);
    return window.dash_clientside.no_update;
  };

  /* `p`: on a cell of the Patch page, what a click does; elsewhere the page, for the site of the cell or for heads. */
  function bring() {
    const cell = document.activeElement && document.activeElement.closest(".abl-cell,.abl-item");
    if (cell && document.getElementById("pat-map-panel")) { cell.click(); return true; }
    const match = cell && SITE.exec((cell.dataset.ablToggle || "").split(";")[0]);
    const open = document.getElementById("attn-page");
    if (!match && !open) return false;
    window.wb.open("/patching", { method: "activation_patching", at: match ? match[1] : "z", axes: "", shown: "" });
    return true;
  }
  window.wb.onKey("p", bring);
})(window.wbPatching);
