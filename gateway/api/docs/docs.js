// Shows /openapi.json as a list. All texts are text nodes: nothing of it is read as HTML.

const METHODS = ["get", "post", "put", "patch", "delete"];
const MAX_DEPTH = 8;

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}

function resolved(schema, root) {
  const name = schema?.$ref?.split("/").pop();
  return name ? (root.components.schemas[name] ?? schema.$defs?.[name] ?? {}) : (schema ?? {});
}

/** A shape as a JSON-like text: members with their type, and what they mean. */
function shapeText(given, root, indent = "", depth = 0) {
  const schema = resolved(given, root);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return [...new Set(choices.map((one) => shapeText(one, root, indent, depth)))].join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (depth > MAX_DEPTH) return "...";
  if (schema.type === "array") return `[${shapeText(schema.items, root, indent, depth + 1)}, ...]`;
  if (schema.type === "object" || schema.properties) {
    const inner = `${indent}  `;
    const lines = Object.entries(schema.properties ?? {}).map(([name, member]) => {
      const optional = schema.required?.includes(name) ? "" : "?";
      const about = member.description ? `  // ${member.description}` : "";
      return `${inner}"${name}"${optional}: ${shapeText(member, root, inner, depth + 1)},${about}`;
    });
    const rest = schema.additionalProperties;
    if (rest && typeof rest === "object") lines.push(`${inner}NAME: ${shapeText(rest, root, inner, depth + 1)},`);
    return lines.length ? `{\n${lines.join("\n")}\n${indent}}` : "{...}";
  }
  return schema.type ?? "any";
}

function rangeText(schema) {
  const parts = [];
  for (const one of schema.anyOf ?? [schema]) {
    if (one.type && one.type !== "null") parts.push(one.type);
    if (one.minimum !== undefined) parts.push(`from ${one.minimum}`);
    if (one.maximum !== undefined) parts.push(`to ${one.maximum}`);
  }
  if (schema.default !== undefined && schema.default !== null) parts.push(`default ${schema.default}`);
  return parts.join(", ");
}

function parameterTable(parameters) {
  const rows = parameters.map((one) => el("tr", {},
    el("td", {}, el("code", {}, one.name)),
    el("td", {}, [rangeText(one.schema ?? {}), one.required ? "required" : ""].filter(Boolean).join("; ")),
    el("td", {}, one.description ?? "")));
  return el("div", { class: "scroll" }, el("table", {}, el("tbody", {}, ...rows)));
}

function contentParts(content, root) {
  return Object.entries(content ?? {}).map(([media, { schema }]) => {
    const text = schema && Object.keys(schema).length ? shapeText(schema, root) : "";
    return text ? el("pre", {}, `${media}\n${text}`) : el("p", {}, el("code", {}, media));
  });
}

function exampleOf(method, path, operation) {
  const query = (operation.parameters ?? []).filter((one) => one.required).map((one) => `${one.name}=...`);
  const target = `${location.origin}${path}${query.length ? `?${query.join("&")}` : ""}`;
  if (method === "get") return `curl '${target}'`;
  const body = operation.requestBody ? " -H 'Content-Type: application/json' -d '{...}'" : "";
  return `curl -X ${method.toUpperCase()} -H 'Authorization: Bearer TOKEN'${body} '${target}'`;
}

function operationNode(method, path, operation, root) {
  const [first, ...more] = (operation.description ?? "").split("\n\n");
  const body = el("div", { class: "body" }, ...more.map((text) => el("p", {}, text)));
  const add = (title, ...nodes) => body.append(el("h3", {}, title), ...nodes);
  if (operation.parameters?.length) add("Parameters", parameterTable(operation.parameters));
  if (operation.requestBody) add("Body", ...contentParts(operation.requestBody.content, root));
  for (const [status, answer] of Object.entries(operation.responses ?? {})) {
    if (status.startsWith("2")) add(`Answer ${status}`, ...contentParts(answer.content, root));
  }
  const refusals = Object.entries(operation.responses ?? {}).filter(([status]) => !status.startsWith("2"));
  if (refusals.length) {
    const rows = refusals.map(([status, answer]) => el("tr", {}, el("th", {}, status), el("td", {}, answer.description ?? "")));
    add("Errors", el("div", { class: "scroll" }, el("table", {}, el("tbody", {}, ...rows))));
  }
  add("Try", el("pre", {}, exampleOf(method, path, operation)));
  const head = el("summary", {}, el("span", { class: `method ${method}` }, method.toUpperCase()), el("code", {}, path), ` ${first}`);
  return el("details", {}, head, body);
}

async function load() {
  const list = document.getElementById("list");
  const said = document.getElementById("said");
  try {
    const answer = await fetch("/openapi.json", { cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const root = await answer.json();
    document.getElementById("title").textContent = `API of ${root.info.title} ${root.info.version}`;
    document.getElementById("about").textContent = root.info.description;
    for (const [path, operations] of Object.entries(root.paths)) {
      for (const method of METHODS) {
        if (operations[method]) list.append(operationNode(method, path, operations[method], root));
      }
    }
    said.remove();
  } catch (error) {
    said.textContent = `The description cannot be loaded (${error.message}). Reload the page.`;
  }
  list.setAttribute("aria-busy", "false");
}

document.getElementById("find").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const node of document.querySelectorAll("details")) {
    node.hidden = !node.querySelector("summary").textContent.toLowerCase().includes(wanted);
  }
});

await load();
