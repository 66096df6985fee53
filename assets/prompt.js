/* The Prompt page in the browser: hovering and choosing a token, the sliders, waiting for the one capture. */
(function (wb) {
  "use strict";
  const noUpdate = () => window.dash_clientside.no_update;
  const ENDED = ["done", "failed", "cancelled"];

  /* {id, state} once the job of a page has ended; `job` is what the page submitted. */
  wb.jobEnded = function (events, job, before) {
    if (!job) return noUpdate();
    const event = (events || {})[job.id];
    const state = ENDED.includes(job.state) ? job.state : event ? event[0] : null;
    if (!ENDED.includes(state)) return noUpdate();
    if (before && before.id === job.id && before.state === state) return noUpdate();
    return { id: job.id, state };
  };
  wb.promptView = function (search, job, ended, before) {
    const state = wb.state(search);
    mark(state);
    if (!ended || !job || ended.id !== job.id) return noUpdate();
    const view = { id: job.id, state: ended.state };
    for (const name of ["position", "temperature", "top_k", "top_p", "chosen"]) view[name] = state[name];
    return before && JSON.stringify(before) === JSON.stringify(view) ? noUpdate() : view;
  };
  /* One chip is open: a generated one, or one of the prompt. */
  function mark(state) {
    const chips = document.querySelectorAll("#prompt-chips [data-wb-token]");
    const made = document.querySelectorAll("#gen-chips [data-gen-step]");
    const generated = state.steps > 0 && state.chosen !== null;
    const at = generated ? -1 : state.position === null ? chips.length - 1 : state.position;
    const open = generated ? Math.min(state.chosen, made.length - 1) : -1;
    chips.forEach((chip, index) => chip.setAttribute("aria-pressed", index === at ? "true" : "false"));
    made.forEach((chip, index) => chip.setAttribute("aria-pressed", index === open ? "true" : "false"));
  }
  let pending = {};
  let timer = 0;
  wb.promptSlider = function (field, value) {
    const state = wb.state();
    /* On arrival a slider repeats the state, at most cut to its range: that is no change. */
    const box = document.getElementById("prompt-" + field + "-value");
    if (!box || !document.activeElement || !document.activeElement.closest(".prompt-slider")) return noUpdate();
    if (state[field] !== value) {
      pending[field] = value;
      window.clearTimeout(timer);
      timer = window.setTimeout(function () { wb.setState(pending); pending = {}; }, 70);
    }
    return String(Math.round(value * 100) / 100);
  };

  document.addEventListener("click", function (event) {
    const chip = event.target.closest("#prompt-chips [data-wb-token]");
    if (chip) wb.setState({ position: Number(chip.dataset.wbToken), chosen: null });
    const made = event.target.closest("#gen-chips [data-gen-step]");
    if (made) wb.setState({ chosen: Number(made.dataset.genStep) });
    if (event.target.closest("[data-prompt-edit]")) editToken();
    const button = event.target.closest("[data-gen]");
    if (button) generate(button.dataset);
  });

  /* The residual stream at the token that is open joins the edits. */
  function editToken() {
    const state = wb.state();
    const chips = document.querySelectorAll("#prompt-chips [data-wb-token]");
    if (!chips.length) return false;
    const pos = state.position === null ? chips.length - 1 : state.position;
    wb.addEdit(`zero:L${state.layer || 0}.resid_pre[pos=${pos}]`, true);
    return true;
  }
  wb.onKey("a", () => (document.querySelector("[data-prompt-edit]") ? editToken() : false));

  /* ---- The continuation: how many tokens, and how they are chosen, stand in the address ---- */
  function generate(data) {
    const state = wb.state();
    const chips = document.getElementById("gen-chips");
    const ended = Boolean(chips && chips.dataset.ended) && state.steps > Number(chips.dataset.taken);
    const now = ended ? Number(chips.dataset.taken) : state.steps;
    const more = { step: 1, many: Number(data.genMany), undo: -1, reset: -now }[data.gen];
    if (more > 0 && ended) { wb.toast("The model ended the text here"); return; }
    const steps = Math.max(0, Math.min(now + more, Number(data.genMost)));
    if (more > 0 && steps === now) { wb.toast("The address holds up to " + data.genMost + " tokens: keep them as the prompt"); return; }
    wb.setState({ steps, chosen: steps ? steps - 1 : null }, { push: true });
  }
  wb.generationControls = function (mode, seed, layer, head, hide) {
    const index = (text) => (text === "all" || text === null || text === undefined ? null : Number(text));
    const changes = { sampled: mode === "drawn", hide_first: Boolean(hide), layer: index(layer), head: index(head) };
    if (Number.isInteger(seed) && seed >= 0) changes.seed = seed;
    wb.setState(changes);
    return noUpdate();
  };
  wb.generationFollow = function (search, mode, seed, layer, head, hide) {
    const state = wb.state(search);
    const text = (value) => (value === null ? "all" : String(value));
    const wanted = [state.sampled ? "drawn" : "greedy", state.seed, text(state.layer), text(state.head), state.hide_first];
    const shown = [mode, seed, layer, head, Boolean(hide)];
    const none = state.steps === 0;
    return [...wanted.map((value, i) => (value === shown[i] ? noUpdate() : value)), !state.sampled, none, none, none];
  };
  const PROMPT = "#prompt-chips [data-wb-token]", MADE = "#gen-chips [data-gen-step]";
  wb.chipReadout(PROMPT + ", " + MADE, "prompt-readout");
  wb.chipArrows(function () {
    const state = wb.state();
    const chips = document.querySelectorAll(PROMPT), made = document.querySelectorAll(MADE);
    if (chips.length && made.length && state.chosen !== null) {
      return { chips: made, at: state.chosen, choose: (chosen) => wb.setState({ chosen }) };
    }
    const at = state.position === null ? chips.length - 1 : state.position;
    return { chips, at, choose: (position) => wb.setState({ position, chosen: null }) };
  });
})(window.wb);
