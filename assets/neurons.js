/* The Neurons page in the browser: its controls, opening a neuron, ablating one, what is under the pointer. */
window.wbNeurons = window.wbNeurons || {};
(function (neurons) {
  "use strict";
  const NUMBERED = /^L?(\d+)[.:]n?(\d+)$/i;
  const EXPERT = /^L?(\d+)\.e?(\d+)\.n?(\d+)$/i;
  const page = () => document.getElementById("nrn-rank-panel");

  /* A neuron as somebody types it, as its address: 5.123, 1.2.40 of an expert, or the address itself. */
  function address(typed) {
    const text = typed.trim();
    const dense = NUMBERED.exec(text), expert = EXPERT.exec(text);
    const stack = window.wb.state().stack;
    const prefix = stack && stack !== "cross" ? stack + "." : "";
    if (dense) return `${prefix}L${dense[1]}.mlp_post[unit=${dense[2]}]`;
    if (expert) return `${prefix}L${expert[1]}.expert_post[expert=${expert[2]},unit=${expert[3]}]`;
    return text;
  }
  function held(name, value) {
    if (name === "neuron") return value ? { neuron: address(value) } : {};
    if (name === "within") return { within: value === "all" ? null : Number(value) };
    if (name === "hide_first") return { hide_first: Boolean(value) };
    if (name === "position") return { position: value === "last" ? null : Number(value), rank_by: "at" };
    return { [name]: value };
  }
  /* Called by Dash (pages/neurons.py) when a control has changed, and when controls were drawn. */
  neurons.controls = function () {
    const state = window.wb.state();
    const triggered = window.dash_clientside.callback_context.triggered;
    // Several at once were drawn, not changed by hand: what they show is what the address means already.
    for (const { prop_id: id, value } of triggered.length === 1 ? triggered : []) {
      if (value === undefined || value === null) continue;
      const name = JSON.parse(id.slice(0, id.lastIndexOf("."))).name;
      const changes = held(name, value);
      const changed = Object.entries(changes).filter(([field, wanted]) => wanted !== state[field]);
      if (!changed.length) continue;
      if (name === "position") window.wb.set({ type: "nrn-set", name: "rank_by" }, { value: "at" });
      window.wb.setState(Object.fromEntries(changed), { push: name === "neuron" });
    }
    return window.dash_clientside.no_update;
  };

  /* ---- Which is open, which is in the edits ---- */
  const open = () => (document.getElementById("nrn-panel") || { dataset: {} }).dataset.nrnPart || "";
  function mark() {
    if (!page()) return;
    const now = open(), inEdits = window.wb.heldEdits();
    for (const one of document.querySelectorAll("[data-neuron]")) {
      one.setAttribute("aria-current", one.dataset.neuron === now ? "true" : "false");
      one.classList.toggle("nrn-held", inEdits.has(one.dataset.neuron));
    }
    const button = document.getElementById("nrn-ablate");
    if (button) button.classList.toggle("nrn-held", inEdits.has(now));
  }
  let waiting = false;
  new MutationObserver(function () {
    if (waiting || !page()) return;
    waiting = true;
    window.requestAnimationFrame(() => { waiting = false; mark(); });
  }).observe(document.documentElement, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-nrn-part", "data-tray-edit"] });
  function ablate(part) {
    if (!part) return false;
    window.wb.toast(window.wb.toggleParts([part], "zero") ? "Added to the edits" : "Taken out of the edits");
    mark();
    return true;
  }

  document.addEventListener("click", function (event) {
    const target = event.target.closest && event.target.closest("[data-neuron],#nrn-ablate");
    if (!target) return;
    if (target.id === "nrn-ablate") ablate(open());
    else window.wb.setState({ neuron: target.dataset.neuron }, { push: true });
  });
  window.wb.onKey("a", function () {
    if (!page()) return false;
    const focused = document.activeElement && document.activeElement.closest("[data-neuron]");
    return ablate(focused ? focused.dataset.neuron : open());
  });
  for (const name of ["pointerover", "focusin"]) {
    document.addEventListener(name, function (event) {
      const token = event.target.closest && event.target.closest("[data-nrn-facts]");
      const box = token && (token.closest(".nrn-text") || document.getElementById("nrn-text"));
      const line = box && box.querySelector(".nrn-readout");
      if (!line) return;
      const strong = document.createElement("strong");
      strong.textContent = token.dataset.nrnShown;
      line.replaceChildren(strong, document.createTextNode("  " + token.dataset.nrnFacts));
    });
  }
})(window.wbNeurons);
