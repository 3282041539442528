// Repaints views: at most once a frame when values come, never while the tab is hidden.

import { store } from "./store.js";

/** Call `paint` when values came, and every second because ages grow; until `signal` is aborted. */
export function repaint(paint, signal) {
  let asked = 0;
  const run = () => { asked = 0; if (!signal.aborted) paint(); };
  const ask = () => { if (!asked && !document.hidden) asked = requestAnimationFrame(run); };
  store.valueListeners.add(ask);
  const ends = [store.socket.on("status", ask), store.socket.on("up", ask), store.socket.on("down", ask)];
  const timer = setInterval(ask, 1000);
  document.addEventListener("visibilitychange", ask, { signal });
  signal.addEventListener("abort", () => {
    store.valueListeners.delete(ask);
    ends.forEach((end) => end());
    clearInterval(timer);
    cancelAnimationFrame(asked);
  });
  ask();
}

/** Call `load` now and again every `everyMs`, one at a time and not while hidden. */
export function poll(load, everyMs, signal) {
  let isBusy = false;
  const run = async () => {
    if (isBusy || document.hidden || signal.aborted) return;
    isBusy = true;
    try {
      await load();
    } finally {
      isBusy = false;
    }
  };
  const timer = setInterval(run, everyMs);
  document.addEventListener("visibilitychange", run, { signal });
  signal.addEventListener("abort", () => clearInterval(timer));
  run();
  return run;
}
