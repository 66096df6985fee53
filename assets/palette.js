/* The command palette: filter commands, understand heads such as "23.3", move with the arrows. */
(function (wb) {
  "use strict";
  let chosen = 0;
  let shown = [];
  const field = () => document.getElementById("palette-input");
  const list = () => document.getElementById("palette-list");

  function build() {
    if (field()) return;
    const input = document.createElement("input");
    input.id = "palette-input";
    input.className = "wb-palette-input";
    input.placeholder = "Page, head such as 23.3, or command";
    input.autocomplete = "off";
    input.spellcheck = false;
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-controls", "palette-list");
    input.setAttribute("aria-expanded", "true");
    input.setAttribute("aria-label", "Page, head or command");
    const rows = document.createElement("div");
    rows.id = "palette-list";
    rows.className = "wb-palette-list";
    rows.setAttribute("role", "listbox");
    rows.setAttribute("aria-label", "Commands");
    document.getElementById("flyout-palette").append(input, rows);
  }
  function buildHelp() {
    const box = document.getElementById("flyout-help");
    if (box.childElementCount) return;
    const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
    box.append(make("h2", "Keys"), ...JSON.parse(box.dataset.keys).map(([key, what]) => {
      const line = Object.assign(document.createElement("div"), { className: "wb-key" });
      line.append(make("kbd", key), make("span", what));
      return line;
    }));
  }
  function commands() {
    const box = document.getElementById("flyout-palette");
    if (!box.wbCommands) box.wbCommands = JSON.parse(box.dataset.commands || "[]");
    return box.wbCommands;
  }
  function heads(text) {
    const match = /^\s*l?\s*(\d+)\s*(?:[.,:\s]|\s*h)\s*h?\s*(\d+)\s*$/i.exec(text);
    if (!match) return [];
    const layer = Number(match[1]);
    const head = Number(match[2]);
    const name = layer + "." + head;
    return [
      { title: "Open head " + name, run: () => wb.open("/attention", { layer, head }) },
      { title: "Zero head " + name, run: () => wb.addEdit("zero:L" + layer + ".z[head=" + head + "]") },
    ];
  }
  function matches(title, words) {
    const text = title.toLowerCase();
    return words.every((word) => text.includes(word));
  }
  function draw() {
    const text = field().value;
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    shown = [...heads(text), ...commands().filter((command) => matches(command.title, words))];
    chosen = Math.max(0, Math.min(chosen, shown.length - 1));
    const rows = shown.map(function (command, index) {
      const row = document.createElement("div");
      row.className = "wb-palette-row";
      row.id = "palette-row-" + index;
      row.setAttribute("role", "option");
      row.setAttribute("aria-selected", index === chosen ? "true" : "false");
      row.textContent = command.title;
      row.addEventListener("click", () => run(index));
      return row;
    });
    if (!rows.length) {
      const none = document.createElement("div");
      none.className = "wb-palette-none";
      none.textContent = "Nothing fits. Type a page, a command, or a head such as 23.3.";
      rows.push(none);
    }
    list().replaceChildren(...rows);
    field().setAttribute("aria-activedescendant", shown.length ? "palette-row-" + chosen : "");
    const row = document.getElementById("palette-row-" + chosen);
    if (row) row.scrollIntoView({ block: "nearest" });
  }
  function run(index) {
    const command = shown[index];
    if (!command) return;
    wb.close();
    if (command.run) command.run();
    else if (command.path) wb.open(command.path);
    else wb.act(command.action);
  }
  window.addEventListener("wb-flyout", function (event) {
    if (event.detail === "help") buildHelp();
    if (event.detail !== "palette") return;
    build();
    chosen = 0;
    field().value = "";
    draw();
    field().focus();
  });
  document.addEventListener("input", function (event) {
    if (event.target.id === "palette-input") { chosen = 0; draw(); }
  });
  document.addEventListener("keydown", function (event) {
    if (event.target.id !== "palette-input") return;
    if (event.key === "ArrowDown") chosen = Math.min(chosen + 1, shown.length - 1);
    else if (event.key === "ArrowUp") chosen = Math.max(chosen - 1, 0);
    else if (event.key === "Enter") { event.preventDefault(); run(chosen); return; }
    else return;
    event.preventDefault();
    draw();
  });
})(window.wb);
