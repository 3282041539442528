// The whole status document, for views that show more than /ws/live tells.

import { get, Refused } from "./api.js";
import { poll } from "./live.js";

const EVERY_MS = 2000;

/** Call `show(status)` now and every two seconds; `fail(text)` where it does not come. */
export function watchStatus(show, signal, fail = () => {}) {
  return poll(
    async () => {
      try {
        const status = await get("/v1/status", null, signal);
        if (!signal.aborted) show(status);
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Refused)) throw error;
        fail(error.message);
      }
    },
    EVERY_MS,
    signal,
  );
}
