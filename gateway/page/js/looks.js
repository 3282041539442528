// The pictures of a channel's newest window: waveform, spectrum, envelope spectrum; what they depend on.

import { getInTurn, Refused } from "./api.js";
import { el, segments, setText, sheet } from "./dom.js";
import { ms, preciseTime, short, unitText, utcTime } from "./format.js";
import { Lines } from "./lines.js";
import { poll } from "./live.js";

const EVERY_MS = 2000;
const HARMONICS = 3;
const ORDERS = 10.5;
const MOST_POINTS = 16384;
// colour and dash of each family: they differ without colour, too
const FAMILIES = {
  shaft: { text: "1x 2x 3x", colour: "--s5", dash: [] },
  bpfo: { text: "BPFO", colour: "--s4", dash: [6, 3] },
  bpfi: { text: "BPFI", colour: "--s3", dash: [2, 2] },
  bsf: { text: "BSF", colour: "--s2", dash: [8, 3, 2, 3] },
  ftf: { text: "FTF", colour: "--s1", dash: [3, 5] },
};

/** The three pictures of the newest window, and what they depend on. */
export class Looks {
  constructor(device, channel, cards, signal) {
    this.names = { device, channel };
    this.cards = cards;
    this.signal = signal;
    this.isHeld = false;
    this.families = new Set(Object.keys(FAMILIES));
    const chart = (label, xLabel, colourName, isBars) =>
      new Lines({ label, xLabel, yLabel: " ", colourName, height: 240, signal, isBars });
    this.spectrum = chart("Spectrum: peak amplitude over frequency", "Frequency, Hz", "--s0", true);
    this.envelope = chart("Envelope spectrum: amplitude over frequency", "Frequency, Hz", "--s0", true);
    this.waveform = chart("Waveform: samples over time", "Time, s", "--s0", false);
    this.time = el("time", { class: "muted num" });
    this.note = el("span", { class: "muted", role: "status" });
    this.facts = el("dl", { class: "facts" });
    this.hold = el("button", { type: "button", "aria-pressed": "false", onclick: () => this.#toggleHold() }, "Hold");
    const file = el(
      "a",
      { class: "button", href: `/v1/capture.npz?${new URLSearchParams(this.names)}`, download: true },
      "Save as .npz",
    );
    const scale = (lines) =>
      segments(
        "Scale",
        [
          [false, "Lin"],
          [true, "Log"],
        ],
        false,
        (isLog) => lines.log(isLog),
      );
    const space = () => el("span", { class: "space" });
    const range = (lines, text) =>
      segments(
        "Range",
        [
          ["near", text],
          ["all", "All"],
        ],
        "near",
        (value) => {
          lines.isNear = value === "near";
          this.#range();
        },
      );
    this.spectrum.isNear = this.envelope.isNear = true;
    this.spectrumSheet = sheet(
      "Spectrum",
      [
        this.spectrum.cursor,
        space(),
        this.#familyButton("shaft"),
        range(this.spectrum, "To 10x"),
        scale(this.spectrum),
      ],
      this.spectrum.root,
    );
    this.envelopeSheet = sheet(
      "Envelope",
      [
        this.envelope.cursor,
        space(),
        ["bpfo", "bpfi", "bsf", "ftf"].map((f) => this.#familyButton(f)),
        range(this.envelope, "Near"),
        scale(this.envelope),
      ].flat(),
      this.envelope.root,
    );
    this.waveformSheet = sheet(
      "Waveform",
      [this.waveform.cursor, space(), this.note, this.time, this.hold, file],
      this.waveform.root,
    );
    this.setupSheet = sheet("What the numbers depend on", [], el("div", { class: "body" }, this.facts));
    poll(() => this.#load(), EVERY_MS, signal);
  }

  #familyButton(family) {
    const { text, colour } = FAMILIES[family];
    const key = el("span", { class: "key" });
    key.style.borderTopColor = `var(${colour})`;
    const button = el(
      "button",
      {
        type: "button",
        class: "family",
        "aria-pressed": "true",
        onclick: () => {
          if (!this.families.delete(family)) this.families.add(family);
          button.setAttribute("aria-pressed", String(this.families.has(family)));
          this.#mark();
        },
      },
      key,
      text,
    );
    return button;
  }

  #toggleHold() {
    this.isHeld = !this.isHeld;
    this.hold.setAttribute("aria-pressed", String(this.isHeld));
  }

  async #load() {
    if (this.isHeld) return;
    try {
      const spectrum = await getInTurn("/v1/spectrum", this.names, this.signal);
      if (this.isHeld || this.signal.aborted) return;
      this.#showSpectrum(spectrum);
      const waveform = await getInTurn("/v1/waveform", this.names, this.signal);
      if (this.isHeld || this.signal.aborted) return;
      this.#showWaveform(waveform);
      setText(this.note, "");
    } catch (error) {
      if (this.signal.aborted) return;
      if (!(error instanceof Refused)) throw error;
      setText(this.note, error.message);
    }
  }

  #showSpectrum(found) {
    this.features = found.features;
    this.cards.look(found);
    const unit = unitText(found.unit);
    this.spectrum.options.axes[1].label = `Peak, ${unit}`;
    this.envelope.options.axes[1].label = `Amplitude, ${unit}²`;
    for (const lines of [this.spectrum, this.envelope]) lines.chart.axes[1].label = lines.options.axes[1].label;
    this.spectrum.set(steps(found.amplitude.length, found.line_hz), found.amplitude);
    this.envelope.set(steps(found.envelope.length, found.line_hz), found.envelope);
    this.#mark();
    if (!this.isRanged) this.#range();
    this.#showSetup(found);
  }

