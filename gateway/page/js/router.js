// Which view is shown: `#/view/part/part?key=value`. Each view lives until its signal is aborted.

import { announce } from "./dom.js";
import { store } from "./store.js";
import alarms from "./views/alarms.js";
import configuration from "./views/configuration.js";
import data from "./views/data.js";
import device from "./views/device.js";
import overview from "./views/overview.js";
import vibration from "./views/vibration.js";

const VIEWS = { overview, device, vibration, alarms, data, configuration };

let controller = new AbortController();
let shown = "";

/** The address of a view. */
export function href(view, parts = [], query = {}) {
  const entries = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const tail = new URLSearchParams(entries).toString();
  return `#/${[view, ...parts].map(encodeURIComponent).join("/")}${tail ? `?${tail}` : ""}`;
}

/** Open a view. */
export function go(view, parts = [], query = {}) {
  location.hash = href(view, parts, query);
}

/** Put what is shown into the address, without opening anything. */
export function keep(view, parts, query) {
  const address = href(view, parts, query);
  if (location.hash === address) return;
  history.replaceState(null, "", address);
  shown = address;
}

function parsed() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, ...parts] = path.split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { view: Object.hasOwn(VIEWS, view) ? view : "overview", parts, query: new URLSearchParams(query) };
}

/** Show the view of the address, now and when it changes. */
export function startRouter(main, showCurrent) {
  const open = (isFirst) => {
    if (!isFirst && location.hash === shown) return;
    shown = location.hash;
    controller.abort();
    controller = new AbortController();
    const { view, parts, query } = parsed();
    main.replaceChildren();
    main.dataset.view = view;
    const title = VIEWS[view](main, { parts, query, signal: controller.signal }) ?? view;
    document.title = `${title} · ${store.hello?.gateway ?? "edge-gateway"}`;
    showCurrent(view);
    if (!isFirst) {
      window.scrollTo(0, 0);
      main.focus({ preventScroll: true });
      announce(title);
    }
  };
  window.addEventListener("hashchange", () => open(false));
  // devices that came or went by a reload of the configuration
  store.shapeListeners.add(() => {
    shown = "";
    open(true);
  });
  open(true);
}
