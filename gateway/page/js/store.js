// What the page knows: devices and their tags, the newest values, the status; fed by /ws/live.

import { get } from "./api.js";
import { ms } from "./format.js";
import { Ring } from "./ring.js";
import { Socket } from "./socket.js";

const SPARK_POINTS = 120;
const SPARK_EVERY_MS = 500;
const STALE_INTERVALS = 3;
const STALE_MORE_MS = 1000;
const CLOCK_SET_MS = 5000;

/** One column of one table: `id` is device.table.tag, as in configurations. */
class Tag {
  constructor(table, column) {
    this.table = table;
    this.id = `${table.device}.${table.key}.${column.name}`;
    this.name = column.name;
    this.kind = column.kind;
    this.unit = column.unit;
    this.value = null;
    this.quality = "";
    this.reason = null;
    this.timeMs = 0;
    this.spark = null;
    this.users = 0;
  }

  get isNumber() { return this.kind !== "str"; }

  set(value, quality, reason, timeMs) {
    this.value = value;
    this.quality = quality;
    this.reason = reason;
    if (this.spark && Math.abs(timeMs - this.sparkMs) >= SPARK_EVERY_MS) {
      this.sparkMs = timeMs;
      this.spark.add(timeMs, quality === "BAD" ? null : value);
    }
    this.timeMs = timeMs;
  }
}

class Store {
  constructor() {
    this.devices = new Map();
    this.tables = new Map();
    this.tags = new Map();
    this.shapes = new Map();
    this.frames = new Map();
    this.status = null;
    this.hello = null;
    this.offsetMs = null;
    this.dropped = 0;
    this.valueListeners = new Set();
    this.rowListeners = new Set();
    this.shapeListeners = new Set();
  }

  /** Connect and load the shapes; both at once. */
  start() {
    this.socket = new Socket("/ws/live", { resume: () => this.#wanted() });
    this.socket.on("hello", (frame) => this.#greeted(frame));
    this.socket.on("shape", (frame) => {
      this.frames.set(frame.table, frame);
      this.shapes.set(frame.table, this.#columns(frame));
    });
    this.socket.on("values", (frame) => this.#take(frame));
    this.socket.on("status", (frame) => this.#told(frame));
    return this.loadShapes();
  }

  /** Ask for all devices and their tags again. */
  async loadShapes() {
    const { devices } = await get("/v1/devices");
    const print = JSON.stringify(devices.map(({ name, driver, groups }) => [name, driver, groups]));
    if (print === this.print) return; // nothing differs: what is shown stays as it is
    this.print = print;
    const tags = new Map();
    this.devices = new Map(devices.map((device) => [device.name, device]));
    this.tables = new Map();
    for (const device of devices) {
      device.tables = device.groups.flatMap((group) => group.tables.map((table) =>
        ({ ...table, device: device.name, group: group.name, interval_s: group.interval_s })));
      for (const table of device.tables) {
        this.tables.set(`${device.name}/${table.key}`, table);
        table.tags = table.columns.map((column) => {
          const tag = new Tag(table, column);
          const old = this.tags.get(tag.id);
          if (old && old.kind === tag.kind) {
            old.table = table;
            old.unit = tag.unit;
          }
          const kept = old && old.kind === tag.kind ? old : tag;
          tags.set(kept.id, kept);
          return kept;
        });
      }
    }
    this.tags = tags;
    for (const [table, frame] of this.frames) this.shapes.set(table, this.#columns(frame));
    for (const listener of this.shapeListeners) listener();
  }

  /** Want live values of these tags; what is returned ends it. */
  follow(tags) {
    const added = tags.filter((tag) => {
      tag.users += 1;
      if (!tag.spark && tag.isNumber) {
        tag.spark = new Ring(SPARK_POINTS);
        tag.sparkMs = 0;
      }
      return tag.users === 1;
    });
    if (added.length) this.socket.send({ type: "subscribe", tags: added.map((tag) => tag.id) });
    return () => {
      const ended = tags.filter((tag) => {
        tag.users -= 1;
        if (tag.users === 0) tag.spark = null;
        return tag.users === 0;
      });
      if (ended.length) this.socket.send({ type: "unsubscribe", tags: ended.map((tag) => tag.id) });
    };
  }

  /** The gateway's clock now, in ms. */
  nowMs() { return Date.now() + (this.offsetMs ?? 0); }

  /** Whether a tag's value is older than its group's interval allows, or nothing comes at all. */
  isStale(tag, nowMs = this.nowMs()) {
    if (!tag.timeMs) return false;
    const { interval_s: interval } = tag.table;
    if (!interval) return !this.socket.isUp;
    return nowMs - tag.timeMs > interval * 1000 * STALE_INTERVALS + STALE_MORE_MS || !this.socket.isUp;
  }

  #wanted() {
    const tags = [...this.tags.values()].filter((tag) => tag.users > 0).map((tag) => tag.id);
    return tags.length ? [{ type: "subscribe", tags }] : [];
  }

  #greeted(frame) {
    const isOther = this.hello && this.hello.run !== frame.run;
    this.hello = frame;
    this.shapes.clear();
    this.frames.clear();
    this.#clock(ms(frame.time_ns));
    if (isOther) this.loadShapes().catch(() => {});
  }

  #columns(frame) {
    const at = frame.table.indexOf("/");
    const head = `${frame.table.slice(0, at)}.${frame.table.slice(at + 1)}.`;
    const found = frame.columns.map((name) => this.tags.get(head + name));
    if (found.some((tag) => !tag) && !this.isLoading) {
      // tags that came by a reload of the configuration
      this.isLoading = true;
      this.loadShapes().catch(() => {}).finally(() => { this.isLoading = false; });
    }
    return found;
  }

  #take(frame) {
    this.#clock(ms(frame.time_ns));
    this.dropped += frame.dropped ?? 0;
    for (const row of frame.rows) {
      const tags = this.shapes.get(row.table);
      if (!tags) continue;
      const timeMs = ms(row.time_ns);
      for (let i = 0; i < tags.length; i += 1) {
        const isBad = row.bad?.[i];
        const isUncertain = row.uncertain?.[i];
        const quality = isBad ? "BAD" : isUncertain ? "UNCERTAIN" : "GOOD";
        tags[i]?.set(isBad ? null : row.values[i], quality, isBad ?? isUncertain ?? null, timeMs);
      }
      for (const listener of this.rowListeners) listener(tags, timeMs);
    }
    this.#changed();
  }

  #told(frame) {
    this.status = frame;
    const names = Object.keys(frame.devices ?? {});
    const isNew = names.some((name) => !this.devices.has(name));
    if (isNew && this.devices.size && !this.isLoading) {
      this.isLoading = true;
      this.loadShapes().catch(() => {}).finally(() => { this.isLoading = false; });
    }
  }

  /** The least delayed frame tells best how far the clocks are apart, until one of them is set. */
  #clock(gatewayMs) {
    const offset = gatewayMs - Date.now();
    if (this.offsetMs === null || offset > this.offsetMs || offset < this.offsetMs - CLOCK_SET_MS) this.offsetMs = offset;
    else this.offsetMs += (offset - this.offsetMs) * 0.02;
  }

  #changed() {
    for (const listener of this.valueListeners) listener();
  }
}

/** The one store of the page. */
export const store = new Store();
