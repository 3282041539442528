// Single keys: digits open the views, / goes to the search, ? lists them. They can be switched off.

import { el } from "./dom.js";

const KEY = "edge-gateway-keys";
const TYPING = "input, select, textarea, [contenteditable]";

const stored = () => {
  try {
    return localStorage.getItem(KEY) !== "off";
  } catch {
    return true;
  }
};
let isOn = stored();

/** `views[i]()` opens the view of the key i + 1. */
export function startKeys(views, button) {
  button.addEventListener("click", () => show(views.length));
  document.addEventListener("keydown", (event) => {
    if (!isOn || event.ctrlKey || event.metaKey || event.altKey || event.target.closest(TYPING)) return;
    if (document.querySelector("dialog[open]")) return;
    if (/^[1-9]$/.test(event.key) && views[event.key - 1]) views[event.key - 1]();
    else if (event.key === "/") document.querySelector("main input[type=search]")?.focus();
    else if (event.key === "?") show(views.length);
    else return;
    event.preventDefault();
  });
}

function show(count) {
  const line = (keys, text) => [
    el(
      "dt",
      {},
      keys.map((key) => el("kbd", {}, key)),
    ),
    el("dd", {}, text),
  ];
  const box = el("input", { type: "checkbox", checked: isOn });
  box.addEventListener("change", () => {
    isOn = box.checked;
    try {
      localStorage.setItem(KEY, isOn ? "on" : "off");
    } catch {
      /* it lasts until the page is closed */
    }
  });
  const close = el("button", { class: "primary", type: "submit" }, "Close");
  const dialog = el(
    "dialog",
    { "aria-labelledby": "keys-title" },
    el(
      "form",
      { method: "dialog" },
      el("h2", { id: "keys-title" }, "Keys"),
      el(
        "dl",
        { class: "facts keys" },
        line(["1", "…", String(count)], "open a view"),
        line(["/"], "search"),
        line(["?"], "this list"),
        line(["←", "→"], "on a trend: back and forward in time"),
        line(["+", "−"], "on a trend: less and more time"),
        line(["Home"], "on a trend: back to live"),
        line(["drag"], "on a chart: zoom; double click: all of it"),
        line(["Ctrl", "wheel"], "on a trend: zoom; Shift + wheel moves"),
      ),
      el("p", {}, el("label", {}, box, " Single keys are on")),
      el("div", { class: "row" }, close),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
