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
    mark(state.position);
    if (!ended || !job || ended.id !== job.id) return noUpdate();
    const view = { id: job.id, state: ended.state };
    for (const name of ["position", "temperature", "top_k", "top_p"]) view[name] = state[name];
    return before && JSON.stringify(before) === JSON.stringify(view) ? noUpdate() : view;
  };
  function mark(position) {
    const chips = document.querySelectorAll("#prompt-chips [data-wb-token]");
    const at = position === null ? chips.length - 1 : position;
    chips.forEach((chip, index) => chip.setAttribute("aria-pressed", index === at ? "true" : "false"));
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
    if (chip) wb.setState({ position: Number(chip.dataset.wbToken) });
  });
  function tell(event) {
    const chip = event.target.closest && event.target.closest("#prompt-chips [data-wb-token]");
    const line = document.getElementById("prompt-readout");
    if (!chip || !line) return;
    const token = document.createElement("strong");
    token.textContent = chip.dataset.wbShown;
    line.replaceChildren(token, document.createTextNode("  " + chip.dataset.wbFacts));
  }
  document.addEventListener("pointerover", tell);
  document.addEventListener("focusin", tell);
  for (const [key, step] of [["ArrowLeft", -1], ["ArrowRight", 1]]) {
    wb.onKey(key, function () {
      const chips = document.querySelectorAll("#prompt-chips [data-wb-token]");
      if (!chips.length) return false;
      const now = wb.state().position === null ? chips.length - 1 : wb.state().position;
      const next = Math.max(0, Math.min(chips.length - 1, now + step));
      wb.setState({ position: next });
      if (document.activeElement && document.activeElement.closest("#prompt-chips")) chips[next].focus();
      return true;
    });
  }
})(window.wb);
