/* Chips of tokens on any page: what the one under the pointer is, and the arrows that walk over them. */
(function (wb) {
  "use strict";
  /* Says in the line `readout` what a chip is while it is pointed at or has the focus. */
  wb.chipReadout = function (selector, readout) {
    function tell(event) {
      const chip = event.target.closest && event.target.closest(selector);
      const line = document.getElementById(readout);
      if (!chip || !line) return;
      const token = document.createElement("strong");
      token.textContent = chip.dataset.wbShown;
      line.replaceChildren(token, document.createTextNode("  " + chip.dataset.wbFacts));
    }
    document.addEventListener("pointerover", tell);
    document.addEventListener("focusin", tell);
  };
  /* Left and right choose the chip beside the chosen one; the focus goes along where a chip had it. `row` gives the
     chips, which of them is chosen and what choosing one does; null where the page has none. */
  wb.chipArrows = function (row) {
    for (const [key, step] of [["ArrowLeft", -1], ["ArrowRight", 1]]) {
      wb.onKey(key, function () {
        const { chips, at, choose } = row() || { chips: [] };
        if (!chips.length) return false;
        const next = Math.max(0, Math.min(chips.length - 1, at + step));
        choose(next);
        if ([...chips].includes(document.activeElement)) chips[next].focus();
        return true;
      });
    }
  };
})(window.wb);
