// Cards of a vibration channel: the features that a technician knows, and the zone of its velocity.

import { el, setAttr, setText } from "./dom.js";
import { short, unitText } from "./format.js";
import { store } from "./store.js";

const NAMES = {
  rms: "RMS",
  peak: "Peak",
  peak_to_peak: "Peak to peak",
  crest: "Crest factor",
  kurtosis: "Kurtosis",
  velocity_rms: "Velocity RMS",
  displacement_rms: "Displacement RMS",
  envelope_rms: "Envelope RMS",
  speed_hz: "Shaft speed",
};
const WORDS = {
  rms: "RMS",
  avg: "average",
  bpfo: "BPFO",
  bpfi: "BPFI",
  bsf: "BSF",
  ftf: "FTF",
  bsf2: "2x BSF",
  hz: "frequency",
};

/** `velocity_rms_avg` as a person says it. */
function nameOf(column) {
  if (NAMES[column]) return NAMES[column];
  const order = /^order_(\d+)$/.exec(column);
  if (order) return `${order[1]}x amplitude`;
  const text = column
    .split("_")
    .map((word) => WORDS[word] ?? word)
    .join(" ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
const FIRST = ["velocity_rms", "rms", "peak", "crest", "kurtosis"];
const ZONES = {
  A: ["good", "newly commissioned"],
  B: ["good", "unrestricted long-term operation"],
  C: ["degraded", "not for continuous operation"],
  D: ["bad", "severe enough to cause damage"],
};

/** The cards of one table of features; `paint()` shows the newest values, `look(spectrum)` what the table lacks. */
export class Cards {
  constructor(table, signal) {
    this.table = table;
    this.tags = table.tags.filter((tag) => tag.name !== "setup");
    this.byName = new Map(this.tags.map((tag) => [tag.name, tag]));
    this.features = {};
    this.setup = null;
    this.unit = "";
    signal.addEventListener("abort", store.follow(this.tags));
    const rest = this.tags.filter((tag) => !FIRST.includes(tag.name) && tag.isNumber).map((tag) => tag.name);
    this.cards = [...FIRST, ...rest].map((name) => this.#card(name));
    this.zone = this.#zoneCard();
    this.root = el(
      "div",
      { class: "cards" },
      this.zone.root,
      this.cards.map((card) => card.root),
    );
  }

  /** Take what the newest window's spectrum tells beside the lines. */
  look({ features, setup, unit }) {
    this.features = features;
    this.setup = setup;
    this.unit = unit;
  }

  paint() {
    const now = store.nowMs();
    for (const card of this.cards) {
      const tag = this.byName.get(card.name);
      const value = tag ? (tag.quality === "BAD" ? null : tag.value) : this.features[card.name];
      card.root.hidden = !tag && (value === undefined || value === null);
      setText(card.value, short(value, 4));
      setText(card.unit, unitText(tag?.unit ?? this.#unitOf(card.name)));
      const isStale = Boolean(tag) && store.isStale(tag, now);
      setAttr(card.root, "class", `card${isStale ? " stale-value" : ""}${tag?.quality === "BAD" ? " bad-value" : ""}`);
      setText(
        card.note,
        tag?.quality === "BAD"
          ? `BAD ${tag.reason ?? ""}`
          : isStale
            ? "stale"
            : tag?.quality === "UNCERTAIN"
              ? `UNCERTAIN ${tag.reason ?? ""}`
              : "",
      );
    }
    this.#paintZone();
  }

  #unitOf(name) {
    if (name === "velocity_rms") return "mm/s";
    return name === "rms" || name === "peak" ? this.unit : "";
  }

  #card(name) {
    const value = el("b", { class: "num" });
    const unit = el("span", { class: "unit" });
    const note = el("small", {});
    return {
      name,
      value,
      unit,
      note,
      root: el(
        "div",
        { class: "card", title: name },
        el("span", { class: "name" }, nameOf(name)),
        el("span", { class: "big" }, value, " ", unit),
        note,
      ),
    };
  }

  #zoneCard() {
    const value = el("b");
    const words = el("small");
    const bar = el(
      "div",
      { class: "zone-bar", "aria-hidden": "true" },
      "ABCD".split("").map((zone) => el("span", { class: `zone ${zone}` }, zone)),
    );
    return {
      value,
      words,
      bar,
      root: el(
        "div",
        { class: "card zone-card" },
        el("span", { class: "name" }, "Velocity zone"),
        el("span", { class: "big" }, value),
        bar,
        words,
      ),
    };
  }

  #paintZone() {
    const tag = this.byName.get("zone");
    const { root, value, words, bar } = this.zone;
    const limits = this.setup?.boundaries_mm_s;
    root.hidden = !tag && !limits;
    const velocity = this.byName.get("velocity_rms")?.value ?? this.features.velocity_rms;
    const found = tag ? (tag.quality === "BAD" ? null : tag.value) : zoneOf(velocity, limits);
    setText(value, found || "–");
    const [state, text] = ZONES[found] ?? ["good", "no zone yet"];
    setText(words, text);
    setAttr(root, "class", `card zone-card ${state}`);
    setAttr(root, "title", limits ? `Boundaries ${limits.join(", ")} mm/s. ${this.setup.zones ?? ""}` : null);
    for (const span of bar.children) span.classList.toggle("here", span.textContent === found);
  }
}

function zoneOf(velocity, limits) {
  if (!limits || typeof velocity !== "number") return null;
  return "ABCD"[limits.filter((limit) => velocity > limit).length];
}
