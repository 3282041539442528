// Light, dark, or as the system says; the choice is kept in this browser.

const KEY = "edge-gateway-theme";
const CHOICES = ["system", "light", "dark"];
const system = window.matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set();
const read = new Map();

const stored = () => {
  try {
    return localStorage.getItem(KEY) ?? "system";
  } catch {
    return "system";
  }
};
let choice = stored();

function apply() {
  const dark = choice === "dark" || (choice === "system" && system.matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  read.clear();
  for (const listener of listeners) listener();
}

/** Follow the system, and let the button go through the choices. */
export function startTheme(button) {
  const label = () => { button.textContent = { system: "Auto", light: "Light", dark: "Dark" }[choice]; };
  button.addEventListener("click", () => {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
    try {
      localStorage.setItem(KEY, choice);
    } catch { /* a browser that keeps nothing: the choice lasts until the page is closed */ }
    label();
    apply();
  });
  system.addEventListener("change", apply);
  label();
  apply();
}

/** Be told when colours changed; charts draw on a canvas and must read them again. */
export function onTheme(listener, signal) {
  listeners.add(listener);
  signal.addEventListener("abort", () => listeners.delete(listener));
}

/** A colour of the style sheet by name, e.g. `--text`. */
export function colour(name) {
  if (!read.has(name)) read.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return read.get(name);
}
