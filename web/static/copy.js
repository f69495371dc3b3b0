// Copy buttons, and the short messages that say what happened.

import { t } from "./texts.js";

let toast;

/** Say something briefly, to eyes and to screen readers. */
export function say(text) {
  if (!toast) {
    toast = document.createElement("p");
    toast.className = "toast";
    toast.setAttribute("role", "status");
    document.getElementById("root").append(toast);
  }
  toast.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => (toast.textContent = ""), 2500);
}

/** Put text on the clipboard; pages that are not served over https have only the old way. */
export async function copy(text, what) {
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copyTheOldWay(text);
    say(t("{what} copied.", { what }));
  } catch {
    say(t("The browser did not allow copying. Please select the text and copy it yourself."));
  }
}

/** Let every `data-copy` button copy the field that it names. */
export function armCopyButtons() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    const field = document.getElementById(button.dataset.copy);
    const what = document.querySelector(`label[for="${field.id}"]`).textContent.trim();
    button.addEventListener("click", () => copy(field.value, what));
    field.addEventListener("focus", () => field.select());
  }
}

function copyTheOldWay(text) {
  const focused = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus();
  if (!done) throw new Error("refused");
}
