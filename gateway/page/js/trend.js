// A trend of chosen tags: live, or any stretch of history; panels by unit, one time axis for all.

import { el, place, segments, setText } from "./dom.js";
import { clockTime, fullTime, preciseTime, utcTime } from "./format.js";
import { loadHistory } from "./history.js";
import { nowS, Panel } from "./panel.js";
import { store } from "./store.js";

const WINDOWS = [[60, "1 min"], [300, "5 min"], [900, "15 min"], [3600, "1 h"], [28800, "8 h"]];
const DRAW_MS = 95;
const POINTS = 1200;
const SHORTEST_S = 0.05;
const SETTLE_MS = 180;
let trends = 0;

/** `root` is the element to put on the page; `changed()` is told of what should be in the address. */
export class Trend {
  constructor({ windowS = 60, signal, canRemove = true, changed = () => {}, height = null }) {
    this.windowS = windowS;
    this.signal = signal;
    this.canRemove = canRemove;
    this.changed = changed;
    this.fixedHeight = height;
    this.key_ = `trend-${(trends += 1)}`;
    this.tags = [];
    this.panels = [];
    this.range = [nowS() - windowS, nowS()];
    this.isLive = true;
    this.drawnMs = 0;
    this.#build();
    const take = (tags, timeMs) => { for (const panel of this.panels) panel.add(tags, timeMs); };
    store.rowListeners.add(take);
    const end = store.socket.on("down", () => this.panels.forEach((panel) => panel.columns.cut(nowS())));
    signal.addEventListener("abort", () => { store.rowListeners.delete(take); end(); this.ends?.abort(); this.loading?.abort(); });
  }

  /** Show these tags. */
  setTags(tags) {
    const follow = store.follow(tags); // before the old ones end, so that what stays is not asked for anew
    this.ends?.abort();
    this.ends = new AbortController();
    this.tags = tags;
    this.unfollow = follow;
    this.ends.signal.addEventListener("abort", this.unfollow, { once: true });
    const groups = Map.groupBy ? Map.groupBy(tags, unitKey) : groupBy(tags, unitKey);
    this.groupCount = groups.size;
    this.panels = [...groups.values()].map((group) =>
      new Panel(group, group.map((tag) => tags.indexOf(tag)), this, this.ends.signal));
    place(this.holder, this.panels.map((panel) => panel.root));
    this.empty.hidden = tags.length > 0;
    this.#load();
  }

  /** Called at each repaint of the view: draws when it is time. */
  paint() {
    if (!this.isLive || !this.panels.length) return;
    const width = this.panels[0].chart.bbox.width || 800;
    const now = performance.now();
    // a picture that moves by less than a pixel is not drawn anew
    if (now - this.drawnMs < Math.max(DRAW_MS, (this.windowS * 1000) / width)) return;
    this.drawnMs = now;
    const end = nowS();
    this.range = [end - this.windowS, end];
    this.#draw();
  }

  /** Back to the newest values. */
  live(windowS = this.windowS) {
    this.windowS = windowS;
    this.isLive = true;
    this.range = [nowS() - windowS, nowS()];
    this.setTags(this.tags);
    this.changed();
  }

  /** Show a stretch of the past. */
  zoom(fromS, toS) {
    const end = Math.min(toS, nowS());
    const from = Math.min(fromS, end - SHORTEST_S);
    if (this.isLive) for (const panel of this.panels) panel.shown = panel.columns.data.map((column) => column.slice());
    this.isLive = false;
    this.range = [from, end];
    this.#draw();
    this.#show();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#load(), SETTLE_MS);
    this.changed();
  }

  /** Move by a part of what is shown: -0.5 is half a window back. */
  pan(part) {
    const [from, to] = this.range;
    const by = Math.min(part * (to - from), nowS() - to);
    this.zoom(from + by, to + by);
  }

  /** Show more (above 1) or less of the time, about the middle. */
  scale(factor, about = (this.range[0] + this.range[1]) / 2) {
    const [from, to] = this.range;
    this.zoom(about - (about - from) * factor, about + (to - about) * factor);
  }

