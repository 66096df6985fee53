/* The frame in the browser: state in the address, keys, theme, flyouts. Pages use window.wb; edits are in tray.js. */
window.wb = window.wb || {};
(function (wb) {
  "use strict";
  const NO_UPDATE = () => window.dash_clientside.no_update;

  /* ---- State: the query string, with the defaults of workbench/urls.py ---- */
  function parse(text, fallback) {
    if (typeof fallback === "boolean") return text === "1" || text === "true" || text === "True";
    if (typeof fallback === "number") return Number(text);
    if (fallback === null) return text === "" ? null : Number(text);
    return text;
  }
  function print(value) {
    if (value === null || value === undefined) return "";
    if (typeof value === "boolean") return value ? "1" : "0";
    return String(value);
  }
  /* The state of the address: every field, typed as its default is. */
  wb.state = function (search) {
    const given = new URLSearchParams(search === undefined ? window.location.search : search || "");
    const state = {};
    for (const [name, fallback] of Object.entries(wb.defaults)) {
      state[name] = given.has(name) ? parse(given.get(name), fallback) : fallback;
    }
    return state;
  };
  /* The query string after `changes`; fields equal to their default are left out. */
  wb.search = function (changes) {
    const params = new URLSearchParams(window.location.search);
    for (const [name, value] of Object.entries(changes)) {
      if (print(value) === print(wb.defaults[name])) params.delete(name);
      else params.set(name, print(value));
    }
    const text = params.toString();
    return text ? "?" + text : "";
  };
  wb.go = function (path, search, push) {
    if (wb.write(path, search, push)) window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
  };
  /* The address alone, without its followers; whether it changed. */
  wb.write = function (path, search, push) {
    const target = path + search;
    if (target === window.location.pathname + window.location.search) return false;
    window.history[push ? "pushState" : "replaceState"]({}, "", target);
    return true;
  };
  /* The address now, its followers `later` ms after: what is done at once is not held up by them. */
  wb.setStateFirst = function (changes, later) {
    if (!wb.write(window.location.pathname, wb.search(changes), false)) return;
    clearTimeout(telling);
    telling = window.setTimeout(tell, later);
  };
  let telling = 0;
  function tell() {
    clearTimeout(telling);
    telling = 0;
    window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
  }
  /* What is pressed next may read the address by its followers: they hear of it before. */
  window.addEventListener("pointerdown", () => { if (telling) tell(); }, true);
  window.addEventListener("keydown", (event) => { if (telling && (event.key === "Enter" || event.key === " ")) tell(); }, true);
  /* Change fields of the state. {push: true} makes a step that the browser's Back undoes. */
  wb.setState = function (changes, options) {
    wb.go(window.location.pathname, wb.search(changes), Boolean(options && options.push));
  };
  /* Go to a page, keeping the state; `changes` are fields to change on the way. */
  wb.open = function (path, changes) {
    wb.go(path, wb.search(changes || {}), true);
  };
  wb.set = (id, props) => window.dash_clientside.set_props(id, props);
  wb.color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--wb-" + name).trim();
  wb.themeName = () => document.documentElement.getAttribute("data-mantine-color-scheme") === "dark" ? "dark" : "light";
  wb.ramp = (kind) => wb.ramps[wb.themeName()][kind];

  /* ---- Called by Dash's clientside callbacks (parts/frame.py, parts/prompt_box.py) ---- */
  const INPUTS = ["model", "prompt", "answer", "foil", "special", "plain", "target", "image", "stack"];
  /* What else a flyout chooses: it closes once that is in the address. */
  const CHOSEN = ["task", "n", "variant", "data", "columns"];
  let chosen = null;
  /* The address that the server last made to fit the model. */
  let adapted = null;
  /* What decides whether the page is drawn anew: the path and the inputs, the end of the job that opens the model, and
     that the server made the address fit: it gave no page for the one before, whichever field it changed. */
  wb.route = function (path, search, events, model, session, before) {
    if (!session) return NO_UPDATE();
    const state = wb.state(search);
    const inputs = INPUTS.map((name) => print(state[name]));
    const job = model && model.model === state.model && model.state === "opening" ? (events || {})[model.job] : null;
    const ended = job && ["done", "failed", "cancelled"].includes(job[0]) ? job[0] : null;
    const failed = model && model.model === state.model && model.state === "failed" ? "failed" : null;
    const opened = model && model.model === state.model && model.state === "open";
    const route = { path, inputs, ended: ended || (opened && before ? before.ended : failed), adapted };
    markNav(path);
    const prompts = [...CHOSEN, ...(state.task ? ["seed"] : [])].map((name) => print(state[name])).join("\n");
    if (chosen !== null && prompts !== chosen) {
      wb.close();
      wb.set("given", { data: prompts });
    }
    chosen = prompts;
    if (before && JSON.stringify(before) === JSON.stringify(route)) return NO_UPDATE();
    if (before && JSON.stringify(before.inputs) !== JSON.stringify(inputs)) wb.close();
    if (!before || before.path !== path) {
      wb.set("notice", { children: null });
      const main = document.querySelector(".wb-main");
      if (main) main.scrollTop = 0;
    }
    return route;
  };
  function markNav(path) {
    for (const link of document.querySelectorAll(".wb-nav-link")) {
      if (link.dataset.wbNav === path) {
        link.setAttribute("aria-current", "page");
        link.scrollIntoView({ block: "nearest", inline: "nearest" });
      }
      else link.removeAttribute("aria-current");
    }
  }
  /* Who this window is, for its jobs: kept over reloads, never shared with another window. */
  wb.session = function () {
    let id = null;
    try { id = window.sessionStorage.getItem("wb-session"); } catch (error) { id = null; }
    if (id) return id;
    const bytes = window.crypto.getRandomValues(new Uint8Array(12));
    id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    try { window.sessionStorage.setItem("wb-session", id); } catch (error) { /* lasts for the page */ }
    return id;
  };
  /* The server found that the address does not fit the kind of the model, and says which one does. */
  wb.adapt = function (model) {
    const here = window.location;
    if (model && model.to !== undefined && (model.from || "") === here.search) {
      window.setTimeout(function () {
        adapted = model.to;
        wb.go(here.pathname, model.to, false);
      }, 0);
    }
    return NO_UPDATE();
  };
  /* What belongs to one model and not to the next. */
  wb.fresh = { layer: null, head: null, token: null, position: null, where: null, stack: "", image: "", target: "" };
  wb.theme = () => wb.themeName();
  let fields = null;
  /* The prompt box follows the address, but only where the address changed: half-typed text stays. */
  wb.promptFields = function () {
    const state = wb.state();
    const names = ["prompt", "answer", "foil", "special", "target", "answer", "foil", "plain"];
    const values = names.map((name) => (fields && fields[name] === state[name] ? NO_UPDATE() : state[name]));
    fields = Object.fromEntries(names.map((name) => [name, state[name]]));
    return values;
  };

  /* ---- Theme, toast, tray, flyouts ---- */
  wb.toggleTheme = function () {
    const next = wb.themeName() === "dark" ? "light" : "dark";
    document.documentElement.setAttribute("data-mantine-color-scheme", next);
    try { window.localStorage.setItem("mantine-color-scheme-value", next); } catch (error) { /* lasts for the page */ }
    wb.set("theme", { data: next });
    window.dispatchEvent(new CustomEvent("wb-theme", { detail: next }));
  };
  let toastTimer = 0;
  wb.toast = function (text) {
    const box = document.getElementById("wb-toast");
    if (!box) return;
    box.textContent = text;
    box.dataset.open = "1";
    window.clearTimeout(toastTimer);
    toastTimer = window.setTimeout(() => { box.dataset.open = ""; }, 2400);
  };
  wb.tray = function (open) {
    const box = document.getElementById("tray");
    const next = open === undefined ? getComputedStyle(box).display === "none" : open;
    document.documentElement.dataset.wbTray = next ? "open" : "closed";
    window.dispatchEvent(new Event("resize"));
  };
  const flyout = (name) => document.querySelector('[data-wb-flyout="' + name + '"]');
  let opener = null;
  /* The flyout that opens as soon as the server has made its fields. */
  let awaited = null;
  wb.close = function () {
    awaited = null;
    for (const box of document.querySelectorAll('[data-wb-flyout][data-open="1"]')) box.dataset.open = "";
    document.documentElement.dataset.wbFlyout = "";
    if (opener && document.contains(opener)) opener.focus({ preventScroll: true });
    opener = null;
  };
  wb.flyout = function (name) {
    const box = flyout(name);
    if (!box) return;
    const again = box.dataset.open === "1" || awaited === name;
    wb.close();
    if (again) return;
    opener = document.activeElement;
    window.dispatchEvent(new CustomEvent("wb-flyout", { detail: name }));
    if (box.childElementCount) { show(box, name); return; }
    awaited = name;
    const filled = new MutationObserver(function () {
      filled.disconnect();
      if (awaited === name) show(box, name);
    });
    filled.observe(box, { childList: true });
    wb.set("flyout-" + name + "-wanted", { data: true });
  };
  function show(box, name) {
    awaited = null;
    const pressed = opener && opener.dataset.wbAction === name;
    placeUnder(box, pressed ? opener : document.getElementById("header-" + name) || document.getElementById("header-prompt"));
    box.dataset.open = "1";
    document.documentElement.dataset.wbFlyout = name;
    const fields = [...box.querySelectorAll("textarea, input:not([type=hidden]), button")];
    const first = fields.find((field) => field.offsetParent !== null);
    if (first) { first.focus(); if (first.select) first.select(); }
  }
  function placeUnder(box, anchor) {
    if (!anchor || box.classList.contains("wb-palette")) return;
    const place = anchor.getBoundingClientRect();
    const width = Math.min(box.classList.contains("wb-help") ? 340 : 560, window.innerWidth - 16);
    box.style.width = width + "px";
    box.style.left = Math.max(8, Math.min(place.left, window.innerWidth - width - 8)) + "px";
    box.style.top = place.bottom + 8 + "px";
    box.style.maxHeight = Math.max(160, window.innerHeight - place.bottom - 16) + "px";
  }
  wb.copyLink = function () {
    const done = () => wb.toast("Link copied");
    if (navigator.clipboard && window.isSecureContext) {
      navigator.clipboard.writeText(window.location.href).then(done, () => wb.toast("Copy the address from the address bar"));
    } else wb.toast("Copy the address from the address bar");
  };
  const ACTIONS = {
    theme: wb.toggleTheme,
    help: () => wb.flyout("help"),
    palette: () => wb.flyout("palette"),
    prompt: () => wb.flyout("prompt"),
    task: () => wb.flyout("task"),
    model: () => wb.flyout("model"),
    tray: () => wb.tray(),
    close: wb.close,
    run: () => wb.open("/ablation"),
    undo: () => wb.undo(),
    redo: () => wb.redo(),
    "clear-edits": () => wb.clearEdits(),
    copy: wb.copyLink,
    retry: () => wb.set("retry", { data: String(Date.now()) }),
  };
  wb.act = (name) => ACTIONS[name] && ACTIONS[name]();

  /* ---- Pointer: everything that carries a data-wb-… attribute ---- */
  document.addEventListener("click", function (event) {
    const target = event.target.closest("[data-wb-nav],[data-wb-action],[data-wb-remove],[data-wb-model],[data-wb-add],[data-wb-stack]");
    if (!target) return;
    const data = target.dataset;
    if (data.wbNav !== undefined) {
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
      event.preventDefault();
      wb.close();
      wb.open(data.wbNav, data.wbSet ? JSON.parse(data.wbSet) : {});
    } else if (data.wbRemove !== undefined) wb.removeEdit(data.wbRemove);
    else if (data.wbStack !== undefined) wb.setState({ stack: data.wbStack, layer: null, head: null, token: null, where: null }, { push: true });
    else if (data.wbAdd !== undefined) wb.addEdit(data.wbAdd);
    else if (data.wbModel !== undefined) { wb.close(); wb.setState({ model: data.wbModel, ...wb.fresh }, { push: true }); }
    else wb.act(data.wbAction);
  });
  /* A link to a page carries the state even when it is opened in another tab. */
  for (const name of ["pointerover", "focusin"]) {
    document.addEventListener(name, function (event) {
      const link = event.target.closest && event.target.closest("a[data-wb-nav]");
      if (link) link.href = link.dataset.wbNav + window.location.search;
    });
  }

  /* ---- Keys ---- */
  const handlers = new Map();
  /* Register a key ("a", "[", "ArrowLeft", "Shift-u"). The handler returns false to let an earlier one have it. */
  wb.onKey = function (key, handler) {
    if (!handlers.has(key)) handlers.set(key, []);
    const list = handlers.get(key);
    if (!list.includes(handler)) list.unshift(handler);
  };
  for (const [key, action] of [["t", "theme"], ["c", "copy"], ["?", "help"], ["u", "undo"], ["Shift-u", "redo"]]) {
    wb.onKey(key, () => wb.act(action));
  }
  wb.onKey("Escape", () => (document.documentElement.dataset.wbFlyout ? wb.close() : false));
  const OWN_KEYS = "input,textarea,select,[contenteditable=true],[role=slider],[role=listbox],[role=combobox],[role=menu],[role=grid],[role=treegrid]";
  /* Radio buttons, switches and sliders use arrows and space, but no letters. */
  const NO_LETTERS = "input[type=radio],input[type=checkbox],[role=slider],[data-wb-letters]";
  const letters = /^[a-zA-Z]$/;
  function keyName(event) {
    if (letters.test(event.key)) return (event.shiftKey ? "Shift-" : "") + event.key.toLowerCase();
    return event.key;
  }
  document.addEventListener("keydown", function (event) {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      wb.flyout("palette");
      return;
    }
    const field = event.target.closest && event.target.closest("[data-wb-enter], #prompt-text, #prompt-answer, #prompt-foil, #model-name");
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && field && event.target.closest("[data-wb-flyout]")) {
      const submit = event.target.closest('[data-wb-flyout="model"]') ? "model-apply" : "prompt-apply";
      event.preventDefault();
      document.getElementById(submit).click();
      return;
    }
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const own = event.target.closest && event.target.closest(OWN_KEYS);
    if (event.key !== "Escape" && own && !(letters.test(event.key) && own.matches(NO_LETTERS))) return;
    const control = event.target.closest && event.target.closest("button,a,[role=button],[role=tab]");
    if ((event.key === "Enter" || event.key === " ") && control) return;
    for (const handler of handlers.get(keyName(event)) || []) {
      if (handler(event) !== false) { event.preventDefault(); return; }
    }
  });
})(window.wb);
