// Asks the gateway: JSON by GET and POST. Costly questions wait for each other, as the gateway wants it.

/** A refusal, in the gateway's words. */
export class Refused extends Error {
  constructor(status, what, expected) {
    super(expected ? `${what}; expected: ${expected}` : what);
    this.status = status;
    this.what = what;
    this.expected = expected;
  }
}

const TIMEOUT_MS = 20000;
const BUSY_TRIES = 4;

/** JSON without loss: integers that a double cannot hold become BigInt. */
export function parse(text) {
  if (!/[:[,]\s*-?\d{16,}\s*[,\]}]/.test(text)) return JSON.parse(text);
  return JSON.parse(text, (key, value, context) => {
    const isWide = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
    if (!isWide || key.endsWith("_ns") || !/^-?\d+$/.test(context?.source ?? "")) return value;
    return BigInt(context.source);
  });
}

async function ask(method, path, parameters, body, signal) {
  const entries = Object.entries(parameters ?? {}).filter(([, v]) => v !== undefined && v !== null && v !== "");
  const query = new URLSearchParams(entries).toString();
  const headers = { accept: "application/json" };
  if (body?.bearer) headers.authorization = `Bearer ${body.bearer}`;
  else if (body) headers["content-type"] = "application/json";
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  let answer;
  try {
    answer = await fetch(query ? `${path}?${query}` : path, {
      method, headers, body: body && !body.bearer ? JSON.stringify(body) : undefined,
      signal: signal ? AbortSignal.any([signal, limit]) : limit, cache: "no-store", credentials: "same-origin",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused(0, "the gateway does not answer", "that it runs, and a network");
  }
  const text = await answer.text();
  let document = null;
  try {
    document = text ? parse(text) : null;
  } catch {
    throw new Refused(answer.status, `an answer that is no JSON (status ${answer.status})`);
  }
  if (!answer.ok) throw new Refused(answer.status, document?.error ?? `status ${answer.status}`, document?.expected);
  return document;
}

/** The document at a path. Throws Refused. */
export const get = (path, parameters, signal) => ask("GET", path, parameters, null, signal);

/** Change something: POST with a JSON body. Throws Refused. */
export const post = (path, body) => ask("POST", path, null, body);

const TOKEN = "egw_";

/** Exchange a token, or a sign-in code, for a session cookie. Throws Refused. */
export const openSession = (text) =>
  ask("POST", "/v1/session", null, text.startsWith(TOKEN) ? { bearer: text } : { code: text });

/** End the session. */
export const closeSession = () => ask("DELETE", "/v1/session");

let last = Promise.resolve();

/** As `get`, for history, spectra and the like: one after the other, again where the gateway is busy. */
export function getInTurn(path, parameters, signal) {
  const turn = last.then(async () => {
    for (let tries = 1; ; tries += 1) {
      signal?.throwIfAborted();
      try {
        return await get(path, parameters, signal);
      } catch (error) {
        const isBusy = error instanceof Refused && (error.status === 503 || error.status === 429);
        if (!isBusy || tries >= BUSY_TRIES) throw error;
        await new Promise((done) => setTimeout(done, 300 * tries));
      }
    }
  });
  last = turn.catch(() => {});
  return turn;
}
