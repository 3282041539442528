// What a technician looks at first: what is wrong, the devices, and every tag.

import { alarms } from "../alarmfeed.js";
import { get, Refused } from "../api.js";
import { el, place, setText, sheet, table } from "../dom.js";
import { duration, timeElement } from "../format.js";
import { poll, repaint } from "../live.js";
import { mark, setMark, severity } from "../marks.js";
import { href, keep } from "../router.js";
import { store } from "../store.js";
import { TagTable } from "../tagtable.js";

const REASONS_MS = 5000;
const MOST_REASONS = 6;
const MOST_ALARMS = 5;

/** The view; gives its title. */
export default function overview(main, { query, signal }) {
  const heading = el("h1", { class: "hidden-text" }, "Overview");
  const problems = el("ul", { class: "problems" });
  const problemSheet = sheet("Problems", [], problems);
  problemSheet.hidden = true;
  const tags = new TagTable({
    tags: [...store.tags.values()],
    signal,
    withDevice: true,
    query: query.get("search") ?? "",
    typed: (search) => keep("overview", [], { search }),
  });
  const devices = deviceSheet(signal);
  main.append(heading, alarmSheet(signal), problemSheet, devices.root, sheet("Tags", tags.tools, tags.root));
  const showProblems = () => {
    const found = store.status?.problems ?? [];
    problemSheet.hidden = found.length === 0;
    const items = [...problems.children];
    place(
      problems,
      found.map((text, i) => {
        const item = items[i] ?? el("li");
        setText(item, text);
        return item;
      }),
    );
  };
  repaint(() => {
    tags.paint();
    devices.paint();
    showProblems();
  }, signal);
  return "Overview";
}

function alarmSheet(signal) {
  const list = el("ul", { class: "alarm-lines" });
  const more = el("a", { href: "#/alarms" }, "All alarms");
  const root = sheet("Alarms", [el("span", { class: "space" }), more], list);
  root.hidden = true;
  signal.addEventListener(
    "abort",
    alarms.on(() => {
      const waiting = alarms.active.filter((alarm) => !["shelved", "suppressed"].includes(alarm.state));
      root.hidden = waiting.length === 0;
      setText(more, waiting.length > MOST_ALARMS ? `All ${waiting.length} alarms` : "All alarms");
      list.replaceChildren(
        ...waiting
          .slice(0, MOST_ALARMS)
          .map((alarm) =>
            el(
              "li",
              {},
              severity(alarm.severity),
              mark(alarm.state),
              el("span", { class: "message" }, alarm.message),
              el("span", { class: "muted" }, alarm.id),
              timeElement(alarm.since_ns),
            ),
          ),
      );
    }),
  );
  return root;
}

function deviceSheet(signal) {
  const body = el("tbody");
  const head = [
    "State",
    "Device",
    ["Driver", "wide"],
    "Reason, bad tags",
    ["Since", "num wide"],
    ["Lateness p99", "num wide"],
    ["Tags", "num"],
  ];
  const root = sheet("Devices", [], table("Devices", head, body));
  const rows = [...store.devices.values()].map((device) => {
    const cells = {
      mark: mark("connecting"),
      reasons: el("td", { class: "reasons-cell" }),
      since: el("td", { class: "num wide" }),
      late: el("td", { class: "num wide" }),
      tags: el("td", { class: "num" }),
    };
    const count = device.tables.reduce((sum, { tags }) => sum + tags.length, 0);
    const row = el(
      "tr",
      {},
      el("td", {}, cells.mark),
      el("th", { scope: "row" }, el("a", { href: href("device", [device.name]) }, device.name)),
      el("td", { class: "wide" }, device.driver),
      cells.reasons,
      cells.since,
      cells.late,
      cells.tags,
    );
    return { device, count, row, cells, bad: [] };
  });
  body.append(...rows.map((r) => r.row));

  // the reasons of bad tags, asked for only where there are any
  poll(
    async () => {
      for (const row of rows) {
        const status = store.status?.devices[row.device.name];
        if (!status?.tags_bad || status.state === "lost") {
          row.bad = [];
          continue;
        }
        try {
          const { values } = await get("/v1/latest", { device: row.device.name }, signal);
          row.bad = values.filter((value) => value.quality === "BAD");
        } catch (error) {
          if (signal.aborted) return;
          if (!(error instanceof Refused)) throw error;
        }
      }
    },
    REASONS_MS,
    signal,
  );

  const paint = () => {
    for (const { device, count, cells, bad } of rows) {
      const status = store.status?.devices[device.name];
      if (!status) continue;
      setMark(cells.mark, status.state);
      setText(cells.since, status.since_s === null ? "–" : duration(Math.floor(status.since_s)));
      setText(cells.late, status.lateness_ms ? `${status.lateness_ms.p99.toFixed(1)} ms` : "–");
      setText(cells.tags, status.tags_bad ? `${status.tags_bad}/${count} bad` : String(count));
      const shown = bad.slice(0, MOST_REASONS).map((value) => `${value.tag}: ${value.reason ?? "BAD"}`);
      if (bad.length > MOST_REASONS) shown.push(`and ${bad.length - MOST_REASONS} more`);
      setText(
        cells.reasons,
        status.reason || (status.tags_bad ? shown.join(", ") || `${status.tags_bad} of ${count} tags bad` : ""),
      );
    }
  };
  return { root, paint };
}
