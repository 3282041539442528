// What a person does to alarms: acknowledge, shelve, bring back; each with a reason.

import { alarms } from "./alarmfeed.js";
import { post, Refused } from "./api.js";
import { announce, el } from "./dom.js";
import { ask, asOperator } from "./session.js";

const SHELVE = [
  [900, "15 minutes"],
  [3600, "1 hour"],
  [28800, "8 hours"],
  [86400, "1 day"],
  [604800, "7 days"],
];

const reasonField = () =>
  el(
    "label",
    { class: "field" },
    el("span", {}, "Reason"),
    el("input", { name: "why", required: true, maxlength: "500", autocomplete: "off" }),
  );
const listOf = (some) =>
  el(
    "ul",
    {},
    some.map((alarm) => el("li", {}, alarm.message)),
  );
const why = (data) => {
  const text = String(data.get("why")).trim();
  if (!text) throw new Error("A reason is needed.");
  return text;
};

/** Acknowledge these, or reset one that is latched. */
export async function acknowledge(some) {
  const one = some.length === 1;
  const done = await ask(
    one && some[0].state === "latched"
      ? "Reset the alarm"
      : one
        ? "Acknowledge the alarm"
        : `Acknowledge ${some.length} alarms`,
    [listOf(some), reasonField()],
    one && some[0].state === "latched" ? "Reset" : "Acknowledge",
    (data) =>
      asOperator("acknowledge an alarm", async () => {
        for (const alarm of some) {
          try {
            await post("/v1/alarms/acknowledge", { id: alarm.id, why: why(data) });
          } catch (error) {
            // one of several that somebody else was faster with is no fault
            if (one || !(error instanceof Refused) || error.status !== 409) throw error;
          }
        }
        return true;
      }),
  );
  finished(done, one ? "Acknowledged" : `${some.length} alarms acknowledged`);
}

/** Put one aside for a time. */
export async function shelve(alarm) {
  const length = el(
    "label",
    { class: "field" },
    el("span", {}, "For"),
    el(
      "select",
      { name: "for_s" },
      SHELVE.map(([s, text]) => el("option", { value: String(s), selected: s === 3600 }, text)),
    ),
  );
  const done = await ask("Shelve the alarm", [listOf([alarm]), length, reasonField()], "Shelve", (data) =>
    asOperator("shelve an alarm", () =>
      post("/v1/alarms/shelve", { id: alarm.id, why: why(data), for_s: Number(data.get("for_s")) }),
    ),
  );
  finished(done, "Shelved");
}

/** Bring one back before its time. */
export async function unshelve(alarm) {
  const done = await ask("Bring the alarm back", [listOf([alarm]), reasonField()], "Unshelve", (data) =>
    asOperator("unshelve an alarm", () => post("/v1/alarms/unshelve", { id: alarm.id, why: why(data) })),
  );
  finished(done, "Unshelved");
}

function finished(done, text) {
  if (!done) return;
  announce(text);
  alarms.load();
}
