// Alarms: those that stand, with acknowledge and shelve; history; rules; stored windows.

import { alarms } from "../alarmfeed.js";
import { get, post, Refused } from "../api.js";
import { announce, el, place, segments, setText, sheet } from "../dom.js";
import { bytes, duration, fullTime, ms, short, timeElement, unitText, utcTime } from "../format.js";
import { repaint } from "../live.js";
import { mark, severity } from "../marks.js";
import { go, href, keep } from "../router.js";
import { ask, asOperator } from "../session.js";
import { store } from "../store.js";

const TABS = [["active", "Active"], ["history", "History"], ["rules", "Rules"], ["windows", "Stored windows"]];
const SHELVE = [[900, "15 minutes"], [3600, "1 hour"], [28800, "8 hours"], [86400, "1 day"], [604800, "7 days"]];
const RANGES = [["-1h", "1 h"], ["-1d", "1 d"], ["-7d", "7 d"], ["-30d", "30 d"]];
const WAITING = ["unacknowledged", "returned", "latched"];
const MOST = 500;

/** The view; gives its title. */
export default function view(main, { parts, query, signal }) {
  const tab = TABS.some(([name]) => name === parts[0]) ? parts[0] : "active";
  main.append(el("div", { class: "title" }, el("h1", {}, "Alarms"), segments("List", TABS, tab, (name) => go("alarms", [name]))));
  ({ active, history, rules, windows })[tab](main, query, signal);
  return tab === "active" ? "Alarms" : `Alarms: ${tab}`;
}

const shortUnit = (value, unit) => `${short(value, 4)}${unit ? ` ${unitText(unit)}` : ""}`;
const deviceLink = (id, device) => el("td", { class: "tag" }, el("b", {}, id.slice(device.length + 1)), el("small", {}, el("a", { href: href("device", [device]) }, device)));
const valueText = (alarm) => (alarm.value === null ? "–" : shortUnit(alarm.value, alarm.unit));
const limitText = (alarm) => (alarm.limit === null ? "–" : shortUnit(alarm.limit, alarm.unit));
const head = (label, names, body) => el("div", { class: "scroll" }, el("table", { class: "stack", "aria-label": label },
  el("thead", {}, el("tr", {}, names.map((name) => (Array.isArray(name) ? el("th", { scope: "col", class: name[1] }, name[0]) : el("th", { scope: "col" }, name))))), body));

