/* The Tokenizer page in the browser: choosing a token, Enter in the text box, copies of the table. */
(function (wb) {
  "use strict";
  const noUpdate = () => window.dash_clientside.no_update;
  const CHIPS = "#tokenizer-chips [data-wb-token]";
  const chips = () => document.querySelectorAll(CHIPS);
  const chosen = (all) => {
    const at = wb.state().position;
    return at === null ? all.length - 1 : Math.min(at, all.length - 1);
  };

  wb.tokenizerView = function (search, before) {
    const all = chips();
    const at = chosen(all);
    all.forEach((chip, index) => chip.setAttribute("aria-pressed", index === at ? "true" : "false"));
    const view = { position: wb.state(search).position };
    return before && before.position === view.position ? noUpdate() : view;
  };
  wb.tokenizerTable = function (copy, csv, texts) {
    const asked = window.dash_clientside.callback_context.triggered_id;
    if (!texts || !(copy || csv)) return noUpdate();
    if (asked === "tokenizer-csv") {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([texts.csv], { type: "text/csv;charset=utf-8" }));
      link.download = "tokens.csv";
      link.click();
      window.setTimeout(() => URL.revokeObjectURL(link.href), 1000);
      return "csv";
    }
    const refused = () => wb.toast("The browser did not allow copying: use CSV");
    if (navigator.clipboard && window.isSecureContext) {
      navigator.clipboard.writeText(texts.tsv).then(() => wb.toast("Table copied"), refused);
    } else refused();
    return "copy";
  };

  document.addEventListener("click", function (event) {
    const chip = event.target.closest(CHIPS);
    if (chip) wb.setState({ position: Number(chip.dataset.wbToken) });
  });
  function split() {
    const text = document.getElementById("tokenizer-text").value;
    if (text !== wb.state().prompt) wb.setState({ prompt: text, position: null, token: null }, { push: true });
  }
  document.addEventListener("click", function (event) {
    if (event.target.closest("#tokenizer-apply")) split();
  });
  document.addEventListener("keydown", function (event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.target.id !== "tokenizer-text") return;
    event.preventDefault();
    split();
  });
  wb.chipReadout(CHIPS, "tokenizer-readout");
  wb.chipArrows(function () {
    const all = chips();
    return { chips: all, at: chosen(all), choose: (position) => wb.setState({ position }) };
  });
})(window.wb);
