/* Exports in the browser: fetch the file, say how it goes beside the button, hand it to the browser's downloads. */
(function () {
  "use strict";
  const LOOK = 500; // ms between looks at a job
  const lineOf = (button) => button.closest(".exp-menu, .exp-figure").querySelector(".exp-say");
  function say(line, text, wrong) {
    line.textContent = text;
    line.classList.toggle("wb-bad", Boolean(wrong));
  }
  async function fetched(address) {
    const answer = await window.fetch(address);
    if (!answer.ok) {
      const type = answer.headers.get("Content-Type") || "";
      const said = type.includes("json") ? await answer.json() : { message: `the server answered ${answer.status}.`, hint: "" };
      throw new Error(`${said.message.charAt(0).toUpperCase()}${said.message.slice(1)} ${said.hint || ""}`.trim());
    }
    const named = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") || "");
    return { name: named ? named[1] : "export", data: await answer.blob() };
  }
  function hand({ name, data }) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(data);
    link.download = name;
    link.click();
    window.setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }
  async function run(button) {
    const query = new URLSearchParams({ theme: window.wb.themeName() });
    if (button.dataset.grid) query.set("grid", button.dataset.grid);
    // What the address says of the circuit's nodes at the time of the click: labels, groups and pins.
    if (button.closest("[data-export-drafted]")) {
      const { draft, given } = window.wb.state();
      for (const [name, text] of Object.entries({ draft, given })) if (text) query.set(name, text);
    }
    await attempt(button, `Making ${button.textContent}…`, async () => {
      const file = await fetched(`${button.dataset.export}?${query}`);
      hand(file);
      say(lineOf(current(button)), `${file.name} is in your downloads.`);
    });
  }
  /* The button as it is now: a page that is drawn anew has another one. */
  const current = (button) => document.querySelector(`[data-export="${button.dataset.export}"]`) || button;
  async function attempt(button, words, work) {
    button.disabled = true;
    say(lineOf(button), words);
    try { await work(); }
    catch (error) {
      const words = error instanceof TypeError ? "The workbench does not answer. Is it still running?" : error.message;
      say(lineOf(current(button)), words, true);
    }
    for (const one of [button, current(button)]) one.disabled = false;
  }
  /* Forms for which the model is opened are jobs: begun, looked after, and then told of or fetched. */
  async function told(address, options) {
    const answer = await window.fetch(address, { cache: "no-store", ...options });
    return answer.json();
  }
  const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  function saved(line, now) {
    const path = document.createElement("code"), link = document.createElement("a");
    path.textContent = now.folder;
    link.textContent = "Open it";
    link.href = now.open;
    line.classList.remove("wb-bad");
    line.replaceChildren("Saved in ", path, `. ${now.words.join(" ")} `, link);
  }
  async function runJob(button) {
    const address = button.dataset.export, line = () => lineOf(current(button));
    await attempt(button, `${button.textContent}: starting…`, async () => {
      const begin = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ session: window.wb.session() }) };
      let now = await told(address, begin);
      while (["queued", "running"].includes(now.state)) {
        current(button).disabled = true;
        say(line(), `${capital(now.message)}…`);
        await new Promise((resolve) => window.setTimeout(resolve, LOOK));
        now = await told(address);
      }
      if (now.file) {
        const file = await fetched(now.file);
        hand(file);
        say(line(), `${file.name} is in your downloads.`);
      } else if (now.state === "done") saved(line(), now);
      else say(line(), `${capital(now.message)} ${now.hint || ""}`.trim(), now.state === "failed");
      const menu = line().closest(".exp-menu");
      if (!menu.isConnected || !menu.open) window.wb.toast(line().textContent);
    });
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("[data-export]");
    if (button) { (button.dataset.exportJob ? runJob : run)(button); return; }
    for (const menu of document.querySelectorAll(".exp-menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll(".exp-menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  window.wb.onKey("e", () => {
    const menu = document.querySelector(".exp-menu");
    if (!menu) return false;
    menu.open = true;
    menu.scrollIntoView({ block: "nearest" });
    menu.querySelector("[data-export]").focus();
    return true;
  });
})();
