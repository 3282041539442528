// Alarms that stand, always up to date: /ws/alarms says when to ask again.

import { get, Refused } from "./api.js";
import { announce } from "./dom.js";
import { Socket } from "./socket.js";
import { store } from "./store.js";

const SETTLE_MS = 100;
const ASK_MS = 15000;
const SILENT_MS = 40000;

class AlarmFeed {
  constructor() {
    this.active = [];
    this.status = null;
    this.fault = "";
    this.isLoaded = false;
    this.listeners = new Set();
    this.told = "";
  }

  start() {
    this.socket = new Socket("/ws/alarms", { silentMs: SILENT_MS });
    this.socket.on("alarm", () => this.#soon());
    this.socket.on("reset", () => this.#soon());
    this.socket.on("up", () => this.#soon());
    // the counts come every second with the status, whatever becomes of the other connection
    store.socket.on("status", (frame) => {
      const counts = JSON.stringify(frame.alarms ?? {});
      if (counts !== this.told) {
        this.told = counts;
        this.#soon();
      }
    });
    setInterval(() => {
      if (!document.hidden) this.load();
    }, ASK_MS);
    this.load();
  }

  /** Be told after each answer; what is returned ends it. */
  on(listener) {
    this.listeners.add(listener);
    if (this.isLoaded) listener();
    return () => this.listeners.delete(listener);
  }

  #soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), SETTLE_MS);
  }

  /** Ask now. */
  async load() {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    try {
      const { alarms, status } = await get("/v1/alarms");
      if (turn !== this.turn) return;
      const known = new Set(this.active.map((alarm) => alarm.id));
      const fresh = alarms.filter((alarm) => alarm.state === "unacknowledged" && !known.has(alarm.id));
      if (this.isLoaded && fresh.length) announce(`Alarm: ${fresh.map((alarm) => alarm.message).join("; ")}`);
      this.active = alarms;
      this.status = status;
      this.fault = "";
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (turn !== this.turn) return;
      this.fault = error.message;
    }
    this.isLoaded = true;
    for (const listener of this.listeners) listener();
  }
}

/** The one feed of the page. */
export const alarms = new AlarmFeed();

/** Start it. */
export function startAlarms() {
  alarms.start();
  return alarms;
}
