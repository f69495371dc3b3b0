// My sessions: the time they have left runs down; a page that was away comes back with what is true then.

import { duration, t } from "./texts.js";

/** One that starts or ends will have done so in a moment. */
const REFRESH_SECONDS = document.querySelector(".session:is([data-state=starting], [data-state=stopping])") ? 2 : 30;
const begun = Date.now();
const times = [...document.querySelectorAll("[data-until]")];

function tick() {
  for (const time of times) {
    const left = Number(time.dataset.until) - Date.now() / 1000;
    const text = left > 0 ? t("in {time}", { time: duration(left < 60 ? left : Math.round(left)) }) : t("now");
    if (time.textContent !== text) time.textContent = text;
  }
}

/** Not while somebody is about to press something. What was said of a button that was pressed is over by then. */
function refresh() {
  const busy = document.activeElement && document.activeElement !== document.body;
  if (busy || document.visibilityState !== "visible" || Date.now() - begun < REFRESH_SECONDS * 1000) return;
  location.replace(location.pathname);
}

if (times.length) {
  tick();
  setInterval(tick, 1000);
}
if (document.querySelector(".session")) setInterval(refresh, 1000);
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
