// Says at once when what is shown is old: no frame for two seconds, and every value is dimmed.

import { announce, setAttr, setText } from "./dom.js";
import { duration } from "./format.js";
import { store } from "./store.js";

const SILENT_MS = 2000;
const LOOK_MS = 250;

let note = "";

/** What else is to be told; empty: nothing. */
export const link = {
  say(text) {
    note = text;
  },
};

/** Watch the connection. */
export function startLink() {
  const state = document.getElementById("link-state");
  const banner = document.getElementById("banner");
  const begun = performance.now();
  let wasLost = false;
  const look = () => {
    const { socket } = store;
    const silentMs = performance.now() - (socket.saidMs || begun);
    const isLost = silentMs > SILENT_MS || (socket.saidMs > 0 && !socket.isUp);
    if (isLost !== wasLost) {
      wasLost = isLost;
      document.body.classList.toggle("is-stale", isLost);
      announce(isLost ? "Connection lost. Values are old." : "Connected again. Values are live.");
    }
    setText(state, isLost ? "no data" : socket.isUp ? "live" : "connecting");
    setAttr(state, "class", isLost ? "link lost" : "link");
    const text = isLost
      ? `No data from the gateway for ${duration(Math.floor(silentMs / 1000) || silentMs / 1000)}: what is shown is old. Trying again. ${note}`
      : note;
    banner.hidden = !text;
    setAttr(banner, "class", isLost ? "banner" : "banner note");
    setText(banner, text);
  };
  setInterval(look, LOOK_MS);
  store.socket.on("up", look);
  store.socket.on("down", look);
}
