// How a repository was understood: while its files are being read, ask again until there is an answer.

import { armCopyButtons } from "./copy.js";

const LONGEST_PAUSE_MS = 8000;

async function wait(pause) {
  await new Promise((resolve) => setTimeout(resolve, pause));
  let status = 202;
  try {
    // The service itself waits a moment before it says that there is nothing yet.
    status = (await fetch(location.href, { headers: { Accept: "text/html" } })).status;
  } catch {
    // The network may come back.
  }
  if (status === 202) await wait(Math.min(pause * 1.5, LONGEST_PAUSE_MS));
  else location.reload();
}

armCopyButtons();
if (window.pageConfig.preview?.pending) wait(300);
