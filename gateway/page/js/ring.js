// A bounded series of points: the oldest makes room for the newest.

/** Times in ms and values; NaN where there is none. */
export class Ring {
  constructor(size) {
    this.times = new Float64Array(size);
    this.values = new Float64Array(size);
    this.at = 0;
    this.length = 0;
  }

  add(timeMs, value) {
    this.times[this.at] = timeMs;
    this.values[this.at] = typeof value === "number" ? value : typeof value === "boolean" ? Number(value) : NaN;
    this.at = (this.at + 1) % this.times.length;
    this.length = Math.min(this.length + 1, this.times.length);
  }

  /** Call with (time, value) from the oldest to the newest. */
  each(visit) {
    const size = this.times.length;
    for (let i = 0, k = (this.at - this.length + size) % size; i < this.length; i += 1, k = (k + 1) % size) {
      visit(this.times[k], this.values[k]);
    }
  }
}
