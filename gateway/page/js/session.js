// Who is signed in, and the dialogs that ask for a token, a reason and a time.

import { closeSession, get, openSession, Refused } from "./api.js";
import { announce, el } from "./dom.js";

let session = { who: "", role: "none", via: "" };
let asked = Promise.resolve();
let isAnswered = false;
let button;
let dialogs = 0;

/** Who asks, as the gateway sees it: {who, role, via}, as soon as that is known. */
export const whoAsks = () => asked.then(() => session);

/** Ask the gateway who we are, and show it. */
function refreshSession() {
  asked = load();
  return asked;
}

async function load() {
  try {
    session = await get("/v1/session");
    isAnswered = true;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    isAnswered = false;
    return; // who asks is as before: the gateway is away
  }
  button.textContent = session.who ? `${session.who} (${session.role})` : session.role === "none" ? "Sign in" : `Sign in (${session.role})`;
  button.title = session.via === "cookie" ? "Sign out" : "Sign in with a token or a code";
}

/** Where the session has ended, the gateway answers nothing else than the page that asks for a token. */
export async function reloadIfEnded() {
  const before = (await whoAsks()).role;
  await refreshSession();
  if (before !== "none" && session.role === "none" && isAnswered) location.reload();
}

/** The button signs in and out. */
export function startSession(node) {
  button = node;
  button.addEventListener("click", async () => {
    if (session.via === "cookie") {
      try {
        await closeSession();
        location.reload();
      } catch (error) {
        announce(`Not signed out: ${error.message}`);
      }
    } else await signIn();
  });
  return refreshSession();
}

/** Show a dialog and wait: `fill(form)` gives its content; `submit` throws to keep it open. */
export function ask(title, content, action, submit) {
  return new Promise((done) => {
    const fault = el("p", { class: "fault", role: "alert" });
    const send = el("button", { class: "primary", type: "submit" }, action);
    const cancel = el("button", { type: "button" }, "Cancel");
    const id = `dialog-${(dialogs += 1)}`;
    const heading = el("h2", { id }, title);
    const form = el("form", { method: "dialog" }, heading, content, fault, el("div", { class: "row" }, cancel, send));
    const dialog = el("dialog", { "aria-labelledby": id }, form);
    let result = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      send.disabled = true;
      fault.textContent = "";
      try {
        result = await submit(new FormData(form));
        dialog.close();
      } catch (error) {
        fault.textContent = error.message;
        send.disabled = false;
      }
    });
    cancel.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => { dialog.remove(); done(result); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Ask for a token until one is good or the person gives up: whether it was good. */
export async function signIn(reason = "") {
  const content = [
    reason ? el("p", {}, reason) : null,
    el("p", { class: "muted" }, "A token is made with gateway token add; at the gateway itself, gateway sign-in prints a code. This browser keeps a cookie that scripts cannot read."),
    el("label", { class: "field" }, el("span", {}, "Token, or sign-in code"),
      el("input", { name: "token", type: "password", required: true, autocomplete: "off", spellcheck: "false" })),
  ];
  const done = await ask("Sign in", content, "Sign in", async (data) => {
    await openSession(String(data.get("token")).trim());
    return true;
  });
  if (done) {
    await refreshSession();
    window.dispatchEvent(new Event("session"));
  }
  return Boolean(done);
}

/** Do what an operator may do; where the role is too small, ask for a token and try once more. */
export async function asOperator(what, action) {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof Refused) || (error.status !== 401 && error.status !== 403)) throw error;
    if (!(await signIn(`To ${what} you need the role operator (${error.what}).`))) throw error;
    return action();
  }
}
