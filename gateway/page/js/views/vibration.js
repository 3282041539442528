// One vibration channel: cards, trends, waveform, spectrum and envelope spectrum with the machine's own frequencies.

import { Cards } from "../cards.js";
import { el, sheet } from "../dom.js";
import { repaint } from "../live.js";
import { Looks } from "../looks.js";
import { go, href } from "../router.js";
import { store } from "../store.js";
import { Trend } from "../trend.js";

const TRENDED = ["velocity_rms", "rms", "crest", "kurtosis", "bpfo_ratio"];
const MOST_TRENDED = 4;
const channelsOf = () => [...store.tables.values()].filter((table) => table.labels.channel);

/** The view; gives its title. */
export default function vibration(main, { parts, signal }) {
  const channels = channelsOf();
  const table =
    channels.find((t) => t.device === parts[0] && t.labels.channel === parts[1]) ?? (parts.length ? null : channels[0]);
  if (!table) {
    main.append(
      el("h1", {}, "Vibration"),
      el(
        "p",
        { class: "note-line" },
        channels.length ? "There is no such channel. " : "No device streams samples.",
        channels.map((t) => [
          el("a", { href: href("vibration", [t.device, t.labels.channel]) }, `${t.device} ${t.labels.channel}`),
          " ",
        ]),
      ),
    );
    return "Vibration";
  }
  const { device } = table;
  const { channel } = table.labels;
  const cards = new Cards(table, signal);
  const trend = new Trend({ windowS: 300, signal, canRemove: false, height: 150 });
  const named = new Map(table.tags.map((tag) => [tag.name, tag]));
  trend.setTags(
    TRENDED.map((name) => named.get(name))
      .filter(Boolean)
      .slice(0, MOST_TRENDED),
  );
  const looks = new Looks(device, channel, cards, signal);
  main.append(
    heading(table, channels),
    cards.root,
    el(
      "div",
      { class: "pair" },
      looks.spectrumSheet,
      looks.envelopeSheet,
      looks.waveformSheet,
      sheet("Trend", [el("span", { class: "space" }), ...trend.tools], trend.root),
    ),
    looks.setupSheet,
  );
  repaint(() => {
    cards.paint();
    trend.paint();
  }, signal);
  return `${device} ${channel}`;
}

function heading(table, channels) {
  const choose = el(
    "select",
    { "aria-label": "Channel" },
    channels.map((t, i) =>
      el("option", { value: String(i), selected: t === table }, `${t.device} · ${t.labels.channel}`),
    ),
  );
  choose.addEventListener("change", () => {
    const chosen = channels[Number(choose.value)];
    go("vibration", [chosen.device, chosen.labels.channel]);
  });
  return el(
    "div",
    { class: "title" },
    el("h1", {}, `${table.device} · ${table.labels.channel}`),
    choose,
    el("a", { href: href("device", [table.device]) }, "Device"),
  );
}
