// All that this script does is "Try it": it opens an inbox, sends the call with the
// inbox's URL in place of the sample's, and shows what arrives.
"use strict";

const sampleURL = "https://my.server/bar";
const here = new URL(document.currentScript?.src ?? document.querySelector("script").src);
const inboxes = new URL("inbox", here);

for (const form of document.querySelectorAll("form.try")) {
  form.hidden = false;
  let stream;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    const wire = form.querySelector(".wire");
    stream?.close();
    wire.replaceChildren();
    button.disabled = true;
    try {
      const inbox = await open(form);
      let done;
      const answered = new Promise((resolve) => (done = resolve));
      stream = watch(new URL(inbox.arrivals, here), wire, answered);
      await call(form, inbox.url, wire).finally(done);
    } catch (error) {
      show(wire, "failed", "The call failed", String(error.message ?? error));
    } finally {
      button.disabled = false;
    }
  });
}

async function open(form) {
  const url = new URL(inboxes);
  url.searchParams.set("operation", form.dataset.operation);
  url.searchParams.set("fail", form.elements.fail.checked ? "1" : "0");
  const answer = await fetch(url, { method: "POST" });
  if (!answer.ok) throw new Error(`no inbox: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

async function call(form, inbox, wire) {
  const fill = (text) => text.replaceAll(sampleURL, inbox);
  const target = form.elements.target;
  const init = { method: target.dataset.method, headers: {} };
  for (const field of form.querySelectorAll("input.header")) if (field.value !== "") init.headers[field.dataset.name] = fill(field.value);
  if (form.elements.body) init.body = fill(form.elements.body.value);
  const path = fill(target.value);
  const lines = Object.entries(init.headers).map(([name, value]) => `${name}: ${value}`);
  show(wire, "sent", "You call", [`${init.method} ${path} HTTP/1.1`, ...lines, "", init.body ?? ""].join("\n"));
  const answer = await fetch(new URL(path, here.origin), init);
  const body = await answer.text();
  const head = ["location", "retry-after", "content-type"].filter((name) => answer.headers.has(name)).map((name) => `${name}: ${answer.headers.get(name)}`);
  show(wire, answer.ok ? "answer" : "failed", "The gateway answers", [`HTTP/1.1 ${answer.status} ${answer.statusText}`, ...head, "", pretty(body)].join("\n"));
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// watch shows what arrives at an inbox, once the call was answered. The parts come from
// the gateway, escaped.
function watch(url, wire, answered) {
  const stream = new EventSource(url);
  stream.onmessage = async (event) => {
    await answered;
    const template = document.createElement("template");
    template.innerHTML = JSON.parse(event.data);
    wire.append(template.content);
  };
  return stream;
}

function show(wire, kind, title, text) {
  const item = document.createElement("li");
  item.className = kind;
  const line = document.createElement("p");
  const strong = document.createElement("b");
  strong.textContent = title;
  line.append(strong);
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  const code = document.createElement("code");
  code.textContent = text;
  pre.append(code);
  item.append(line, pre);
  wire.append(item);
}
