/* The number of the edited circuit: asked for after every change, and never an old one in the place of a new. */
window.wbCircuits = window.wbCircuits || {};
(function (circuits) {
  "use strict";
  const ROUTE = "/data/circuit/live";
  const at = (id) => document.getElementById(id);
  let stop = null, job = "";

  function say(value, interval, means, status, state) {
    const place = at("cir-value");
    if (!place) return;
    place.textContent = value;
    place.dataset.state = state;
    at("cir-interval").textContent = interval;
    at("cir-means").textContent = means;
    at("cir-status").replaceChildren(...status);
  }
  function button(words, act) {
    const made = document.createElement("button");
    made.type = "button";
    made.className = "wb-button";
    made.dataset.cirAct = act;
    made.textContent = words;
    return made;
  }
  /* A change was made: the number of before is gone at once, and a request for it, too. */
  circuits.computing = function (message) {
    if (message === undefined && stop) { stop.abort(); stop = null; }
    const words = message ? [`${message}… `, button("Cancel", "stop")] : ["computing…"];
    say("…", "", "", words, "computing");
    circuits.curve.point(null);
  };
  circuits.unnumbered = function () {
    if (stop) { stop.abort(); stop = null; }
    say("–", "", "", [], "none");
  };
  circuits.failed = (message) => say("–", "", "", [`${message} `, button("Try again", "again")], "failed");

  async function ask(query, signal) {
    const search = window.location.search || "?";
    const session = encodeURIComponent(window.wb.session());
    const answer = await window.fetch(`${ROUTE}${search}&session=${session}${query}`, { cache: "no-store", signal });
    const told = await answer.json();
    if (told.state === "failed") throw new Error(`${told.message.charAt(0).toUpperCase()}${told.message.slice(1)} ${told.hint || ""}`.trim());
    return told;
  }
  async function settled(query, signal, during) {
    for (;;) {
      const told = await ask(query, signal);
      if (told.state !== "queued" && told.state !== "running") return told;
      during(told);
    }
  }
  const lost = (error) => (error instanceof TypeError ? "The workbench does not answer. Is it still running?" : error.message);

  /* Ask for the number of the address. known: keep the one that is shown until the answer comes, where nothing changed. */
  circuits.number = async function (known) {
    if (!known || at("cir-value").dataset.state === "computing") circuits.computing();
    if (stop) stop.abort();
    const mine = stop = new AbortController();
    try {
      const told = await settled("", mine.signal, function (sofar) {
        job = sofar.live;
        if (mine === stop && sofar.message) circuits.computing(sofar.message);
      });
      if (mine !== stop) return;
      if (told.state === "none") { circuits.unnumbered(); return; }
      if (told.state === "cancelled") { say("–", "", "", ["Cancelled. ", button("Compute", "again")], "cancelled"); return; }
      say(told.faithfulness, told.interval, told.means, told.reason ? [told.reason] : [], "done");
      circuits.curve.point(told.value);
    } catch (error) {
      if (error.name !== "AbortError" && mine === stop) circuits.failed(lost(error));
    }
  };
  circuits.stop = function () {
    const body = JSON.stringify({ job, session: window.wb.session() });
    window.fetch("/data/circuit/cancel", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  };
  /* What cutting one edge alone does to the whole model, beside the button that asked. */
  circuits.exact = async function (pressed, edge) {
    const place = pressed.parentElement.querySelector(".cir-exact");
    pressed.disabled = true;
    place.textContent = "computing…";
    try {
      const told = await settled(`&without=${encodeURIComponent(edge)}`, undefined, (sofar) => { place.textContent = `${sofar.message || "computing"}…`; });
      place.textContent = told.effect || "It was replaced by a newer one: measure it again.";
    } catch (error) { place.textContent = lost(error); }
    pressed.disabled = false;
  };
})(window.wbCircuits);
