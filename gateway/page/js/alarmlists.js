// The lists beside the alarms that stand: history, rules, stored windows.

import { alarms } from "./alarmfeed.js";
import { captureLink, deviceLink, limitText, shortUnit, valueText } from "./alarmtext.js";
import { get, Refused } from "./api.js";
import { el, segments, setText, sheet, table } from "./dom.js";
import { bytes, duration, timeElement } from "./format.js";
import { mark, severity } from "./marks.js";
import { go, href, keep } from "./router.js";

const RANGES = [
  ["-1h", "1 h"],
  ["-1d", "1 d"],
  ["-7d", "7 d"],
  ["-30d", "30 d"],
];
const MOST = 500;

/** What happened, the newest first. */
export function history(main, query, signal) {
  const body = el("tbody");
  const note = el("p", { class: "note-line", role: "status" }, "Loading");
  const range = RANGES.some(([value]) => value === query.get("from")) ? query.get("from") : "-1d";
  const alarm = query.get("alarm") ?? "";
  const choose = segments("Range", RANGES, range, (value) => go("alarms", ["history"], { from: value, alarm }));
  const filter = alarm
    ? [el("span", {}, `only ${alarm}`), el("a", { href: href("alarms", ["history"], { from: range }) }, "all alarms")]
    : [];
  main.append(
    sheet(
      "History",
      [...filter, el("span", { class: "space" }), choose],
      note,
      table(
        "Transitions",
        ["Time", "Severity", "Alarm", "Change", "Message", ["Value", "num"], "Who and why"],
        body,
        "stack",
      ),
    ),
  );
  const load = async () => {
    try {
      const { transitions } = await get("/v1/alarms/history", { from: range, max: MOST, alarm }, signal);
      setText(
        note,
        transitions.length === MOST
          ? `The newest ${MOST} changes.`
          : transitions.length
            ? ""
            : "Nothing happened in this time.",
      );
      note.hidden = !note.textContent;
      body.replaceChildren(
        ...transitions.map((t) =>
          el(
            "tr",
            {},
            el("td", {}, timeElement(t.time_ns)),
            el("td", {}, severity(t.severity)),
            el(
              "td",
              { class: "tag" },
              el("a", { href: href("alarms", ["history"], { from: range, alarm: t.id }) }, t.alarm),
              el("small", {}, t.device),
            ),
            el("td", {}, mark(t.state)),
            el(
              "td",
              { class: "wrap" },
              t.message,
              t.first_out
                ? el("small", { class: "facts-line" }, el("span", { class: "first-out" }, "first out"))
                : null,
            ),
            el("td", { class: "num", "data-label": "Value" }, valueText(t)),
            el("td", { class: "wrap" }, t.who ? `${t.who}${t.why ? `: ${t.why}` : ""}` : ""),
          ),
        ),
      );
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Refused)) throw error;
      setText(note, `The history did not come: ${error.message}`);
    }
  };
  signal.addEventListener("abort", alarms.on(load));
}

/** All rules, with their limits as they are now. */
export function rules(main, query, signal) {
  const body = el("tbody");
  const note = el("p", { class: "note-line", role: "status" }, "Loading");
  const search = el("input", {
    type: "search",
    placeholder: "Search rules",
    "aria-label": "Search rules",
    value: query.get("search") ?? "",
  });
  let found = [];
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const some = found.filter((rule) =>
      words.every((word) => `${rule.id} ${rule.text} ${rule.severity} ${rule.state}`.toLowerCase().includes(word)),
    );
    setText(
      note,
      found.length ? `${Math.min(some.length, MOST)} of ${found.length} shown` : "The configuration has no alarms.",
    );
    body.replaceChildren(
      ...some
        .slice(0, MOST)
        .map((rule) =>
          el(
            "tr",
            {},
            el("td", {}, severity(rule.severity)),
            deviceLink(rule.id, rule.device),
            el("td", {}, mark(rule.state)),
            el("td", { class: "wrap" }, rule.text, el("small", { class: "facts-line" }, detail(rule))),
            el("td", { class: "num", "data-label": "Value" }, valueText(rule)),
            el("td", { class: "num", "data-label": "Limit" }, limitText(rule)),
          ),
        ),
    );
  };
  search.addEventListener("input", () => {
    keep("alarms", ["rules"], { search: search.value });
    show();
  });
  main.append(
    sheet(
      "Rules",
      [el("span", { class: "space" }), search],
      note,
      table("Rules", ["Severity", "Alarm", "State", "Rule", ["Value", "num"], ["Limit", "num"]], body, "stack"),
    ),
  );
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
  if (rule.not_known) parts.push(`not judged: ${rule.not_known}`);
  if (rule.baseline !== null) parts.push(`baseline ${shortUnit(rule.baseline, rule.unit)}`);
  if (rule.states) parts.push(`only in ${rule.states.join(", ")}`);
  if (rule.latch) parts.push("latching");
  return parts.join(" · ");
}

/** Raw samples that were stored around alarms. */
export async function windows(main, query, signal) {
  const body = el("tbody");
  const note = el("p", { class: "note-line", role: "status" }, "Loading");
  main.append(
    sheet(
      "Stored windows",
      [],
      note,
      table("Stored windows", ["Time", "Alarm", "File", ["Size", "num"]], body, "stack"),
    ),
  );
  try {
    const { captures } = await get("/v1/alarms/captures", null, signal);
    setText(
      note,
      captures.length ? "Raw samples around an alarm, with their spectrum, for numpy.load." : "No window is stored.",
    );
    body.replaceChildren(
      ...captures.map((c) =>
        el(
          "tr",
          {},
          el("td", {}, timeElement(c.time_ns)),
          el("td", { class: "tag" }, c.id),
          el("td", { class: "tag" }, captureLink(c.name, c.name)),
          el("td", { class: "num" }, bytes(c.bytes)),
        ),
      ),
    );
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Refused)) throw error;
    setText(note, `The windows did not come: ${error.message}`);
  }
}
