// A WebSocket that comes back by itself: backoff with jitter, and what was subscribed is asked for again.

import { parse } from "./api.js";

const FIRST_MS = 250;
const LONGEST_MS = 10000;
const SILENT_MS = 4000;
const PING_MS = 15000;

/** Connects at once and for ever. Events by `on(type, listener)`: frames by their type, "up", "down". */
export class Socket {
  constructor(path, { silentMs = SILENT_MS, resume = () => [] } = {}) {
    this.path = path;
    this.resume = resume;
    this.silentMs = silentMs;
    this.listeners = new Map();
    this.tries = 0;
    this.isUp = false;
    this.heardMs = 0;
    this.saidMs = 0; // when the last frame came, by performance.now(); 0: none ever
    this.downSinceMs = performance.now();
    setInterval(() => this.#watch(), 500);
    // a network that is back, or a tab that is looked at again, does not wait for the backoff
    window.addEventListener("online", () => this.#retryNow());
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.#retryNow(); });
    this.#open();
  }

  on(type, listener) {
    const all = this.listeners.get(type) ?? new Set();
    all.add(listener);
    this.listeners.set(type, all);
    return () => all.delete(listener);
  }

  /** Send an object; what is sent while it is down is lost, so `resume` says what to send then. */
  send(frame) {
    if (this.isUp) this.socket.send(JSON.stringify(frame));
  }

  #tell(type, frame) {
    for (const listener of this.listeners.get(type) ?? []) listener(frame);
  }

  #open() {
    clearTimeout(this.timer);
    this.timer = null;
    const path = typeof this.path === "function" ? this.path() : this.path;
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`);
    this.socket = socket;
    this.heardMs = performance.now();
    socket.addEventListener("message", (event) => {
      if (socket !== this.socket) return;
      this.heardMs = this.saidMs = performance.now();
      const frame = parse(event.data);
      if (!this.isUp) this.#up();
      this.#tell(frame.type, frame);
    });
    socket.addEventListener("close", () => { if (socket === this.socket) this.#down(); });
  }

  #up() {
    this.isUp = true;
    this.tries = 0;
    this.pingMs = performance.now();
    this.#tell("up");
    for (const frame of this.resume()) this.send(frame);
  }

  #down() {
    if (this.isUp) this.downSinceMs = performance.now();
    this.isUp = false;
    this.tries += 1;
    const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(this.tries, 10));
    this.waitMs = longest / 2 + (Math.random() * longest) / 2;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#open(), this.waitMs);
    this.#tell("down");
  }

  #retryNow() {
    if (!this.isUp && this.timer !== null) this.#open();
  }

  /** A connection that says nothing for too long is as good as none: the status comes every second. */
  #watch() {
    const now = performance.now();
    if (this.isUp && now - this.pingMs > PING_MS) {
      this.pingMs = now;
      this.send({ type: "ping", id: Math.round(now) });
    }
    // also one whose handshake hangs
    if (!this.socket || this.socket.readyState > WebSocket.OPEN || now - this.heardMs <= this.silentMs) return;
    const old = this.socket;
    this.socket = null;
    old.close();
    this.#down();
  }
}
