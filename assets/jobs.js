/* Asks how the jobs stand: often while something runs or somebody acts, seldom otherwise. Dash hears of changes only. */
(function (wb) {
  "use strict";
  const OFTEN = 300, SELDOM = 1500, HIDDEN = 4000, RECENT = 8000, SILENT = 3;
  let known = "", active = false, lastInput = 0, missed = 0, timer = null, started = false;
  for (const name of ["pointerdown", "keydown"]) {
    window.addEventListener(name, () => { lastInput = Date.now(); }, { capture: true, passive: true });
  }
  function pace() {
    if (document.hidden) return HIDDEN;
    return active || Date.now() - lastInput < RECENT ? OFTEN : SELDOM;
  }
  function heard(answered) {
    missed = answered ? 0 : missed + 1;
    const line = document.getElementById("wb-silent");
    if (line) line.hidden = missed < SILENT;
  }
  async function ask() {
    timer = null;
    try {
      const answer = await fetch(`/wb/jobs?known=${known}`, { cache: "no-store" });
      if (answer.status === 200) {
        const told = await answer.json();
        known = told.pulse;
        active = told.active;
        wb.set("tick", { data: known });
      }
      heard(answer.ok);
    } catch (error) { heard(false); }
    timer = window.setTimeout(ask, pace());
  }
  /* Called by a clientside callback (parts/frame.py) once the window knows who it is. */
  wb.watchJobs = function (session) {
    if (session && !started) {
      started = true;
      ask();
      document.addEventListener("visibilitychange", function () {
        if (document.hidden || timer === null) return;
        window.clearTimeout(timer);
        ask();
      });
    }
    return window.dash_clientside.no_update;
  };
})(window.wb);
