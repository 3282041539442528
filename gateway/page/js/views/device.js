// One device: how it does, a trend of chosen tags, all of its tags.

import { post } from "../api.js";
import { announce, el, place, setText, sheet, table } from "../dom.js";
import { count, duration, short } from "../format.js";
import { repaint } from "../live.js";
import { mark, setMark } from "../marks.js";
import { go, href, keep } from "../router.js";
import { ask, asOperator } from "../session.js";
import { watchStatus } from "../statusfeed.js";
import { store } from "../store.js";
import { TagTable } from "../tagtable.js";
import { Trend } from "../trend.js";

const FIRST_TAGS = 4;
const MOST_TAGS = 16;

/** The view; gives its title. */
export default function device(main, { parts, query, signal }) {
  const names = [...store.devices.keys()];
  const name = parts[0] ?? names[0];
  const found = store.devices.get(name);
  if (!found) {
    main.append(
      el("h1", {}, "Device"),
      el(
        "p",
        { class: "note-line" },
        names.length ? `There is no device '${name}'. ` : "No device is configured.",
        names.map((other) => [el("a", { href: href("device", [other]) }, other), " "]),
      ),
    );
    return "Device";
  }
  const tags = found.tables.flatMap(({ tags: some }) => some);
  const trend = new Trend({ windowS: Number(query.get("window")) || 60, signal, changed: () => changed() });
  const list = new TagTable({
    tags,
    signal,
    query: query.get("search") ?? "",
    typed: () => remember(),
    choice: { has: (tag) => trend.tags.includes(tag), toggle: (tag) => toggle(tag) },
  });
  const full = el(
    "p",
    { class: "note-line", role: "status", hidden: true },
    `A trend shows at most ${MOST_TAGS} tags.`,
  );
  const status = found.driver === "ingest" ? sentSheet(found, signal) : statusSheet(found, signal);
  main.append(
    heading(found, names),
    el(
      "div",
      { class: "columns" },
      el(
        "div",
        {},
        sheet("Trend", [el("span", { class: "space" }), ...trend.tools], trend.root, full),
        sheet("Tags", list.tools, list.root),
      ),
      el("div", {}, status.root),
    ),
  );

  const byAddress = new Map(tags.map((tag) => [`${tag.table.key}:${tag.name}`, tag]));
  const asked = (query.get("tags") ?? "")
    .split(",")
    .map((key) => byAddress.get(key))
    .filter(Boolean);
  const plain = tags.filter((tag) => tag.isNumber && tag.kind !== "b1");
  const start = query.has("tags") ? asked : plain.slice(0, FIRST_TAGS);
  trend.setTags(start.slice(0, MOST_TAGS));
  const [from, to] = [Number(query.get("from")), Number(query.get("to"))];
  if (from && to > from) trend.zoom(from, to);
  list.choiceChanged();

  function toggle(tag) {
    const rest = trend.tags.filter((other) => other !== tag);
    const isNew = rest.length === trend.tags.length;
    full.hidden = !(isNew && rest.length >= MOST_TAGS);
    if (full.hidden) trend.setTags(isNew ? [...rest, tag] : rest);
    changed();
  }
  function changed() {
    list.choiceChanged();
    remember();
  }
  function remember() {
    const isLive = trend.isLive;
    keep("device", [name], {
      tags: trend.tags.map((tag) => `${tag.table.key}:${tag.name}`).join(","),
      search: list.search.value,
      window: isLive && trend.windowS !== 60 ? trend.windowS : "",
      from: isLive ? "" : trend.range[0].toFixed(3),
      to: isLive ? "" : trend.range[1].toFixed(3),
    });
  }
  repaint(() => {
    trend.paint();
    list.paint();
  }, signal);
  return found.name;
}

function heading(found, names) {
  const choose = el(
    "select",
    { "aria-label": "Device" },
    names.map((name) => el("option", { value: name, selected: name === found.name }, name)),
  );
  choose.addEventListener("change", () => go("device", [choose.value]));
  const channels = found.tables.filter(({ labels }) => labels.channel);
  return el(
    "div",
    { class: "title" },
    el("h1", {}, found.name),
    choose,
    el("span", { class: "muted" }, found.driver),
    channels.length
      ? el("a", { href: href("vibration", [found.name, channels[0].labels.channel]) }, "Vibration")
      : null,
  );
}

