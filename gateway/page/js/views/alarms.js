// Alarms: those that stand, with acknowledge and shelve; history; rules; stored windows.

import { acknowledge, shelve, unshelve } from "../alarmactions.js";
import { alarms } from "../alarmfeed.js";
import { history, rules, windows } from "../alarmlists.js";
import { captureLink, deviceLink, limitText, valueText } from "../alarmtext.js";
import { el, place, segments, setText, sheet, table } from "../dom.js";
import { duration, fullTime, ms, utcTime } from "../format.js";
import { repaint } from "../live.js";
import { mark, severity } from "../marks.js";
import { go } from "../router.js";
import { store } from "../store.js";

const TABS = [
  ["active", "Active"],
  ["history", "History"],
  ["rules", "Rules"],
  ["windows", "Stored windows"],
];
const WAITING = ["unacknowledged", "returned", "latched"];

/** The view; gives its title. */
export default function view(main, { parts, query, signal }) {
  const tab = TABS.some(([name]) => name === parts[0]) ? parts[0] : "active";
  main.append(
    el(
      "div",
      { class: "title" },
      el("h1", {}, "Alarms"),
      segments("List", TABS, tab, (name) => go("alarms", [name])),
    ),
  );
  ({ active, history, rules, windows })[tab](main, query, signal);
  return tab === "active" ? "Alarms" : `Alarms: ${tab}`;
}

function active(main, query, signal) {
  const body = el("tbody");
  const set = el("tbody");
  const note = el("p", { class: "note-line", role: "status" });
  const all = el("button", { type: "button" }, "Acknowledge all");
  const names = [
    "Severity",
    "Alarm",
    "State",
    "Message",
    ["Value", "num"],
    ["Limit", "num"],
    ["Since", "num"],
    "Action",
  ];
  const aside = sheet("Shelved and suppressed", [], table("Shelved and suppressed alarms", names, set, "stack"));
  const list = sheet(
    "Active",
    [el("span", { class: "space" }), all],
    note,
    table("Active alarms", names, body, "stack"),
  );
  main.append(list, aside);
  all.addEventListener("click", () => acknowledge(alarms.active.filter((alarm) => WAITING.includes(alarm.state))));
  const rows = new Map();
  const show = () => {
    const standing = alarms.active.filter((alarm) => !["shelved", "suppressed"].includes(alarm.state));
    const put = alarms.active.filter((alarm) => ["shelved", "suppressed"].includes(alarm.state));
    const known = new Set(alarms.active.map((alarm) => alarm.id));
    for (const id of rows.keys()) if (!known.has(id)) rows.delete(id);
    place(
      body,
      standing.map((alarm) => rowOf(rows, alarm)),
    );
    place(
      set,
      put.map((alarm) => rowOf(rows, alarm)),
    );
    aside.hidden = put.length === 0;
    all.hidden = standing.filter((alarm) => WAITING.includes(alarm.state)).length < 2;
    note.hidden = standing.length > 0 && !alarms.fault;
    setText(note, alarms.fault ? `The alarms did not come: ${alarms.fault}` : alarms.isLoaded ? "No alarm." : "");
  };
  signal.addEventListener("abort", alarms.on(show));
  repaint(() => {
    for (const { since, alarm } of rows.values())
      setText(since, duration(Math.floor((store.nowMs() - ms(alarm.since_ns)) / 1000)));
  }, signal);
}

/** The row of an alarm; the same one while nothing about it changes, so that focus stays. */
function rowOf(rows, alarm) {
  const print = JSON.stringify({ ...alarm, value: null });
  const old = rows.get(alarm.id);
  if (old?.print === print) {
    setText(old.value, valueText(alarm));
    return old.root;
  }
  const since = el("td", {
    class: "num",
    "data-label": "Since",
    title: `${fullTime(ms(alarm.since_ns))}; ${utcTime(ms(alarm.since_ns))}`,
  });
  const value = el("td", { class: "num", "data-label": "Value" }, valueText(alarm));
  const facts = [];
  if (alarm.first_out) facts.push(el("span", { class: "first-out" }, "first out"));
  if (alarm.latch) facts.push("latching");
  if (alarm.acknowledged_by) facts.push(`by ${alarm.acknowledged_by}`);
  if (alarm.why) facts.push(`“${alarm.why}”`);
  if (alarm.shelved_until_ns) facts.push(`until ${fullTime(ms(alarm.shelved_until_ns))}`);
  if (alarm.capture) facts.push(captureLink(alarm.capture, "stored window"));
  const actions = el("td", { class: "actions" });
  if (WAITING.includes(alarm.state))
    actions.append(
      el(
        "button",
        {
          type: "button",
          class: "primary",
          "aria-label": `Acknowledge ${alarm.id}`,
          onclick: () => acknowledge([alarm]),
        },
        alarm.state === "latched" ? "Reset" : "Acknowledge",
      ),
    );
  if (alarm.state === "shelved")
    actions.append(
      el(
        "button",
        { type: "button", "aria-label": `Unshelve ${alarm.id}`, onclick: () => unshelve(alarm) },
        "Unshelve",
      ),
    );
  else if (alarm.state !== "suppressed")
    actions.append(
      el("button", { type: "button", "aria-label": `Shelve ${alarm.id}`, onclick: () => shelve(alarm) }, "Shelve"),
    );
  const root = el(
    "tr",
    { "data-id": alarm.id },
    el("td", {}, severity(alarm.severity)),
    deviceLink(alarm.id, alarm.device),
    el("td", {}, mark(alarm.state)),
    el(
      "td",
      { class: "wrap" },
      alarm.message,
      facts.length
        ? el(
            "small",
            { class: "facts-line" },
            facts.flatMap((fact, i) => (i ? [" · ", fact] : [fact])),
          )
        : null,
    ),
    value,
    el("td", { class: "num", "data-label": "Limit" }, limitText(alarm)),
    since,
    actions,
  );
  rows.set(alarm.id, { print, root, since, value, alarm });
  return root;
}
