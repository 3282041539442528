// Starts the page: header, connection, keys, and the view that the address names.

import { startAlarms } from "./alarmfeed.js";
import { el, setAttr, setText } from "./dom.js";
import { fullTime, setZone, utcTime, zoneName } from "./format.js";
import { startKeys } from "./keys.js";
import { link, startLink } from "./link.js";
import { go, startRouter } from "./router.js";
import { reloadIfEnded, startSession } from "./session.js";
import { store } from "./store.js";
import { startTheme } from "./theme.js";

const NAV = [
  ["overview", "Overview"],
  ["device", "Device"],
  ["vibration", "Vibration"],
  ["alarms", "Alarms"],
  ["data", "Data path"],
  ["configuration", "Configuration"],
];

const SESSION_MS = 3000;

const node = (id) => document.getElementById(id);

function startNav() {
  const links = new Map(NAV.map(([view, text]) => [view, el("a", { href: `#/${view}` }, text)]));
  node("nav").append(...links.values());
  const badge = el("span", { class: "count calm", hidden: true });
  links.get("alarms").append(badge);
  const alarms = startAlarms();
  alarms.on(() => {
    const waiting = alarms.status?.unacknowledged ?? 0;
    const active = Object.values(alarms.status?.active ?? {}).reduce((sum, n) => sum + n, 0);
    badge.hidden = !active && !waiting;
    setText(badge, String(waiting || active));
    setAttr(badge, "class", waiting ? "count" : "count calm");
    setAttr(badge, "title", `${active} active, ${waiting} not acknowledged`);
    setAttr(
      links.get("alarms"),
      "aria-label",
      active || waiting ? `Alarms: ${active} active, ${waiting} not acknowledged` : null,
    );
  });
  const vibration = links.get("vibration");
  const shapes = () => {
    vibration.hidden = ![...store.tables.values()].some((table) => table.labels.channel);
  };
  store.shapeListeners.add(shapes);
  vibration.hidden = true;
  return (view) =>
    links.forEach((anchor, name) => {
      setAttr(anchor, "aria-current", name === view ? "page" : null);
      if (name === view) anchor.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
}

function startHeader() {
  const clock = node("clock");
  const state = node("gateway-state");
  const tick = () => {
    const now = store.nowMs();
    setText(clock, fullTime(now));
    setAttr(clock, "title", `${zoneName()}; ${utcTime(now)}`);
  };
  tick();
  setInterval(tick, 1000);
  store.socket.on("hello", (frame) => setText(node("gateway-name"), frame.gateway));
  store.socket.on("status", (frame) => {
    state.hidden = frame.problems.length === 0;
    setText(state.firstElementChild, `△ ${frame.problems.length}`);
    setText(state.lastElementChild, frame.problems.length === 1 ? "problem" : "problems");
    setAttr(state, "title", frame.problems.join("\n") || null);
  });
}

/** A connection that does not come back may be refused: ask why, now and then. */
function watchSession() {
  let lookedMs = 0;
  store.socket.on("down", () => {
    if (store.socket.tries < 2 || performance.now() - lookedMs < SESSION_MS) return;
    lookedMs = performance.now();
    reloadIfEnded();
  });
}

async function start() {
  setZone(document.documentElement.dataset.zone);
  startTheme(node("theme"));
  const loaded = store.start();
  startSession(node("session"));
  const showCurrent = startNav();
  startHeader();
  startLink();
  watchSession();
  startKeys(
    NAV.map(
      ([view]) =>
        () =>
          go(view),
    ),
    node("help"),
  );
  for (let tries = 0; ; tries += 1) {
    try {
      await (tries ? store.loadShapes() : loaded);
      break;
    } catch (error) {
      link.say(`The list of devices did not come: ${error.message}`);
      await new Promise((done) => setTimeout(done, Math.min(5000, 500 * 2 ** tries)));
    }
  }
  link.say("");
  startRouter(node("main"), showCurrent);
}

start();
