// The points of one panel: a common time axis with one array a series, bounded, newest last.

const RAW_S = 60;
const BINS = 500;
const SLACK = 1.25;
const CLOCK_SET_S = 2;

/**
 * `xs` in seconds since 1970; `ys[series][i]` is a number, null for a gap, or undefined where the series
 * has no point at that time. Windows above a minute keep the least and the greatest value of each bin.
 */
export class Columns {
  constructor(count, windowS) {
    this.xs = [];
    this.ys = Array.from({ length: count }, () => []);
    this.windowS = windowS;
    this.binS = windowS > RAW_S ? windowS / BINS : 0;
    this.bin = null;
  }

  /** For uPlot. */
  get data() { return [this.xs, ...this.ys]; }

  /** The values of a row: `values[series]`, undefined for series of other tables. */
  add(timeS, values) {
    if (timeS < (this.xs.at(-1) ?? 0) - Math.max(CLOCK_SET_S, this.binS)) this.#clear(); // the clock was set back
    if (this.binS) this.#addToBin(timeS, values);
    else if (timeS > (this.xs.at(-1) ?? 0)) this.#push(timeS, values);
    this.#trim(timeS);
  }

  /** A gap in all series, as when nothing came. */
  cut(timeS) {
    if (this.xs.length && timeS > this.xs.at(-1)) this.#push(timeS, this.ys.map(() => null));
    this.bin = null;
  }

  /** Put older points before what came live. */
  prepend(xs, ys) {
    const first = this.xs[0] ?? Infinity;
    let count = xs.length;
    while (count > 0 && xs[count - 1] >= first) count -= 1;
    this.xs = xs.slice(0, count).concat(this.xs);
    this.ys = this.ys.map((old, i) => ys[i].slice(0, count).concat(old));
  }

  #clear() {
    this.xs = [];
    this.ys = this.ys.map(() => []);
    this.bin = null;
  }

  #push(timeS, values) {
    this.xs.push(timeS);
    this.ys.forEach((column, i) => column.push(values[i]));
  }

  #addToBin(timeS, values) {
    const start = Math.floor(timeS / this.binS) * this.binS;
    if (start !== this.bin) {
      if (start <= (this.xs.at(-1) ?? 0)) return;
      this.bin = start;
      this.#push(start, values);
      this.#push(start + this.binS / 2, values);
      return;
    }
    const at = this.xs.length - 2;
    values.forEach((value, i) => {
      if (value === undefined) return;
      const column = this.ys[i];
      const [a, b] = [column[at], column[at + 1]];
      if (value === null) column[at + 1] = null;
      else if (a === undefined || a === null) column[at] = column[at + 1] = value;
      else if (b === null) column[at + 1] = value;
      else if (value > Math.max(a, b)) { column[at] = Math.min(a, b); column[at + 1] = value; }
      else if (value < Math.min(a, b)) { column[at] = Math.max(a, b); column[at + 1] = value; }
    });
  }

  #trim(nowS) {
    const from = nowS - this.windowS * 1.02;
    if (this.xs.length < 64 || this.xs[0] > nowS - this.windowS * SLACK) return;
    let count = 0;
    while (count < this.xs.length && this.xs[count] < from) count += 1;
    this.xs.splice(0, count);
    for (const column of this.ys) column.splice(0, count);
  }
}

/** Histories of several tags, [[xs, ys], ...], on one common time axis. */
export function joined(histories) {
  const xs = [...new Set(histories.flatMap(([times]) => times))].sort((a, b) => a - b);
  const place = new Map(xs.map((x, i) => [x, i]));
  const ys = histories.map(([times, values]) => {
    const column = new Array(xs.length).fill(undefined);
    times.forEach((time, i) => { column[place.get(time)] = values[i]; });
    return column;
  });
  return [xs, ys];
}
