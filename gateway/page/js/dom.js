// Makes and changes elements. Texts become text nodes, never markup: tags and strings come from machines.

/** An element: `el("td", { class: "num", title: "..." }, "text", child, ...)`; `onclick` etc. are listeners. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Set the text only where it differs, so that nothing is laid out for nothing. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set or take an attribute only where it differs. */
export function setAttr(node, name, value) {
  if (value === null || value === undefined) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Make the children of a parent exactly these, keeping those that are there already. */
export function place(parent, children) {
  children.forEach((child, i) => {
    if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] ?? null);
  });
  while (parent.children.length > children.length) parent.lastElementChild.remove();
}

/** A sheet with a heading; `tools` stand beside the heading. */
export function sheet(title, tools, ...body) {
  const id = `h-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
  return el("section", { class: "sheet", "aria-labelledby": id },
    el("header", {}, el("h2", { id }, title), ...tools), ...body);
}

/** A table that scrolls by itself where it is too wide; headings are `"Name"` or `["Age", "num"]`. */
export function table(label, headings, body, kind = null) {
  const cells = headings.map((heading) => {
    const [text, look] = Array.isArray(heading) ? heading : [heading, null];
    return el("th", { scope: "col", class: look }, text);
  });
  return el("div", { class: "scroll" },
    el("table", { class: kind, "aria-label": label }, el("thead", {}, el("tr", {}, cells)), body));
}

/** Buttons of which one is pressed: `options` is [[value, text], ...]. */
export function segments(label, options, value, choose) {
  const buttons = options.map(([option, text]) => {
    const button = el("button", { type: "button", "aria-pressed": String(option === value) }, text);
    button.addEventListener("click", () => { show(option); choose(option); });
    return button;
  });
  const show = (chosen) => options.forEach(([option], i) =>
    setAttr(buttons[i], "aria-pressed", String(option === chosen)));
  const group = el("div", { class: "segments", role: "group", "aria-label": label }, buttons);
  group.show = show;
  return group;
}

/** Say something to a screen reader. */
export function announce(text) {
  setText(document.getElementById("announcer"), text);
}
