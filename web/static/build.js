// The page of a build: its log, live while it runs; the page is loaded anew when the build goes on to its next phase.

import { Log } from "./log.js";
import { duration } from "./texts.js";

const { favicons, build } = window.pageConfig;
const ICONS = { built: "success", failed: "fail", cancelled: "fail" };
const log = new Log();
log.file = `build-${build.id}.log`;
const times = [...document.querySelectorAll("[data-since]")];

function follow() {
  const stream = new EventSource(build.eventsUrl);
  stream.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    const phase = String(event.phase ?? "").toLowerCase();
    const last = phase === "ready" || phase === "failed";
    if (!last) {
      log.write(event.message ?? "");
      return;
    }
    log.conclude(event.message ?? "");
    stream.close();
    // What stands above the log is made by the server; the place in the log is kept by its address.
    if (!build.ended) location.reload();
  };
}

function tick() {
  for (const time of times) time.textContent = duration(Date.now() / 1000 - Number(time.dataset.since));
}

document.getElementById("favicon").href = favicons[ICONS[build.state] ?? "building"];
if (times.length) setInterval(tick, 1000);
follow();
