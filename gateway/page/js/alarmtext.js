// Cells that all lists of alarms use.

import { el } from "./dom.js";
import { short, unitText } from "./format.js";
import { href } from "./router.js";

/** A quantity with four digits and its unit. */
export const shortUnit = (value, unit) => `${short(value, 4)}${unit ? ` ${unitText(unit)}` : ""}`;

/** The cell that names an alarm. */
export const deviceLink = (id, device) =>
  el(
    "td",
    { class: "tag" },
    el("b", {}, id.slice(device.length + 1)),
    el("small", {}, el("a", { href: href("device", [device]) }, device)),
  );

/** Its value. */
export const valueText = (alarm) => (alarm.value === null ? "–" : shortUnit(alarm.value, alarm.unit));

/** Its limit. */
export const limitText = (alarm) => (alarm.limit === null ? "–" : shortUnit(alarm.limit, alarm.unit));

/** A stored window as a file. */
export const captureLink = (name, text) =>
  el("a", { href: `/v1/alarms/capture.npz?${new URLSearchParams({ name })}`, download: name }, text);
