/* The edit tray in the browser: edits as text and as objects, undo and redo, the form of each edit. */
(function (wb) {
  "use strict";
  const HISTORY = "wb-edit-history";
  const MOST_STEPS = 100;
  const SHORT = ["zero", "mean", "patch"];
  /* Fields of which only one can be given. */
  const INSTEAD = { sd: "scale", scale: "sd", value: "vector", vector: "value" };

  /* ---- Text and object: as workbench/edit_text.py reads and writes them ---- */
  wb.readEdit = function (text) {
    if (text.startsWith("{")) {
      try { return JSON.parse(text); } catch (error) { return { kind: "", at: text }; }
    }
    const colon = text.indexOf(":");
    return { kind: text.slice(0, colon), at: text.slice(colon + 1) };
  };
  wb.writeEdit = function (edit) {
    if (SHORT.includes(edit.kind) && Object.keys(edit).length === 2) return `${edit.kind}:${edit.at}`;
    return JSON.stringify(edit).replaceAll(";", "\\u003b");
  };
  wb.edits = () => wb.state().edits.split(";").filter(Boolean);

  /* ---- Changes, with the history of the session ---- */
  function loadHistory() {
    try { return JSON.parse(window.sessionStorage.getItem(HISTORY)) || { past: [], future: [] }; }
    catch (error) { return { past: [], future: [] }; }
  }
  function saveHistory(history) {
    history.past = history.past.slice(-MOST_STEPS);
    try { window.sessionStorage.setItem(HISTORY, JSON.stringify(history)); } catch (error) { /* undo is lost, edits are not */ }
    enable(history);
  }
  function enable(history) {
    for (const [id, steps] of [["tray-undo", history.past], ["tray-redo", history.future]]) {
      const button = document.getElementById(id);
      if (button) button.disabled = !steps.length;
    }
  }
  let known = null;
  /* Called at the moment of a change, and again when the address has it: what comes from a page or a link is new then. */
  function record(text) {
    if (known !== null && known !== text) {
      const history = loadHistory();
      history.past.push(known);
      history.future = [];
      saveHistory(history);
    }
    known = text;
  }
  wb.setEdits = function (list) {
    const text = list.join(";");
    const first = text && !wb.state().edits;
    if (known === null) known = wb.state().edits;
    record(text);
    wb.setState({ edits: text });
    if (first) open();
  };
  function open() { if (window.innerWidth > 1100) wb.tray(true); }
  /* change: open its form at once, for what is only a first guess. */
  wb.addEdit = function (text, change) {
    if (change) opened = text;
    if (wb.edits().includes(text)) { wb.toast("That edit is in the tray already"); return; }
    wb.setEdits([...wb.edits(), text]);
    wb.toast("Added to the edit tray");
  };
  /* What is in the tray: the edits, and their parts, since a cell may stand for either. */
  wb.heldEdits = () => new Set(wb.edits().flatMap((text) => [text, wb.readEdit(text).at]));
  /* Add parts as edits of a kind, or take out whatever is done to them when all are edited. Gives whether they were added. */
  wb.toggleParts = function (parts, kind) {
    const held = wb.heldEdits();
    const on = parts.every((part) => held.has(part));
    wb.setEdits(on
      ? wb.edits().filter((text) => !parts.includes(wb.readEdit(text).at))
      : [...wb.edits(), ...parts.filter((part) => !held.has(part)).map((part) => `${kind}:${part}`)]);
    return !on;
  };
  /* Add whole edits in place of others of the same parts, or take them out when all are there. Gives whether they were added. */
  wb.toggleEdits = function (texts) {
    const held = wb.heldEdits();
    const on = texts.every((text) => held.has(text));
    const parts = new Set(texts.map((text) => wb.readEdit(text).at));
    wb.setEdits(on
      ? wb.edits().filter((text) => !texts.includes(text))
      : [...wb.edits().filter((text) => texts.includes(text) || !parts.has(wb.readEdit(text).at)), ...texts.filter((text) => !held.has(text))]);
    return !on;
  };
  wb.removeEdit = (text) => wb.setEdits(wb.edits().filter((edit) => edit !== text));
  wb.clearEdits = () => wb.setEdits([]);
  /* What an edit has become since its row was drawn: two changes may follow each other faster than the server answers. */
  const became = new Map();
  function current(text) {
    for (let steps = became.size; steps > 0 && !wb.edits().includes(text) && became.has(text); steps -= 1) text = became.get(text);
    return text;
  }
  function replace(stale, after) {
    const before = current(stale), list = wb.edits();
    if (before === after) return;
    became.set(before, after);
    if (opened === before) opened = after;
    wb.setEdits(list.map((text) => (text === before ? after : text)).filter((text, place, all) => all.indexOf(text) === place));
  }
  function step(from, to) {
    const history = loadHistory();
    if (!history[from].length) { wb.toast(from === "past" ? "Nothing to undo" : "Nothing to redo"); return; }
    history[to].push(wb.state().edits);
    const text = history[from].pop();
    saveHistory(history);
    known = text;
    wb.setState({ edits: text });
  }
  wb.undo = () => step("past", "future");
  wb.redo = () => step("future", "past");

  /* Called by a clientside callback (parts/frame.py) when the address has changed. */
  wb.editsChanged = function (search, before) {
    const text = wb.state(search).edits;
    const count = text.split(";").filter(Boolean).length;
    const pill = document.getElementById("header-edits");
    if (pill) pill.dataset.edited = count ? "1" : "";
    document.documentElement.dataset.wbEdits = count ? "1" : "";
    const words = document.getElementById("edit-count");
    if (words) wb.set("edit-count", { children: count === 0 ? "clean" : count === 1 ? "1 edit" : count + " edits" });
    if (known === "" && count) open();
    /* What the address holds now: an answer to an earlier change may come after a later one. */
    record(wb.state().edits);
    enable(loadHistory());
    return before === text ? window.dash_clientside.no_update : text;
  };

  /* ---- The form of an edit: kind, address, fields; built from what parts/tray_form.py says ---- */
  let opened = "";
  let focused = "";
  function element(tag, props, ...children) {
    const made = Object.assign(document.createElement(tag), props);
    made.append(...children);
    return made;
  }
  const labelled = (text, control) => element("label", {}, element("span", { textContent: text }), control);
  function select(name, value, options, change) {
    const control = element("select", { name }, ...options.map(([key, words]) => element("option", { value: key, textContent: words, selected: key === value })));
    control.addEventListener("change", () => change(control.value));
    return control;
  }
  function input(name, value, change, props) {
    const control = element("input", { name, value: value === null || value === undefined ? "" : String(value), autocomplete: "off", spellcheck: false, ...props });
    control.addEventListener("change", () => change(control.value));
    return control;
  }
  function form(text, spec) {
    if (spec.raw !== undefined) return [labelled("edit", input("raw", spec.raw, (value) => replace(text, value.trim()), {}))];
    const put = function (changes) {
      const next = { ...wb.readEdit(current(text)), ...changes };
      for (const name of Object.keys(changes)) {
        if (INSTEAD[name] && changes[name] !== undefined) delete next[INSTEAD[name]];
        if (changes[name] === undefined) delete next[name];
      }
      replace(text, wb.writeEdit(next));
    };
    const kinds = spec.kinds.map((kind) => [kind.text || text, kind.verb]);
    const own = spec.kinds.find((kind) => kind.name === spec.kind);
    const kind = select("kind", own.text || text, kinds, (value) => replace(text, value));
    const at = input("at", spec.at, (value) => put({ at: value.trim() }), {});
    return [labelled("kind", kind), labelled("part", at), ...spec.fields.flatMap((field) => control(field, put))];
  }
  function control(field, put) {
    const set = (value) => put({ [field.name]: value });
    if (field.type === "choice") {
      const options = field.options.includes(field.value) ? field.options : [field.value, ...field.options];
      return [labelled(field.label, select(field.name, field.value, options.map((name) => [name, name]), set))];
    }
    if (field.type === "vector") return vector(field, set);
    if (field.type === "parts") {
      /* Parts hold commas of their own, inside brackets. */
      const read = (typed) => typed.split(/[;\s]+|,(?![^[]*\])/).filter(Boolean);
      return [labelled(field.label, input(field.name, field.value.join(", "), (typed) => set(read(typed)), {}))];
    }
    const number = (value) => set(value.trim() === "" || Number.isNaN(Number(value)) ? undefined : Number(value));
    return [labelled(field.label, input(field.name, field.value, number, { type: "number", step: field.type === "whole" ? "1" : "any" }))];
  }
  /* A vector: the unembedding of one token minus another's, the difference of two sets' means, or numbers. */
  function vector(field, set) {
    const value = field.value;
    const sort = value === null ? "none" : Array.isArray(value) ? "numbers" : value.token !== undefined ? "token" : "of";
    const starts = { token: { token: wb.state().answer, minus: wb.state().foil }, of: { of: "clean", minus: "corrupt" }, numbers: [1] };
    const sorts = [["token", "token minus token"], ["of", "set minus set"], ["numbers", "numbers"]];
    if (sort === "none") sorts.unshift(["none", "none"]);
    const rows = [labelled(field.label, select("vector", sort, sorts, (name) => set(starts[name])))];
    const part = (changes) => set(Object.fromEntries(Object.entries({ ...value, ...changes }).filter(([, given]) => given !== "" && given !== null)));
    if (sort === "token") {
      const shown = (token) => (token && token.id !== undefined ? `#${token.id}` : token);
      const read = (typed) => (/^#\d+$/.test(typed) ? { id: Number(typed.slice(1)) } : typed);
      rows.push(labelled("token", input("token", shown(value.token), (token) => part({ token: read(token) }), {})));
      rows.push(labelled("minus", input("minus", shown(value.minus), (minus) => part({ minus: read(minus) }), {})));
    } else if (sort === "of") {
      const sets = field.options.map((name) => [name, name]);
      const read = (typed) => (/^\d+$/.test(typed) ? Number(typed) : typed.trim());
      rows.push(labelled("set", select("of", value.of, sets, (of) => part({ of }))));
      rows.push(labelled("minus", select("minus", value.minus || "", [["", "nothing"], ...sets], (minus) => part({ minus }))));
      rows.push(labelled("position", input("pos", value.pos, (pos) => part({ pos: read(pos) }), { placeholder: "all" })));
    } else if (sort === "numbers") {
      const area = element("textarea", { name: "numbers", rows: 2, spellcheck: false, value: value.join(", ") });
      area.addEventListener("change", function () {
        const numbers = area.value.split(/[\s,[\]]+/).filter(Boolean).map(Number);
        if (numbers.length && numbers.every(Number.isFinite)) set(numbers);
        else wb.toast("Numbers are written as 0.1, −2, 3: one for each entry of the part");
      });
      rows.push(labelled("numbers", area));
    }
    return rows;
  }

  function draw() {
    for (const row of document.querySelectorAll("[data-tray-edit]")) {
      const host = row.querySelector("[data-tray-form]");
      const text = row.dataset.trayEdit;
      const isOpen = opened === text;
      host.hidden = !isOpen;
      row.querySelector("[data-wb-change]").setAttribute("aria-expanded", String(isOpen));
      if (!isOpen || host.drawn === host.dataset.trayForm) continue;
      host.drawn = host.dataset.trayForm;
      host.replaceChildren(...form(text, JSON.parse(host.dataset.trayForm)));
      const field = focused && host.querySelector(`[name="${focused}"]`);
      if (field) field.focus({ preventScroll: true });
    }
  }
  document.addEventListener("click", function (event) {
    const button = event.target.closest && event.target.closest("[data-wb-change]");
    if (!button) return;
    const text = button.dataset.wbChange;
    opened = opened === text ? "" : text;
    focused = opened ? "kind" : "";
    draw();
  });
  /* A form that is drawn anew gives the focus back to its field, unless the user has gone elsewhere in the meantime. */
  for (const name of ["focusin", "pointerdown"]) {
    document.addEventListener(name, function (event) {
      const inside = event.target.closest && event.target.closest("[data-tray-form]");
      if (!inside) focused = "";
      else if (event.target.name) focused = event.target.name;
    });
  }
  let waiting = false;
  new MutationObserver(function (records) {
    const ours = records.some((record) => record.target.closest && record.target.closest("#tray-list"));
    if (!ours || waiting) return;
    waiting = true;
    window.requestAnimationFrame(() => { waiting = false; draw(); });
  }).observe(document.documentElement, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-tray-form", "data-tray-edit"] });
})(window.wb);
