// Status: parts of the page are brought up to date now and then, while somebody looks.

const PERIOD_MS = 15_000;

async function update() {
  if (document.visibilityState !== "visible") return;
  let text;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    text = await answer.text();
  } catch {
    return;
  }
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const part of document.querySelectorAll("[data-live]")) replace(part, fresh);
}

/** What somebody is reading by keyboard, or has opened, stays as it is. */
function replace(part, fresh) {
  const next = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
  if (!next || part.contains(document.activeElement) || part.querySelector("details[open]")) return;
  part.replaceWith(document.importNode(next, true));
}

setInterval(update, PERIOD_MS);
