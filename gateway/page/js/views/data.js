// The data path: sinks and what waits for them, what was lost, what was refused, who is connected.

import { get, Refused } from "../api.js";
import { el, place, segments, setText, sheet, table } from "../dom.js";
import { bytes, count, duration, timeElement } from "../format.js";
import { poll } from "../live.js";
import { mark, setMark } from "../marks.js";
import { keep } from "../router.js";
import { watchStatus } from "../statusfeed.js";
import { store } from "../store.js";

const RANGES = [
  ["-1h", "1 h"],
  ["-1d", "1 d"],
  ["-7d", "7 d"],
  ["-30d", "30 d"],
];
const EVERY_MS = 10000;
const MOST = 200;

/** The view; gives its title. */
export default function data(main, { query, signal }) {
  const fault = el("p", { class: "fault", role: "alert" });
  const sinks = sinkSheet();
  main.append(
    el("h1", { class: "hidden-text" }, "Data path"),
    fault,
    sinks.root,
    lossSheet(query, signal),
    letterSheet(signal),
    connectionSheet(signal),
  );
  watchStatus(
    (status) => {
      setText(fault, "");
      sinks.show(status);
    },
    signal,
    (text) => setText(fault, `The status did not come: ${text}`),
  );
  return "Data path";
}

function sinkSheet() {
  const holder = el("div", { class: "sinks" });
  const root = sheet("Sinks", [], holder);
  const known = new Map();
  const show = (status) => {
    const shown = Object.entries(status.sinks).map(([name, sink]) => {
      if (!known.has(name)) known.set(name, sinkCard(name));
      known.get(name).show(sink);
      return known.get(name).root;
    });
    place(
      holder,
      shown.length ? shown : [el("p", { class: "note-line" }, "No sink is configured: nothing is stored.")],
    );
  };
  return { root, show };
}

function sinkCard(name) {
  const state = mark("good");
  const kind = el("span", { class: "muted" });
  const fault = el("p", { class: "fault wrap" });
  const facts = el("dl", { class: "facts" });
  let before = null;
  const root = el(
    "article",
    { class: "sink", "aria-label": `Sink ${name}` },
    el("header", {}, el("h3", {}, name), kind, state),
    fault,
    facts,
  );
  const show = (sink) => {
    setMark(state, sink.state);
    setText(kind, sink.type);
    setText(fault, sink.error ?? "");
    const now = performance.now();
    const rate = before ? ((sink.rows_stored - before.rows) / (now - before.ms)) * 1000 : null;
    before = { rows: sink.rows_stored, ms: now };
    const pairs = [
      [
        "Waiting",
        `${count(sink.pending_rows)} rows${sink.pending_batches ? `, ${count(sink.pending_batches)} batches` : ""}`,
      ],
      ...(sink.spool_bytes === null || sink.spool_bytes === undefined
        ? []
        : [
            ["Spool", bytes(sink.spool_bytes)],
            ["Oldest waiting", sink.spool_age_s === null ? "–" : duration(sink.spool_age_s)],
          ]),
      ["Last stored", sink.last_stored_s === null ? "never" : `${duration(sink.last_stored_s)} ago`],
      [
        "Stored",
        `${count(sink.rows_stored)} rows, ${count(sink.values_stored)} values${rate === null ? "" : `; ${Math.round(rate)} rows/s`}`,
      ],
      ["Lost", `${count(sink.rows_lost)} rows`],
      ["Refused", `${count(sink.rows_rejected)} rows`],
      ...(sink.dead_letters === undefined ? [] : [["Dead letters", count(sink.dead_letters)]]),
      ...(sink.bytes === undefined ? [] : [["Size", bytes(sink.bytes)]]),
    ];
    while (facts.children.length > pairs.length * 2) facts.lastElementChild.remove();
    pairs.forEach(([key, value], i) => {
      if (!facts.children[2 * i]) facts.append(el("dt"), el("dd", { class: "num" }));
      setText(facts.children[2 * i], key);
      setText(facts.children[2 * i + 1], value);
    });
  };
  return { root, show };
}

