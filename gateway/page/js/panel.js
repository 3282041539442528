// One chart of a trend: the tags of one unit, their legend with values, zoom by brush.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { dash, makeChart, seriesColour, timeAxis, valueAxis } from "./chart.js";
import { Columns } from "./columns.js";
import { el, setText } from "./dom.js";
import { unitText, withUnit } from "./format.js";
import { store } from "./store.js";

const BRUSH_PX = 6;

/** A panel of `tags`; `series` gives each its number among all of the trend; `trend` moves in time. */
export class Panel {
  constructor(tags, series, trend, signal) {
    this.tags = tags;
    this.trend = trend;
    this.columns = new Columns(tags.length, trend.windowS);
    this.places = new Map(tags.map((tag, i) => [tag, i]));
    this.root = el("div", { class: "panel" });
    this.values = [];
    const steps = tags.every((tag) => tag.kind === "b1");
    const holder = el("div", {
      class: "chart", tabindex: "0", role: "img",
      "aria-label": `Trend of ${tags.map((tag) => tag.name).join(", ")}. Arrow keys move in time, plus and minus zoom, Home returns to live.`,
      onkeydown: (event) => trend.key(event),
      onwheel: (event) => trend.wheel(event),
    });
    this.root.append(holder, this.#legend(series));
    const height = trend.height(steps);
    this.chart = makeChart(holder, {
      height,
      ms: 1e-3,
      padding: [8, 12, 0, 0],
      scales: {
        x: { time: false, range: () => trend.range },
        y: steps ? { range: [-0.1, 1.1] } : {},
      },
      axes: [timeAxis(), valueAxis(unitText(tags[0].unit) || (steps ? "on / off" : "no unit"),
        steps ? { splits: [0, 1], space: 10 } : {})],
      series: [{}, ...tags.map((tag, i) => ({
        label: tag.name, stroke: () => seriesColour(series[i]), width: 1.5, dash: dash(series[i]),
        points: { show: (_, __, from, to) => to - from < 40 },
        paths: steps ? uPlot.paths.stepped({ align: 1 }) : undefined,
      }))],
      cursor: {
        sync: { key: trend.key_, scales: ["x", null] },
        drag: { x: true, y: false, setScale: false },
        focus: { prox: 24 },
        bind: { dblclick: () => () => { trend.live(); return null; } },
      },
      hooks: { setCursor: [(chart) => this.#point(chart)], setSelect: [(chart) => this.#brush(chart)] },
    }, this.columns.data, signal);
  }

  /** Values of a row that came live. */
  add(tags, timeMs) {
    let values = null;
    for (const tag of tags) {
      const i = tag && this.places.get(tag);
      if (i === undefined || i === null) continue;
      values ??= new Array(this.tags.length).fill(undefined);
      values[i] = tag.quality === "BAD" || tag.value === null ? null : Number(tag.value);
    }
    if (values) this.columns.add(timeMs / 1000, values);
  }

  /** Draw what there is. */
  draw() {
    this.chart.setData(this.shown ?? this.columns.data);
    if (this.chart.cursor.idx === null || this.chart.cursor.left < 0) this.#newest();
  }

  #legend(series) {
    const entries = this.tags.map((tag, i) => {
      const value = el("b");
      this.values.push(value);
      const key = el("span", { class: dash(series[i]) ? "key dashed" : "key" });
      key.style.borderTopColor = `var(--s${series[i] % 8})`;
      return el("span", {}, key, el("span", { title: tag.id }, tag.name), value,
        this.trend.canRemove ? el("button", { type: "button", "aria-label": `Take ${tag.name} out of the trend`, onclick: () => this.trend.remove(tag) }, "✕") : null);
    });
    return el("div", { class: "legend" }, entries);
  }

  #newest() {
    this.tags.forEach((tag, i) => setText(this.values[i], tag.quality === "BAD" ? `BAD ${tag.reason ?? ""}` : withUnit(tag.value, tag.unit)));
    this.trend.pointAt(null);
  }

  #point(chart) {
    const { idx, left } = chart.cursor;
    if (idx === null || idx === undefined || left < 0) {
      this.#newest();
      return;
    }
    this.tags.forEach((tag, i) => {
      const column = chart.data[i + 1];
      let at = idx;
      while (at > 0 && column[at] === undefined) at -= 1;
      setText(this.values[i], column[at] === null || column[at] === undefined ? "no value" : withUnit(tag.kind === "b1" ? Boolean(column[at]) : column[at], tag.unit));
    });
    this.trend.pointAt(chart.data[0][idx] * 1000);
  }

  #brush(chart) {
    const { left, width } = chart.select;
    if (width >= BRUSH_PX) this.trend.zoom(chart.posToVal(left, "x"), chart.posToVal(left + width, "x"));
    if (width) chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }
}

/** The newest moment that can be shown. */
export const nowS = () => store.nowMs() / 1000;
