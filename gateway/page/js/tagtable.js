// A table of tags with search: value, quality with its reason, the last minute, age. Only rows that are shown are followed.

import { el, place, segments, setAttr, setText } from "./dom.js";
import { duration, number, preciseTime, unitText, utcTime } from "./format.js";
import { mark, setMark } from "./marks.js";
import { href } from "./router.js";
import { drawSpark } from "./spark.js";
import { store } from "./store.js";

const PAGE = 50;
const MOST = 400;
const SPARK_MS = 1000;
const FRESH_S = 2;

/**
 * `tags` are all; `choice` {has(tag), toggle(tag)} gives each a box; `withDevice` names the device, too.
 * `paint()` is for the view's repaint.
 */
export class TagTable {
  constructor({ tags, signal, choice = null, withDevice = false, query = "", typed = () => {} }) {
    this.tags = tags;
    this.choice = choice;
    this.withDevice = withDevice;
    this.typed = typed;
    this.limit = PAGE;
    this.quality = "all";
    this.rows = new Map();
    this.shown = [];
    this.sparkedMs = 0;
    this.search = el("input", {
      type: "search",
      placeholder: "Search tags",
      "aria-label": "Search tags",
      value: query,
      spellcheck: "false",
      autocomplete: "off",
    });
    this.search.addEventListener("input", () => {
      this.limit = PAGE;
      this.typed(this.search.value);
      this.#fill();
    });
    this.filter = segments(
      "Quality",
      [
        ["all", "All"],
        ["not good", "Not good"],
      ],
      this.quality,
      (value) => {
        this.quality = value;
        this.limit = PAGE;
        this.#fill();
      },
    );
    this.found = el("span", { class: "muted num", role: "status" });
    this.tools = [el("span", { class: "space" }), this.found, this.filter, this.search];
    this.body = el("tbody");
    const headings = [
      choice ? el("th", { scope: "col", class: "box" }, el("span", { class: "hidden-text" }, "In the trend")) : null,
      el("th", { scope: "col" }, "Tag"),
      el("th", { scope: "col", class: "num" }, "Value"),
      el("th", { scope: "col" }, "Unit"),
      el("th", { scope: "col" }, "Quality"),
      el("th", { scope: "col", class: "wide" }, "Last minute"),
      el("th", { scope: "col", class: "num wide" }, "Age"),
    ];
    this.more = el(
      "button",
      {
        type: "button",
        onclick: () => {
          this.limit += PAGE;
          this.#fill();
        },
      },
      "Show more",
    );
    this.none = el("p", { class: "note-line" }, "No tag matches.");
    this.root = el(
      "div",
      {},
      el(
        "div",
        { class: "scroll" },
        el("table", { class: "tags", "aria-label": "Tags" }, el("thead", {}, el("tr", {}, headings)), this.body),
      ),
      this.none,
      el("div", { class: "more" }, this.more),
    );
    signal.addEventListener("abort", () => this.unfollow?.());
    this.#fill();
  }

  /** Show these tags from now on. */
  setTags(tags) {
    this.tags = tags;
    this.rows.clear();
    this.#fill();
  }

  /** The boxes follow the choice. */
  choiceChanged() {
    for (const row of this.shown) row.box.checked = this.choice.has(row.tag);
  }

  #matches() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    return this.tags.filter((tag) => {
      if (this.quality !== "all" && (tag.quality === "GOOD" || tag.quality === "") && !store.isStale(tag)) return false;
      if (!words.length) return true;
      const text = `${tag.id} ${tag.unit ?? ""}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }

  #fill() {
    const matching = this.#matches();
    const tags = matching.slice(0, Math.min(this.limit, MOST));
    const follow = store.follow(tags); // before the old ones end, so that what stays is not asked for anew
    this.unfollow?.();
    this.unfollow = follow;
    this.shown = tags.map((tag) => {
      if (!this.rows.has(tag)) this.rows.set(tag, this.#row(tag));
      return this.rows.get(tag);
    });
    place(
      this.body,
      this.shown.map((row) => row.root),
    );
    this.more.hidden = matching.length <= tags.length || tags.length >= MOST;
    this.none.hidden = tags.length > 0;
    setText(this.found, `${tags.length} of ${matching.length} shown`);
    this.sparkedMs = 0;
    this.filledMs = performance.now();
    this.paint();
  }

  #row(tag) {
    const box =
      this.choice &&
      el("input", {
        type: "checkbox",
        checked: this.choice.has(tag),
        disabled: !tag.isNumber,
        "aria-label": `${tag.name} in the trend`,
        onchange: () => this.choice.toggle(tag),
      });
    const path = this.withDevice ? `${tag.table.device} · ${tag.table.key}` : tag.table.key;
    const name = el(
      "td",
      { class: "tag", title: tag.id },
      this.withDevice
        ? el("a", { href: href("device", [tag.table.device], { tags: `${tag.table.key}:${tag.name}` }) }, tag.name)
        : el("b", {}, tag.name),
      el("small", {}, path),
    );
    const value = el("td", { class: tag.isNumber ? "num value" : "value text" });
    const quality = mark("none");
    const spark = tag.isNumber ? el("canvas", { class: "spark", "aria-hidden": "true" }) : null;
    const age = el("td", { class: "num wide" });
    const root = el(
      "tr",
      {},
      box ? el("td", { class: "box" }, box) : null,
      name,
      value,
      el("td", { class: "unit" }, unitText(tag.unit)),
      el("td", {}, quality),
      el("td", { class: "wide" }, spark),
      age,
    );
    return { tag, root, box, value, quality, spark, age };
  }

  /** Show the newest values. */
  paint() {
    const now = store.nowMs();
    const isSparkDue = performance.now() - this.sparkedMs >= SPARK_MS;
    if (isSparkDue) this.sparkedMs = performance.now();
    if (this.quality !== "all" && performance.now() - this.filledMs > 2000) {
      this.#fill();
      return;
    }
    for (const row of this.shown) {
      const { tag } = row;
      const isStale = store.isStale(tag, now);
      setText(row.value, tag.quality === "BAD" ? "–" : number(tag.value));
      setAttr(row.value, "class", `${tag.isNumber ? "num value" : "value text"}${isStale ? " stale-value" : ""}`);
      const state = !tag.quality ? "none" : isStale ? "stale" : tag.quality;
      const word =
        state === "none"
          ? "no value yet"
          : state === "stale"
            ? "stale"
            : tag.reason
              ? `${tag.quality} ${tag.reason}`
              : tag.quality;
      if (row.state !== state || row.word !== word) {
        row.state = state;
        row.word = word;
        setMark(row.quality, state, word);
      }
      const ageS = (now - tag.timeMs) / 1000;
      setText(row.age, !tag.timeMs ? "–" : ageS < FRESH_S ? "now" : duration(Math.floor(ageS)));
      if (isSparkDue) {
        if (row.spark) drawSpark(row.spark, tag.spark, now);
        setAttr(row.age, "title", tag.timeMs ? `${preciseTime(tag.timeMs)}; ${utcTime(tag.timeMs)}` : null);
      }
    }
  }
}