function lossSheet(query, signal) {
  const body = el("tbody");
  const note = el("p", { class: "note-line", role: "status" });
  let range = RANGES.some(([value]) => value === query.get("from")) ? query.get("from") : "-1d";
  const load = loader(
    async () => {
      const found = await get("/v1/losses", { from: range }, signal);
      const rows = found.losses ?? [];
      const total = Object.entries(found.rows_by_cause)
        .filter(([, n]) => n)
        .map(([cause, n]) => `${cause} ${count(n)}`);
      setText(
        note,
        [
          total.length ? `Rows since the start: ${total.join(", ")}.` : "Nothing was lost since the start.",
          rows.length ? "" : "Nothing is recorded in this time.",
          ...(found.notes ?? []),
        ]
          .filter(Boolean)
          .join(" "),
      );
      body.replaceChildren(
        ...rows
          .slice(0, MOST)
          .map((loss) =>
            el(
              "tr",
              {},
              el("td", {}, timeElement(loss.time_ns)),
              el("td", {}, loss.sink || "all"),
              el("td", { class: "tag" }, loss.device, el("small", {}, loss.table)),
              el("td", { "data-label": "From" }, timeElement(loss.first_ns)),
              el("td", { "data-label": "To" }, timeElement(loss.last_ns)),
              el("td", { class: "num", "data-label": "Rows" }, count(loss.rows)),
              el("td", {}, loss.cause),
              el("td", { class: "wrap" }, loss.detail),
            ),
          ),
      );
    },
    note,
    signal,
  );
  const choose = segments("Range", RANGES, range, (value) => {
    range = value;
    keep("data", [], { from: value });
    load();
  });
  return sheet(
    "Losses",
    [el("span", { class: "space" }), choose],
    note,
    table("Losses", ["Told", "Sink", "Device", "From", "To", ["Rows", "num"], "Cause", "Detail"], body, "stack"),
  );
}

function letterSheet(signal) {
  const body = el("tbody");
  const note = el("p", { class: "note-line", role: "status" });
  const root = sheet(
    "Dead letters",
    [],
    note,
    table("Dead letters", ["Sink", ["Number", "num"], "Refused", "Device", "Reason", "Line"], body, "stack"),
  );
  loader(
    async () => {
      const { counts, letters } = await get("/v1/dead-letters", { max: 50 }, signal);
      const some = Object.entries(counts)
        .filter(([, n]) => n)
        .map(([sink, n]) => `${sink} ${count(n)}`);
      setText(
        note,
        some.length
          ? `Kept: ${some.join(", ")}. gateway dead-letters replay sends them once more.`
          : "No line was refused.",
      );
      body.replaceChildren(
        ...letters.map((letter) =>
          el(
            "tr",
            {},
            el("td", {}, letter.sink),
            el("td", { class: "num" }, String(letter.id)),
            el("td", { class: "num" }, letter.refused),
            el(
              "td",
              { class: "tag" },
              letter.device,
              el("small", {}, letter.column ? `${letter.table}:${letter.column}` : letter.table),
            ),
            el("td", { class: "wrap" }, letter.reason),
            el("td", { class: "wrap" }, el("code", {}, letter.line.slice(0, 300))),
          ),
        ),
      );
    },
    note,
    signal,
  );
  return root;
}

function connectionSheet(signal) {
  const body = el("tbody");
  const note = el("p", { class: "note-line", role: "status" });
  const root = sheet(
    "Connections to the gateway",
    [],
    note,
    table(
      "Connections",
      ["Kind", "From", "Path", "Who", "Since", ["Sent", "num"], ["Rows dropped", "num"]],
      body,
      "stack",
    ),
  );
  loader(
    async () => {
      const { clients } = await get("/v1/connections", null, signal);
      setText(note, `${clients.length} open. This page was too slow for ${count(store.dropped)} rows.`);
      body.replaceChildren(
        ...clients.map((c) =>
          el(
            "tr",
            {},
            el("td", {}, c.kind),
            el("td", { class: "tag" }, c.peer ?? c.via),
            el("td", { class: "tag" }, c.path ?? "–"),
            el("td", {}, c.who || c.role || "–"),
            el("td", {}, timeElement(c.since_ns)),
            el("td", { class: "num", "data-label": "Sent" }, count(c.sent)),
            el("td", { class: "num", "data-label": "Dropped" }, count(c.dropped)),
          ),
        ),
      );
    },
    note,
    signal,
  );
  return root;
}

/** Load now and again; what goes wrong stands in the note. */
function loader(load, note, signal) {
  return poll(
    async () => {
      try {
        await load();
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Refused)) throw error;
        setText(note, error.message);
      }
    },
    EVERY_MS,
    signal,
  );
}