function active(main, query, signal) {
  const body = el("tbody");
  const set = el("tbody");
  const note = el("p", { class: "note-line", role: "status" });
  const all = el("button", { type: "button" }, "Acknowledge all");
  const names = ["Severity", "Alarm", "State", "Message", ["Value", "num"], ["Limit", "num"], ["Since", "num"], "Action"];
  const aside = sheet("Shelved and suppressed", [], head("Shelved and suppressed alarms", names, set));
  const list = sheet("Active", [el("span", { class: "space" }), all], note, head("Active alarms", names, body));
  main.append(list, aside);
  all.addEventListener("click", () => acknowledge(alarms.active.filter((alarm) => WAITING.includes(alarm.state))));
  const rows = new Map();
  const show = () => {
    const standing = alarms.active.filter((alarm) => !["shelved", "suppressed"].includes(alarm.state));
    const put = alarms.active.filter((alarm) => ["shelved", "suppressed"].includes(alarm.state));
    const known = new Set(alarms.active.map((alarm) => alarm.id));
    for (const id of rows.keys()) if (!known.has(id)) rows.delete(id);
    place(body, standing.map((alarm) => rowOf(rows, alarm)));
    place(set, put.map((alarm) => rowOf(rows, alarm)));
    aside.hidden = put.length === 0;
    all.hidden = standing.filter((alarm) => WAITING.includes(alarm.state)).length < 2;
    note.hidden = standing.length > 0 && !alarms.fault;
    setText(note, alarms.fault ? `The alarms did not come: ${alarms.fault}` : alarms.isLoaded ? "No alarm." : "");
  };
  signal.addEventListener("abort", alarms.on(show));
  repaint(() => {
    for (const { since, alarm } of rows.values()) setText(since, duration(Math.floor((store.nowMs() - ms(alarm.since_ns)) / 1000)));
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
  const since = el("td", { class: "num", "data-label": "Since", title: `${fullTime(ms(alarm.since_ns))}; ${utcTime(ms(alarm.since_ns))}` });
  const value = el("td", { class: "num", "data-label": "Value" }, valueText(alarm));
  const facts = [];
  if (alarm.first_out) facts.push(el("span", { class: "first-out" }, "first out"));
  if (alarm.latch) facts.push("latching");
  if (alarm.acknowledged_by) facts.push(`by ${alarm.acknowledged_by}`);
  if (alarm.why) facts.push(`“${alarm.why}”`);
  if (alarm.shelved_until_ns) facts.push(`until ${fullTime(ms(alarm.shelved_until_ns))}`);
  if (alarm.capture) facts.push(captureLink(alarm.capture, "stored window"));
  const actions = el("td", { class: "actions" });
  if (WAITING.includes(alarm.state)) actions.append(el("button", { type: "button", class: "primary", "aria-label": `Acknowledge ${alarm.id}`, onclick: () => acknowledge([alarm]) }, alarm.state === "latched" ? "Reset" : "Acknowledge"));
  if (alarm.state === "shelved") actions.append(el("button", { type: "button", "aria-label": `Unshelve ${alarm.id}`, onclick: () => unshelve(alarm) }, "Unshelve"));
  else if (alarm.state !== "suppressed") actions.append(el("button", { type: "button", "aria-label": `Shelve ${alarm.id}`, onclick: () => shelve(alarm) }, "Shelve"));
  const root = el("tr", { "data-id": alarm.id }, el("td", {}, severity(alarm.severity)), deviceLink(alarm.id, alarm.device), el("td", {}, mark(alarm.state)),
    el("td", { class: "wrap" }, alarm.message, facts.length ? el("small", { class: "facts-line" }, facts.flatMap((fact, i) => (i ? [" · ", fact] : [fact]))) : null),
    value, el("td", { class: "num", "data-label": "Limit" }, limitText(alarm)), since, actions);
  rows.set(alarm.id, { print, root, since, value, alarm });
  return root;
}

const reasonField = () => el("label", { class: "field" }, el("span", {}, "Reason"), el("input", { name: "why", required: true, maxlength: "500", autocomplete: "off" }));
const listOf = (some) => el("ul", {}, some.map((alarm) => el("li", {}, alarm.message)));
const why = (data) => {
  const text = String(data.get("why")).trim();
  if (!text) throw new Error("A reason is needed.");
  return text;
};

async function acknowledge(some) {
  const one = some.length === 1;
  const done = await ask(one && some[0].state === "latched" ? "Reset the alarm" : one ? "Acknowledge the alarm" : `Acknowledge ${some.length} alarms`,
    [listOf(some), reasonField()], one && some[0].state === "latched" ? "Reset" : "Acknowledge", (data) => asOperator("acknowledge an alarm", async () => {
      for (const alarm of some) {
        try {
          await post("/v1/alarms/acknowledge", { id: alarm.id, why: why(data) });
        } catch (error) {
          // one of several that somebody else was faster with is no fault
          if (one || !(error instanceof Refused) || error.status !== 409) throw error;
        }
      }
      return true;
    }));
  finished(done, one ? "Acknowledged" : `${some.length} alarms acknowledged`);
}

async function shelve(alarm) {
  const length = el("label", { class: "field" }, el("span", {}, "For"), el("select", { name: "for_s" }, SHELVE.map(([s, text]) => el("option", { value: String(s), selected: s === 3600 }, text))));
  const done = await ask("Shelve the alarm", [listOf([alarm]), length, reasonField()], "Shelve", (data) => asOperator("shelve an alarm", () =>
    post("/v1/alarms/shelve", { id: alarm.id, why: why(data), for_s: Number(data.get("for_s")) })));
  finished(done, "Shelved");
}

async function unshelve(alarm) {
  const done = await ask("Bring the alarm back", [listOf([alarm]), reasonField()], "Unshelve", (data) => asOperator("unshelve an alarm", () =>
    post("/v1/alarms/unshelve", { id: alarm.id, why: why(data) })));
  finished(done, "Unshelved");
}

function finished(done, text) {
  if (!done) return;
  announce(text);
  alarms.load();
}

async function history(main, query, signal) {
  const body = el("tbody");
  const note = el("p", { class: "note-line", role: "status" }, "Loading");
  const range = RANGES.some(([value]) => value === query.get("from")) ? query.get("from") : "-1d";
  const alarm = query.get("alarm") ?? "";
  const choose = segments("Range", RANGES, range, (value) => go("alarms", ["history"], { from: value, alarm }));
  const filter = alarm ? [el("span", {}, `only ${alarm}`), el("a", { href: href("alarms", ["history"], { from: range }) }, "all alarms")] : [];
  main.append(sheet("History", [...filter, el("span", { class: "space" }), choose], note, head("Transitions", ["Time", "Severity", "Alarm", "Change", "Message", ["Value", "num"], "Who and why"], body)));
  const load = async () => {
    try {
      const { transitions } = await get("/v1/alarms/history", { from: range, max: MOST, alarm }, signal);
      setText(note, transitions.length === MOST ? `The newest ${MOST} changes.` : transitions.length ? "" : "Nothing happened in this time.");
      note.hidden = !note.textContent;
      body.replaceChildren(...transitions.map((t) => el("tr", {}, el("td", {}, timeElement(t.time_ns)), el("td", {}, severity(t.severity)),
        el("td", { class: "tag" }, el("a", { href: href("alarms", ["history"], { from: range, alarm: t.id }) }, t.alarm), el("small", {}, t.device)),
        el("td", {}, mark(t.state)), el("td", { class: "wrap" }, t.message, t.first_out ? el("small", { class: "facts-line" }, el("span", { class: "first-out" }, "first out")) : null),
        el("td", { class: "num", "data-label": "Value" }, valueText(t)), el("td", { class: "wrap" }, t.who ? `${t.who}${t.why ? `: ${t.why}` : ""}` : ""))));
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Refused)) throw error;
      setText(note, `The history did not come: ${error.message}`);
    }
  };
  signal.addEventListener("abort", alarms.on(load));
}

