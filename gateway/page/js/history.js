// Stretches of history of several tags, decimated by the gateway, one question after the other.

import { getInTurn } from "./api.js";
import { joined } from "./columns.js";

/** [xs, ys, notes] of the tags from `fromS` to `toS` (seconds since 1970). Throws Refused. */
export async function loadHistory(tags, fromS, toS, points, signal) {
  const found = [];
  const notes = new Set();
  for (const tag of tags) {
    const history = await getInTurn("/v1/history", {
      device: tag.table.device, tag: `${tag.table.key}:${tag.name}`,
      from: String(Math.floor(fromS * 1000)), to: String(Math.ceil(toS * 1000)), max_points: points,
    }, signal);
    found.push([history.points.map((p) => Number(p[0]) / 1e9), history.points.map((p) => asNumber(p[1], p[2]))]);
    if (history.decimated) notes.add(`decimated to ${points} points`);
    if (history.resolution === "minute") notes.add("least and greatest value of each minute");
    if (history.truncated) notes.add("the beginning is not kept any more");
  }
  return [...joined(found), [...notes]];
}

function asNumber(value, quality) {
  if (value === null || quality.startsWith("BAD")) return null;
  return typeof value === "string" ? null : Number(value);
}