  remove(tag) {
    this.setTags(this.tags.filter((other) => other !== tag));
    this.changed();
  }

  key(event) {
    const actions = {
      ArrowLeft: () => this.pan(-0.2), ArrowRight: () => this.pan(0.2), "+": () => this.scale(0.5), "=": () => this.scale(0.5),
      "-": () => this.scale(2), Home: () => this.live(), Escape: () => this.live(),
    };
    if (!actions[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    actions[event.key]();
  }

  wheel(event) {
    if (!event.ctrlKey && !event.shiftKey) return;
    event.preventDefault();
    if (event.ctrlKey) this.scale(event.deltaY > 0 ? 1.25 : 0.8);
    else this.pan((event.deltaY || event.deltaX) > 0 ? 0.1 : -0.1);
  }

  height(isSteps) {
    if (isSteps) return 90;
    if (this.fixedHeight) return this.fixedHeight;
    return this.groupCount > 3 ? 150 : this.groupCount > 1 ? 190 : 300;
  }

  pointAt(timeMs) {
    setText(this.cursorTime, timeMs === null ? "" : preciseTime(timeMs));
    this.cursorTime.title = timeMs === null ? "" : utcTime(timeMs);
  }

  #build() {
    this.holder = el("div", { class: "panels" });
    this.note = el("span", { class: "muted", role: "status" });
    this.cursorTime = el("time", { class: "num" });
    this.span = el("span", { class: "num" });
    this.empty = el("p", { class: "note-line" }, "Choose tags to see their trend.");
    const button = (text, label, action) => el("button", { type: "button", "aria-label": label, title: label, onclick: action }, text);
    this.liveButton = el("button", { type: "button", class: "live", onclick: () => this.live() }, "Live");
    this.windows = segments("Window", WINDOWS, this.windowS, (value) => this.live(value));
    this.tools = [this.windows,
      el("div", { class: "segments", role: "group", "aria-label": "Move in time" },
        button("◀", "Back", () => this.pan(-0.5)), button("▶", "Forward", () => this.pan(0.5)),
        button("−", "Show more time", () => this.scale(2)), button("+", "Show less time", () => this.scale(0.5))),
      this.liveButton];
    this.root = el("div", { class: "trend" },
      el("div", { class: "trend-tools" }, this.tools, el("span", { class: "space" }), this.cursorTime),
      this.empty, this.holder, el("div", { class: "trend-foot" }, this.span, this.note));
    this.#show();
  }

  #show() {
    const [from, to] = this.range;
    this.liveButton.setAttribute("aria-pressed", String(this.isLive));
    setText(this.span, this.isLive ? "" : `${fullTime(from * 1000)} to ${clockTime(to * 1000)}`);
    this.windows.show(this.isLive ? this.windowS : null);
  }

  #draw() {
    for (const panel of this.panels) panel.draw();
  }

  async #load() {
    this.loading?.abort();
    const loading = this.loading = new AbortController();
    this.#show();
    const wasLive = this.isLive;
    setText(this.note, "loading history");
    try {
      for (const panel of this.panels) {
        const [xs, ys, notes] = await loadHistory(panel.tags, this.range[0], this.range[1], POINTS, loading.signal);
        if (loading.signal.aborted || wasLive !== this.isLive) return;
        if (wasLive) panel.columns.prepend(xs, ys);
        else panel.shown = [xs, ...ys];
        panel.draw();
        setText(this.note, xs.length || wasLive ? notes.join("; ") : "nothing is stored of this time");
      }
      if (!this.panels.length) setText(this.note, "");
      this.holder.dataset.loaded = String(Number(this.holder.dataset.loaded ?? 0) + 1);
    } catch (error) {
      if (!loading.signal.aborted) setText(this.note, `no history: ${error.message}`);
    }
  }
}

const unitKey = (tag) => (tag.kind === "b1" ? "b1" : tag.unit ?? "");

function groupBy(items, key) {
  const groups = new Map();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return groups;
}
