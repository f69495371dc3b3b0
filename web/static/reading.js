// Something to read meanwhile: the notebook that was asked for, or else the repository's readme, in a box of its own.

import { t } from "./texts.js";

const part = (id) => document.getElementById(id);
let shown = "";

/** Show the best of these documents (keys by path). A frame once shown is not taken away from its reader. */
export function offerReading(documents, opens, baseUrl) {
  const wanted = Object.hasOwn(documents, opens) ? opens : Object.keys(documents)[0];
  if (!wanted || wanted === shown || (shown && wanted !== opens)) return;
  shown = wanted;
  const frame = document.createElement("iframe");
  frame.src = `${baseUrl}documents/${documents[wanted]}`;
  frame.title = t("{path}, as it is in the repository", { path: wanted });
  frame.setAttribute("sandbox", "allow-popups allow-popups-to-escape-sandbox");
  part("reading-name").textContent = wanted;
  part("reading-frame").replaceChildren(frame);
  part("reading").hidden = false;
}