function statusSheet(found, signal) {
  const state = mark("connecting");
  const reason = el("span");
  const facts = el("dl", { class: "facts" });
  const groups = el("tbody");
  const quarantined = el("ul", { class: "problems" });
  const fault = el("p", { class: "fault", role: "alert" });
  const button = el("button", { type: "button" }, "Disable");
  let isOff = false;
  const showState = (document) => {
    setMark(state, document.state);
    setText(reason, document.reason ?? "");
    isOff = document.state === "disabled";
    setText(button, isOff ? "Enable" : "Disable");
  };
  const show = (document) => {
    setText(fault, "");
    if (!document) {
      setText(fault, "The gateway has no status of this device.");
      return;
    }
    showState(document);
    facts.replaceChildren(...factList(found, document));
    place(
      groups,
      document.groups.map((group) =>
        el(
          "tr",
          {},
          el("th", { scope: "row" }, group.name),
          el("td", { class: "num" }, `${short(group.interval_s)} s`),
          el("td", { class: "num" }, count(group.polls)),
          el("td", { class: "num" }, count(group.missed)),
        ),
      ),
    );
    quarantined.replaceChildren(...document.quarantined.map((q) => el("li", {}, `${q.table}.${q.tag}: ${q.reason}`)));
    quarantined.hidden = document.quarantined.length === 0;
  };
  const load = watchStatus(
    (document) => show(document.devices[found.name]),
    signal,
    (text) => setText(fault, text),
  );
  const quick = store.socket.on("status", (frame) => {
    if (frame.devices[found.name]) showState(frame.devices[found.name]);
  });
  signal.addEventListener("abort", quick);
  button.addEventListener("click", async () => {
    const verb = isOff ? "enable" : "disable";
    const why = el("input", { name: "why", required: true, maxlength: "500", autocomplete: "off" });
    const about = isOff
      ? "The gateway asks it again."
      : "The gateway stops asking it, and its tags become BAD. Nothing is written to the machine.";
    const done = await ask(
      `${isOff ? "Enable" : "Disable"} ${found.name}`,
      [el("p", {}, about), el("label", { class: "field" }, el("span", {}, "Reason"), why)],
      isOff ? "Enable" : "Disable",
      (data) =>
        asOperator(`${verb} a device`, () =>
          post(`/v1/devices/${verb}`, { device: found.name, why: String(data.get("why")).trim() }),
        ),
    );
    if (done) {
      announce(`${found.name} is ${isOff ? "enabled" : "disabled"}`);
      load();
    }
  });
  const root = sheet(
    "Status",
    [state, el("span", { class: "space" }), button],
    el("div", { class: "body" }, reason, facts, quarantined, fault),
    table("Groups", ["Group", ["Interval", "num"], ["Polls", "num"], ["Skipped", "num"]], groups),
  );
  return { root };
}

/** Of a device that other programs send: whether rows still come. */
function sentSheet(found, signal) {
  const state = mark("connecting");
  const reason = el("span");
  const facts = el("dl", { class: "facts" });
  const fault = el("p", { class: "fault", role: "alert" });
  const groups = found.groups.map((group) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, group.tables.map(({ key }) => key).join(", ")),
      el("td", { class: "num" }, group.interval_s ? `${short(group.interval_s)} s` : "–"),
    ),
  );
  const show = (document) => {
    setText(fault, document ? "" : "The gateway has no status of this device.");
    if (!document) return;
    setMark(state, document.state);
    setText(reason, document.reason ?? "");
    const newest = document.newest_s;
    const pairs = [
      ["Sent by", "other programs (ingest)"],
      ["Newest row", newest === null ? "–" : `${duration(Math.abs(newest))} ${newest < 0 ? "ahead" : "ago"}`],
      ["Bad tags", `${document.tags_bad} of ${document.tags}`],
    ];
    facts.replaceChildren(...pairs.flatMap(([key, value]) => [el("dt", {}, key), el("dd", {}, value)]));
  };
  watchStatus(
    (document) => show(document.ingest?.devices[found.name]),
    signal,
    (text) => setText(fault, text),
  );
  const root = sheet(
    "Status",
    [state],
    el("div", { class: "body" }, reason, facts, fault),
    table("Tables", ["Table", ["Expected every", "num"]], el("tbody", {}, groups)),
  );
  return { root };
}

function factList(found, document) {
  const late = document.lateness_ms;
  const read = document.read_ms;
  const pairs = [
    ["Endpoint", document.endpoint || "–"],
    ["Bus", document.bus],
    ["In this state", duration(document.since_s)],
    ["Bad tags", `${document.tags_bad} of ${document.tags}`],
    ["Polls", count(document.polls)],
    ["Errors", count(document.errors)],
    ["Connects", count(document.connects)],
    ["Lateness", `p50 ${short(late.p50, 3)}, p99 ${short(late.p99, 3)}, max ${short(late.max, 3)} ms`],
    ["Reading", `p50 ${short(read.p50, 3)}, p99 ${short(read.p99, 3)}, max ${short(read.max, 3)} ms`],
    ...Object.entries(document.facts).map(([key, value]) => [key.replaceAll("_", " "), factText(value)]),
  ];
  return pairs.flatMap(([key, value]) => [el("dt", {}, key), el("dd", {}, value)]);
}

function factText(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "object") return short(value);
  if (Array.isArray(value)) return value.map(factText).join(", ") || "–";
  return (
    Object.entries(value)
      .map(
        ([key, inner]) =>
          `${key.replaceAll("_", " ")} ${typeof inner === "object" && inner !== null ? `(${factText(inner)})` : short(inner)}`,
      )
      .join(", ") || "none"
  );
}
