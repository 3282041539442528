// Numbers with sensible digits, durations, and times in the plant's zone with UTC beside them.

const UNITS = { degC: "°C", degF: "°F", "ug/m3": "µg/m³", "m3/h": "m³/h", "m3": "m³", um: "µm", "m/s2": "m/s²", "g^2": "g²", "kg/m3": "kg/m³" };
const DIGITS = 5;

/** A unit as people write it. */
export const unitText = (unit) => (unit ? UNITS[unit] ?? unit : "");

/** A number with five significant digits; integers, booleans and texts whole; "–" for none. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "true" : "false";
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 1e15 ? String(value) : value.toExponential(6);
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e9) return value.toExponential(3);
  const places = Math.min(8, Math.max(0, DIGITS - 1 - Math.floor(Math.log10(size))));
  return value.toFixed(places);
}

/** As `number`, with fewer digits and without zeros at the end: what need not stand still in a column. */
export function short(value, digits = DIGITS) {
  if (typeof value !== "number" || !Number.isFinite(value)) return number(value);
  const text = number(Number(value.toPrecision(digits)));
  return text.includes("e") ? text : text.replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
}

/** A number and its unit. */
export const withUnit = (value, unit) => (unit && value !== null && value !== undefined ? `${number(value)} ${unitText(unit)}` : number(value));

/** Seconds as a person says them: 0.4 s, 12 s, 3 min 20 s, 5 h 2 min, 4 d 3 h. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** A count with spaces between thousands. */
export const count = (value) => (value === null || value === undefined ? "–" : Number(value).toLocaleString("en").replaceAll(",", " "));

/** Bytes in binary units. */
export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const names = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let size = value;
  while (size >= 1024 && at < names.length - 1) { size /= 1024; at += 1; }
  return `${at === 0 ? size : size.toFixed(1)} ${names[at]}`;
}

let zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
let formats = {};

/** Show times in this zone (IANA name); one that the browser does not know is not taken. */
export function setZone(name) {
  if (!name || name === zone) return;
  try {
    Intl.DateTimeFormat("en", { timeZone: name });
  } catch {
    return;
  }
  zone = name;
  formats = {};
}

/** The zone that times are shown in. */
export const zoneName = () => zone;

function format(kind) {
  const date = { year: "numeric", month: "2-digit", day: "2-digit" };
  const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  const options = { clock, full: { ...date, ...clock }, precise: { ...clock, fractionalSecondDigits: 3 } };
  formats[kind] ??= new Intl.DateTimeFormat("sv-SE", { timeZone: zone, ...options[kind] });
  return formats[kind];
}

/** Milliseconds since 1970 as 2026-03-01 06:00:00 in the plant's zone. */
export const fullTime = (ms) => format("full").format(ms);

/** The time of day alone. */
export const clockTime = (ms) => format("clock").format(ms);

/** The time of day with milliseconds. */
export const preciseTime = (ms) => format("precise").format(ms).replace(",", ".");

const offsets = new Map();

/** How many seconds the zone is ahead of UTC at a moment. */
export function zoneOffsetS(timeMs) {
  const hour = Math.floor(timeMs / 3.6e6);
  const key = `${zone} ${hour}`;
  if (!offsets.has(key)) {
    if (offsets.size > 500) offsets.clear();
    offsets.set(key, Math.round((Date.parse(`${fullTime(hour * 3.6e6).replace(" ", "T")}Z`) - hour * 3.6e6) / 1000));
  }
  return offsets.get(key);
}

/** The same moment in UTC, for a hover. */
export const utcTime = (ms) => `${new Date(ms).toISOString().replace("T", " ").replace("Z", "")} UTC`;

/** Nanoseconds of the gateway as milliseconds of the browser. */
export const ms = (ns) => Number(ns) / 1e6;

/** A <time> element of a time in ns. */
export function timeElement(ns, text = fullTime) {
  const made = document.createElement("time");
  if (ns) {
    made.textContent = text(ms(ns));
    made.title = utcTime(ms(ns));
    made.dateTime = new Date(ms(ns)).toISOString();
  } else made.textContent = "–";
  made.className = "num";
  return made;
}
