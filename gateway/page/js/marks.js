// Words and shapes of states, qualities and severities: they read without colour, too.

import { el, setAttr, setText } from "./dom.js";

const SHAPES = {
  good: "○", connecting: "…", degraded: "△", lost: "✕", disabled: "–", retrying: "△", blocked: "✕",
  GOOD: "○", UNCERTAIN: "△", BAD: "✕", stale: "◷", none: "…",
  unacknowledged: "◉", acknowledged: "✓", returned: "↩", latched: "⊠", shelved: "‖", suppressed: "–", normal: "○",
};
const SEVERITIES = { critical: "■", high: "▲", medium: "◆", low: "●" };

/** A state or quality as shape and word. */
export function mark(state = "") {
  const made = el("span", { class: "mark" }, el("i", { "aria-hidden": "true" }), el("span"));
  setMark(made, state);
  return made;
}

/** Change a mark. */
export function setMark(node, state, word = state) {
  setText(node.firstChild, SHAPES[state] ?? "?");
  setText(node.lastChild, word);
  setAttr(node, "class", `mark ${state.toLowerCase()}`);
}

/** A severity as shape and word. */
export const severity = (name) => el("span", { class: `severity ${SEVERITIES[name] ? name : ""}` },
  el("i", { "aria-hidden": "true" }, SEVERITIES[name] ?? "?"), name);

