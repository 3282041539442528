// A chart of lines over a quantity that is no time of day: a waveform over seconds, a spectrum over Hz; with named markers.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { axis, makeChart, valueAxis } from "./chart.js";
import { el, setText } from "./dom.js";
import { number } from "./format.js";
import { colour } from "./theme.js";

const FONT = '11px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const FLOOR = 1e-5; // of the greatest, for a logarithmic axis
const LABEL_PX = 13;
const LEVELS = 4;

/** Drag zooms, a double click or Home shows all again; `markers` are [{at, text, colour}]. */
export class Lines {
  constructor({ label, xLabel, yLabel, colourName, height, signal, isBars = false }) {
    this.markers = [];
    this.isLog = false;
    this.zoomed = null;
    this.xs = [];
    this.ys = [];
    this.label = label;
    this.holder = el("div", {
      class: "chart",
      tabindex: "0",
      role: "img",
      "aria-label": label,
      onkeydown: (event) => {
        if (event.key === "Home" || event.key === "Escape") this.all();
      },
    });
    this.cursor = el("span", { class: "muted num cursor" });
    this.root = el("div", { class: "lines" }, this.holder);
    this.options = {
      height,
      padding: [8, 14, 0, 0],
      axes: [axis({ label: xLabel, size: 30, space: 60 }), valueAxis(yLabel)],
      series: [
        {},
        {
          stroke: () => colour(colourName),
          width: 1,
          points: { show: false },
          fill: isBars ? () => `color-mix(in srgb, ${colour(colourName)} 18%, transparent)` : undefined,
        },
      ],
      cursor: {
        drag: { x: true, y: false, setScale: false },
        bind: {
          dblclick: () => () => {
            this.all();
            return null;
          },
        },
      },
      hooks: {
        draw: [(chart) => this.#draw(chart)],
        setCursor: [(chart) => this.#point(chart)],
        setSelect: [(chart) => this.#brush(chart)],
      },
    };
    this.signal = signal;
    this.#make();
  }

  /** Show these points. */
  set(xs, ys) {
    this.xs = xs;
    this.ys = ys;
    this.chart.setData([xs, this.#shown()]);
  }

  /** Draw these markers from now on. */
  mark(markers) {
    this.markers = markers;
    this.chart.redraw(false, false);
  }

  /** A logarithmic axis of values, or a linear one. */
  log(isLog) {
    this.isLog = isLog;
    this.#make();
    this.chart.setData([this.xs, this.#shown()]);
  }

  /** Show from `from` to `to`; null: all. */
  zoom(range) {
    this.zoomed = range;
    this.chart.setData([this.xs, this.#shown()]);
  }

  all() {
    this.zoom(null);
  }

  #shown() {
    if (!this.isLog) return this.ys;
    const floor = Math.max(...this.ys) * FLOOR || 1e-12;
    return Array.from(this.ys, (y) => Math.max(y, floor));
  }

  #make() {
    this.ends?.abort();
    this.ends = new AbortController();
    this.signal.addEventListener("abort", () => this.ends.abort(), { once: true });
    this.chart = makeChart(
      this.holder,
      {
        ...this.options,
        scales: {
          x: { time: false, range: (_, min, max) => this.zoomed ?? [min, max] },
          y: this.isLog ? { distr: 3 } : {},
        },
      },
      [this.xs, this.#shown()],
      this.ends.signal,
    );
  }

  #brush(chart) {
    const { left, width } = chart.select;
    if (width >= 6) this.zoom([chart.posToVal(left, "x"), chart.posToVal(left + width, "x")]);
    if (width) chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }

  #point(chart) {
    const { idx, left } = chart.cursor;
    const isAway = idx === null || idx === undefined || left < 0 || !this.xs.length;
    setText(
      this.cursor,
      isAway ? "" : `${number(this.xs[idx])} ${this.options.axes[0].label.split(" ").at(-1)}: ${number(this.ys[idx])}`,
    );
  }

  #draw(chart) {
    const { ctx, bbox } = chart;
    const ratio = uPlot.pxRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.font = FONT.replace("11px", `${11 * ratio}px`);
    ctx.textAlign = "left";
    ctx.textBaseline = "top";
    const ends = new Array(LEVELS).fill(-Infinity); // labels that would overlap go a line lower
    const shown = this.markers
      .filter((m) => m.at >= chart.scales.x.min && m.at <= chart.scales.x.max)
      .sort((a, b) => a.at - b.at);
    for (const marker of shown) {
      const x = Math.round(chart.valToPos(marker.at, "x", true)) + 0.5;
      const width = ctx.measureText(marker.text).width;
      const start = Math.min(x + 3 * ratio, bbox.left + bbox.width - width - 2 * ratio);
      const level = ends.findIndex((end) => start > end + 4 * ratio);
      ctx.strokeStyle = ctx.fillStyle = colour(marker.colour);
      ctx.lineWidth = ratio;
      ctx.setLineDash(marker.dash ? marker.dash.map((d) => d * ratio) : []);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      if (level < 0) continue; // the line is there; zooming in makes room for its name
      ends[level] = start + width;
      const top = bbox.top + (2 + level * LABEL_PX) * ratio;
      ctx.fillStyle = colour("--sheet");
      ctx.globalAlpha = 0.8;
      ctx.fillRect(start - ratio, top, width + 2 * ratio, LABEL_PX * ratio);
      ctx.globalAlpha = 1;
      ctx.fillStyle = colour(marker.colour);
      ctx.fillText(marker.text, start, top);
    }
    ctx.restore();
  }
}