async function rules(main, query, signal) {
  const body = el("tbody");
  const note = el("p", { class: "note-line", role: "status" }, "Loading");
  const search = el("input", { type: "search", placeholder: "Search rules", "aria-label": "Search rules", value: query.get("search") ?? "" });
  let found = [];
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const some = found.filter((rule) => words.every((word) => `${rule.id} ${rule.text} ${rule.severity} ${rule.state}`.toLowerCase().includes(word)));
    setText(note, found.length ? `${Math.min(some.length, MOST)} of ${found.length} shown` : "The configuration has no alarms.");
    body.replaceChildren(...some.slice(0, MOST).map((rule) => el("tr", {}, el("td", {}, severity(rule.severity)), deviceLink(rule.id, rule.device), el("td", {}, mark(rule.state)),
      el("td", { class: "wrap" }, rule.text, el("small", { class: "facts-line" }, detail(rule))), el("td", { class: "num", "data-label": "Value" }, valueText(rule)), el("td", { class: "num", "data-label": "Limit" }, limitText(rule)))));
  };
  search.addEventListener("input", () => { keep("alarms", ["rules"], { search: search.value }); show(); });
  main.append(sheet("Rules", [el("span", { class: "space" }), search], note, head("Rules", ["Severity", "Alarm", "State", "Rule", ["Value", "num"], ["Limit", "num"]], body)));
  const load = async () => {
    try {
      found = (await get("/v1/alarms/rules", null, signal)).rules;
      show();
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Refused)) throw error;
      setText(note, `The rules did not come: ${error.message}`);
    }
  };
  signal.addEventListener("abort", alarms.on(load));
}

function detail(rule) {
  const parts = [];
  if (rule.on_delay_s) parts.push(`on after ${duration(rule.on_delay_s)}`);
  if (rule.off_delay_s) parts.push(`off after ${duration(rule.off_delay_s)}`);
  if (rule.hysteresis) parts.push(`hysteresis ${shortUnit(rule.hysteresis, rule.unit)}`);
  if (rule.baseline !== null) parts.push(`baseline ${shortUnit(rule.baseline, rule.unit)}`);
  if (rule.states) parts.push(`only in ${rule.states.join(", ")}`);
  if (rule.latch) parts.push("latching");
  return parts.join(" · ");
}

const captureLink = (name, text) => el("a", { href: `/v1/alarms/capture.npz?${new URLSearchParams({ name })}`, download: name }, text);

async function windows(main, query, signal) {
  const body = el("tbody");
  const note = el("p", { class: "note-line", role: "status" }, "Loading");
  main.append(sheet("Stored windows", [], note, head("Stored windows", ["Time", "Alarm", "File", ["Size", "num"]], body)));
  try {
    const { captures } = await get("/v1/alarms/captures", null, signal);
    setText(note, captures.length ? "Raw samples around an alarm, with their spectrum, for numpy.load." : "No window is stored.");
    body.replaceChildren(...captures.map((c) => el("tr", {}, el("td", {}, timeElement(c.time_ns)), el("td", { class: "tag" }, c.id), el("td", { class: "tag" }, captureLink(c.name, c.name)), el("td", { class: "num" }, bytes(c.bytes)))));
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Refused)) throw error;
    setText(note, `The windows did not come: ${error.message}`);
  }
}
