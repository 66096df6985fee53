// The sheet of the bottom bar at phone width: opened by More, closed by a choice, Escape or a touch beside it.
(function () {
  "use strict";
  const more = () => document.getElementById("nav-more");

  function set(open, back) {
    const button = more();
    if (!button || (button.getAttribute("aria-expanded") === "true") === open) return;
    button.setAttribute("aria-expanded", String(open));
    if (open) document.querySelector("#nav-rest a").focus();
    else if (back) button.focus();
  }

  document.addEventListener("click", (event) => {
    const button = more();
    if (!button) return;
    if (button.contains(event.target)) set(button.getAttribute("aria-expanded") !== "true", true);
    else set(false, false);
  });
  document.addEventListener("keydown", (event) => {
    const button = more();
    if (event.key !== "Escape" || !button || button.getAttribute("aria-expanded") !== "true") return;
    event.preventDefault();
    event.stopPropagation();
    set(false, true);
  }, true);
  document.addEventListener("focusin", (event) => {
    if (!event.target.closest(".wb-nav")) set(false, false);
  });
})();
