// What all charts share: axes in the page's colours, a size that follows the holder, and their end.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { clockTime, fullTime, preciseTime, short, zoneOffsetS } from "./format.js";
import { colour, onTheme } from "./theme.js";

const FONT = '12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const STEPS_S = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800,
  3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000];

/** The dashes of series that have a colour again. */
export const dash = (i) => [undefined, [8, 4], [2, 3]][Math.floor(i / 8) % 3];

/** The colour of a series by its number. */
export const seriesColour = (i) => colour(`--s${i % 8}`);

/** An axis of values. */
export function axis(more) {
  return {
    stroke: () => colour("--muted"), font: FONT, labelFont: FONT, labelSize: 18, gap: 4,
    grid: { stroke: () => colour("--grid"), width: 1 }, ticks: { stroke: () => colour("--grid"), width: 1, size: 4 },
    ...more,
  };
}

/** The axis of times, in the plant's zone. */
export const timeAxis = () => axis({
  space: 90, size: 30, incrs: STEPS_S,
  splits: (_, __, min, max, step) => {
    const ahead = step >= 3600 ? zoneOffsetS(min * 1000) : 0;
    const found = [];
    for (let at = Math.ceil((min + ahead) / step) * step - ahead; at <= max; at += step) found.push(at);
    return found;
  },
  values: (_, splits, __, ___, step) => splits.map((s) => {
    if (step < 1) return preciseTime(s * 1000);
    if (step < 60) return clockTime(s * 1000);
    if (step < 86400) return clockTime(s * 1000).slice(0, 5);
    return fullTime(s * 1000).slice(5, 10);
  }),
});

/** An axis of quantities; `size` is wide enough for the longest text. */
export const valueAxis = (label, more = {}) => axis({
  label, size: 58, values: (_, splits) => splits.map((v) => (v === null ? "" : tidy(v))), ...more,
});

function tidy(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(1).replace("e+", "e");
  return short(Math.round(value * 1e6) / 1e6);
}

/** Make a chart in a holder; it ends with the signal. */
export function makeChart(holder, options, data, signal) {
  const size = () => ({ width: Math.max(200, holder.clientWidth), height: options.height });
  const chart = new uPlot({ legend: { show: false }, ...options, ...size() }, data, holder);
  const watcher = new ResizeObserver(() => {
    if (holder.clientWidth && holder.clientWidth !== chart.width) chart.setSize(size());
  });
  watcher.observe(holder);
  onTheme(() => chart.redraw(false, true), signal);
  signal.addEventListener("abort", () => { watcher.disconnect(); chart.destroy(); });
  return chart;
}
