// Without this script the page works by loading anew. With it, documents can be
// dropped, and the server's events replace what has changed.
"use strict";

const byId = (id) => document.getElementById(id);
const form = byId("form");
const file = byId("file");
const notice = byId("notice");
const wide = matchMedia("(min-width: 62rem)"); // the breakpoint of page.css
let stream;
let following = false;

function listen() {
  stream?.close();
  stream = new EventSource("/events" + location.search);
  stream.onopen = () => say("");
  stream.onmessage = (event) => {
    const parts = JSON.parse(event.data);
    const handedIn = merge(byId("documents"), parts.documents);
    const fresh = merge(byId("wire"), parts.wire);
    if (byId("sentence").textContent !== parts.sentence) byId("sentence").textContent = parts.sentence;
    count();
    follow(wide.matches ? fresh : handedIn);
  };
  stream.onerror = () => say("The shop does not answer. Is the demo still running?");
}

function say(text) {
  notice.textContent = text;
  notice.hidden = text === "";
}

// merge makes a list's items those of the HTML, and leaves an item that has not
// changed as it is, with the reader's selection and focus in it. It returns the
// items that are new.
function merge(list, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const added = [];
  let place = list.firstElementChild;
  for (const fresh of [...template.content.children]) {
    const old = list.querySelector("#" + CSS.escape(fresh.id));
    if (old && old.dataset.revision === fresh.dataset.revision) {
      if (old === place) place = place.nextElementSibling;
      else list.insertBefore(old, place);
      continue;
    }
    if (!old) {
      fresh.classList.add("fresh");
      added.push(fresh);
    } else if (old === place) place = place.nextElementSibling;
    const focused = old?.contains(document.activeElement) && document.activeElement.getAttribute("href");
    old?.remove();
    list.insertBefore(fresh, place);
    if (focused) fresh.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
  }
  while (place) {
    const next = place.nextElementSibling;
    place.remove();
    place = next;
  }
  return added;
}

// follow keeps what is new in view, from a document's handing in until the reader
// turns to something else: the messages where they stand beside the counter, else
// the document.
function follow(fresh) {
  if (!following || !fresh.length) return;
  const callback = fresh.find((item) => item.matches(".envelope"));
  if (callback) callback.scrollIntoView();
  else fresh.at(-1).scrollIntoView({ block: "nearest" });
}
for (const turn of ["wheel", "touchmove", "pointerdown", "keydown"]) addEventListener(turn, () => (following = false), { passive: true });

// show turns the page to a document.
function show(url) {
  history.pushState(null, "", url);
  listen();
}

async function handIn(button) {
  const data = new FormData(form, button);
  form.classList.add("busy");
  following = true;
  try {
    const answer = await fetch(form.action, { method: "POST", body: data });
    if (!answer.redirected) return say(await answer.text());
    if (wide.matches) byId("desk").scrollIntoView();
    show(answer.url);
  } catch {
    say("The shop does not answer, or the upload was cut off.");
  } finally {
    form.classList.remove("busy");
    file.value = "";
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  handIn(event.submitter);
});
file.addEventListener("change", () => file.files.length && handIn(null));

addEventListener("dragover", (event) => {
  event.preventDefault();
  form.classList.add("over");
});
addEventListener("dragleave", (event) => event.relatedTarget || form.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  form.classList.remove("over");
  if (!event.dataTransfer.files.length) return;
  file.files = event.dataTransfer.files;
  handIn(null);
});

addEventListener("click", (event) => {
  const link = event.target.closest("a[data-select]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  show(link.href);
});
addEventListener("popstate", listen);

// count shows how long the next attempt still takes.
function count() {
  for (const due of document.querySelectorAll("[data-due]")) {
    const seconds = Math.ceil((due.dataset.due - Date.now()) / 1000);
    const text = seconds > 0 ? `in ${seconds} s` : "now";
    if (due.textContent !== text) due.textContent = text;
  }
}
setInterval(count, 200);
listen();
