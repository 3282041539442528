// What runs: the gateway, how the last reload went with the place of each fault, the parts of the configuration, who did what.

import { get, Refused } from "../api.js";
import { el, setText, sheet, table } from "../dom.js";
import { bytes, count, duration, short, timeElement, utcTime, zoneName } from "../format.js";
import { signIn, whoAsks } from "../session.js";
import { watchStatus } from "../statusfeed.js";
import { store } from "../store.js";

const ACTIONS = 100;

/** The view; gives its title. */
export default function configuration(main, { signal }) {
  const fault = el("p", { class: "fault", role: "alert" });
  const facts = el("dl", { class: "facts" });
  const reload = reloadSheet();
  main.append(
    el("h1", { class: "hidden-text" }, "Configuration"),
    fault,
    reload.root,
    el("div", { class: "pair" }, sheet("Gateway", [], el("div", { class: "body" }, facts)), partsSheet(signal)),
    auditSheet(signal),
  );
  watchStatus(
    (status) => {
      setText(fault, "");
      showFacts(facts, status);
      reload.show(status.reload);
    },
    signal,
    (text) => setText(fault, `The status did not come: ${text}`),
  );
  return "Configuration";
}

function showFacts(facts, status) {
  const { gateway, clock } = status;
  const pairs = [
    ["Name", gateway.name],
    ["Version", gateway.version],
    ["Running for", duration(gateway.uptime_s)],
    ["Configuration", gateway.config],
    ["State folder", gateway.state_dir],
    [
      "Process",
      `${gateway.pid}${gateway.threads ? `, ${gateway.threads} threads` : ""}${gateway.rss_bytes ? `, ${bytes(gateway.rss_bytes)}` : ""}`,
    ],
    ["CPU time", gateway.cpu_s === undefined ? "–" : duration(gateway.cpu_s)],
    [
      "Clock",
      clock.synchronised === true ? "synchronised" : clock.synchronised === false ? "not synchronised" : "not known",
    ],
    ["Time zone", `${zoneName()}; UTC now ${utcTime(store.nowMs()).slice(11, 19)}`],
  ];
  while (facts.children.length > pairs.length * 2) facts.lastElementChild.remove();
  pairs.forEach(([key, value], i) => {
    if (!facts.children[2 * i]) facts.append(el("dt"), el("dd"));
    setText(facts.children[2 * i], key);
    setText(facts.children[2 * i + 1], String(value));
  });
}

/** `file:line:col: path: text`, as the loader says it. */
const PLACE = /^(.*?:\d+:\d+): (?:([^\s:][^:]*): )?(.*)$/s;

function reloadSheet() {
  const body = el("div", { class: "body" });
  const root = sheet("Last reload", [], body);
  let print = "";
  const show = (reload) => {
    const now = JSON.stringify(reload);
    if (now === print) return;
    print = now;
    if (!reload || !reload.count) {
      body.replaceChildren(
        el(
          "p",
          { class: "muted" },
          "Not reloaded since the start. gateway reload, or systemctl reload, takes a changed file without a stop.",
        ),
      );
      return;
    }
    if (reload.ok) {
      body.replaceChildren(
        el("p", {}, `Number ${reload.count} was applied in ${short(reload.took_s, 3)} s.`),
        el(
          "ul",
          {},
          (reload.changes.length ? reload.changes : ["nothing differs"]).map((text) => el("li", {}, text)),
        ),
      );
      return;
    }
    const rows = reload.faults.map((text) => {
      const [, place = "", path = "", rest = text] = PLACE.exec(text) ?? [];
      return el(
        "tr",
        {},
        el("td", { class: "tag" }, el("code", {}, place)),
        el("td", { class: "tag" }, el("code", {}, path)),
        el("td", { class: "wrap" }, rest),
      );
    });
    body.replaceChildren(
      el("p", { class: "fault" }, `Number ${reload.count} was refused: the configuration before it runs on.`),
      table("Faults", ["File, line, column", "Setting", "Fault"], el("tbody", {}, rows)),
    );
  };
  return { root, show };
}

function partsSheet(signal) {
  const body = el("div", { class: "body parts" });
  get("/v1/config", null, signal)
    .then((found) => {
      const kinds = Object.entries(found.fingerprints).filter(([, parts]) => Object.keys(parts).length);
      body.replaceChildren(
        el("p", { class: "muted" }, "A hash of each part as it runs: gateway diff FILE says what a file would change."),
        ...kinds.map(([kind, parts]) =>
          el(
            "details",
            { open: kind !== "settings" },
            el("summary", {}, `${kind} (${count(Object.keys(parts).length)})`),
            el(
              "dl",
              { class: "facts" },
              Object.entries(parts).flatMap(([name, hash]) => [el("dt", {}, name), el("dd", {}, el("code", {}, hash))]),
            ),
          ),
        ),
        ...(found.document || found.text
          ? [
              el(
                "details",
                {},
                el("summary", {}, "All settings, without secrets"),
                el("pre", {}, typeof found.text === "string" ? found.text : JSON.stringify(found.document, null, 2)),
              ),
            ]
          : []),
      );
    })
    .catch((error) => {
      if (!signal.aborted) body.replaceChildren(el("p", { class: "fault" }, error.message));
    });
  return sheet("Parts", [], body);
}

function auditSheet(signal) {
  const body = el("tbody");
  const note = el("p", { class: "note-line", role: "status" }, "Loading");
  const enter = el("button", { type: "button", hidden: true }, "Sign in");
  const load = async () => {
    const { role } = await whoAsks();
    enter.hidden = role === "operator";
    if (role !== "operator") {
      setText(note, "Who changed what is for operators.");
      return;
    }
    try {
      const { actions, notes } = await get("/v1/audit", { max: ACTIONS }, signal);
      setText(note, [actions.length ? "" : "Nobody has changed anything.", ...notes].join(" "));
      note.hidden = !note.textContent.trim();
      body.replaceChildren(
        ...actions.map((a) =>
          el(
            "tr",
            {},
            el("td", {}, timeElement(a.time_ns)),
            el("td", { class: "tag" }, a.who || "–", el("small", {}, a.via)),
            el("td", { class: "tag" }, a.action),
            el("td", { class: "tag" }, a.about),
            el("td", { class: "wrap" }, a.why),
            el("td", { class: a.ok ? "" : "fault" }, a.ok ? "done" : a.error),
          ),
        ),
      );
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Refused)) throw error;
      setText(note, error.message);
    }
  };
  enter.addEventListener("click", () => signIn());
  window.addEventListener("session", load, { signal });
  load();
  return sheet(
    "Actions",
    [el("span", { class: "space" }), enter],
    note,
    table("Actions", ["Time", "Who", "Action", "About", "Reason", "Outcome"], body, "stack"),
  );
}