  #showWaveform(found) {
    const label = unitText(found.unit);
    this.waveform.options.axes[1].label = this.waveform.chart.axes[1].label = label;
    const { xs, ys } = thinned(found.samples, found.rate_hz);
    this.waveform.set(xs, ys);
    setText(this.time, preciseTime(ms(found.time_ns)));
    this.time.title = `Last sample: ${utcTime(ms(found.time_ns))}`;
  }

  #mark() {
    const all = this.features ?? {};
    const family = (name, at, harmonic) => ({
      at: at * harmonic,
      text:
        name === "shaft"
          ? `${harmonic}x`
          : harmonic === 1
            ? FAMILIES[name].text
            : `${harmonic}x ${FAMILIES[name].text}`,
      colour: FAMILIES[name].colour,
      dash: FAMILIES[name].dash,
    });
    const of = (name, at) =>
      at && this.families.has(name) ? Array.from({ length: HARMONICS }, (_, i) => family(name, at, i + 1)) : [];
    this.spectrum.mark(of("shaft", all.speed_hz));
    this.envelope.mark(["bpfo", "bpfi", "bsf", "ftf"].flatMap((name) => of(name, all[`${name}_hz`])));
  }

  /** Where the markers are, or all of it; a zoom by hand stays. */
  #range() {
    const all = this.features ?? {};
    this.isRanged = true;
    const near = (lines, hz) => lines.zoom(lines.isNear && hz ? [0, Math.min(hz, lines.xs.at(-1) ?? hz)] : null);
    near(this.spectrum, all.speed_hz * ORDERS);
    near(
      this.envelope,
      Math.max(...["bpfo", "bpfi", "bsf", "ftf"].map((name) => all[`${name}_hz`] ?? 0)) * (HARMONICS + 0.5),
    );
  }

  #showSetup(found) {
    const print = JSON.stringify([found.setup, found.rate_hz]);
    if (print === this.print) return;
    this.print = print;
    const speed = found.features.speed_hz;
    const lines = [
      ["Line distance", `${short(found.line_hz)} Hz`],
      ["Shaft speed", speed ? `${short(speed)} Hz, ${short(speed * 60)} rpm` : "not known: no markers"],
      ...Object.entries(found.setup),
    ];
    this.facts.replaceChildren(
      ...lines.flatMap(([key, value]) => [el("dt", {}, key.replaceAll("_", " ")), el("dd", {}, textOf(value))]),
    );
  }
}

const steps = (count, step) => Float64Array.from({ length: count }, (_, i) => i * step);

/** At most so many points: of each stretch its least and its greatest sample. */
function thinned(samples, rateHz) {
  if (samples.length <= MOST_POINTS) return { xs: steps(samples.length, 1 / rateHz), ys: samples };
  const size = Math.ceil(samples.length / (MOST_POINTS / 2));
  const [xs, ys] = [[], []];
  for (let start = 0; start < samples.length; start += size) {
    let [low, high] = [start, start];
    for (let i = start; i < Math.min(start + size, samples.length); i += 1) {
      if (samples[i] < samples[low]) low = i;
      if (samples[i] > samples[high]) high = i;
    }
    for (const i of low === high ? [low] : [Math.min(low, high), Math.max(low, high)]) {
      xs.push(i / rateHz);
      ys.push(samples[i]);
    }
  }
  return { xs, ys };
}

function textOf(value) {
  if (value === null || value === undefined) return "–";
  if (Array.isArray(value)) return value.map(textOf).join(", ") || "none";
  if (typeof value === "object")
    return (
      Object.entries(value)
        .map(([k, v]) => `${k.replaceAll("_", " ")} ${textOf(v)}`)
        .join("; ") || "none"
    );
  return short(value);
}
