// Keeps the parts of a page that are marked data-live fresh, and sends changes. The server draws everything; without
// this script the pages are the same, as they were when they were loaded.
const EVERY = 2000;
const token = document.querySelector("meta[name=aioli-token]").content;

const busy = (part) => {
  const selection = document.getSelection();
  const selected = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
  return selected || (part.contains(document.activeElement) && document.activeElement !== document.body);
};

const reveal = (root) => root.querySelectorAll(".only-live").forEach((part) => { part.hidden = false; });

async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(answer.statusText);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  reveal(fresh);
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (next && !busy(part) && part.innerHTML !== next.innerHTML) part.replaceChildren(...next.childNodes);
  }
}

async function keep() {
  if (!document.hidden && document.querySelector("[data-live]")) {
    try {
      await refresh();
      document.getElementById("offline").hidden = true;
    } catch {
      document.getElementById("offline").hidden = false;
    }
  }
  setTimeout(keep, EVERY);
}

async function change(path, body) {
  const result = document.getElementById("result");
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Aioli-Token": token },
      body: JSON.stringify(body),
    });
    const said = await answer.json();
    result.textContent = said.done ?? `Nothing was changed: ${said.error}.`;
    return answer.ok;
  } catch {
    result.textContent = "Nothing was changed: the router does not answer.";
    return false;
  }
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.change) return;
  event.preventDefault();
  const body = {};
  for (const field of form.elements) {
    if (!field.name || (field.value === "" && field.type !== "checkbox")) continue;
    body[field.name] = field.type === "checkbox" ? field.checked
      : field.type === "number" ? Number(field.value) : field.value;
  }
  if (await change(form.dataset.change, body)) {
    if (!("keep" in form.dataset)) form.reset();
    await refresh();
  }
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-change]");
  if (!button) return;
  const { change: path, ...body } = button.dataset;
  button.blur();
  if (await change(path, body)) await refresh();
});

reveal(document);
setTimeout(keep, EVERY);
