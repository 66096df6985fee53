/* Runs in <head>, before anything is drawn: the chosen theme must not flash. */
(function () {
  "use strict";
  const key = "mantine-color-scheme-value";
  let chosen = null;
  try { chosen = window.localStorage.getItem(key); } catch (error) { chosen = null; }
  if (chosen !== "light" && chosen !== "dark") {
    chosen = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    /* The kit reads the same key when it starts. A private window may refuse it: then the choice lasts for the page. */
    try { window.localStorage.setItem(key, chosen); } catch (error) { /* see above */ }
  }
  document.documentElement.setAttribute("data-mantine-color-scheme", chosen);
})();
