// The launch page: follows the event stream of a launch and goes to the session when it is ready.

import { armCopyButtons } from "./copy.js";
import { joinSession } from "./links.js";
import { Log } from "./log.js";
import { element, showPlan } from "./plan.js";
import { Stepper } from "./stepper.js";

const { baseUrl, favicons, launch } = window.pageConfig;

// What each phase of the wire protocol means for a visitor: the step it belongs to, and a sentence.
const PHASES = {
  waiting: ["fetch", "Waiting for a free hand to begin…"],
  fetching: ["fetch", "Gathering the repository's files…"],
  building: ["build", "Binding the environment…"],
  pushing: ["build", "Putting the environment on the shelf…"],
  built: ["start", "Everything is bound. Opening a notebook server…"],
  launching: ["start", "Opening your notebook server…"],
};

const TITLES = { fetch: "Gathering", build: "Binding", start: "Opening" };

const part = (id) => document.getElementById(id);
const log = new Log();
const stepper = new Stepper();
let status = `Asking ${launch.provider} which commit that is…`;

function follow() {
  const stream = new EventSource(launch.buildUrl);
  stream.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    const phase = String(event.phase ?? "").toLowerCase();
    const last = phase === "ready" || phase === "failed" || phase === "failure";
    if (last) {
      log.conclude(event.message ?? "");
      stream.close();
      if (phase === "ready") ready(event);
      else failed(event);
    } else {
      log.write(event.message ?? "");
      progress(phase, event);
    }
  };
  stream.onopen = () => say(status);
  stream.onerror = () => {
    if (stream.readyState === EventSource.CLOSED) ended();
    else lost();
  };
  // A page that comes back from the browser's history would wait for a stream that is closed.
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
}

function progress(phase, event) {
  const [step, sentence] = PHASES[phase] ?? [];
  if (step) {
    stepper.to(step);
    status = sentence;
    document.title = `${TITLES[step]}: ${launch.title} · Bindery`;
  }
  if (event.plan) showPlan(event.plan, event.environment);
  if (phase === "waiting" || phase === "launching") part("detail").textContent = (event.message ?? "").trim();
  else if (step) part("detail").textContent = "";
  say(status);
}

function ready(event) {
  const url = new URL(event.url, location.href);
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    failed({ message: "The service answered with an address that is no web page.", code: "bad_address" });
    return;
  }
  stepper.end(false);
  finish("ready", "Ready. Taking you there…", "success", "Ready");
  location.replace(joinSession(url.href, event.token ?? "", launch.path));
}

function failed({ message, hint, code, retryable }) {
  stepper.end(true);
  finish("failed", "The launch did not succeed.", "fail", "Failed");
  const box = part("failure");
  box.replaceChildren(element("h2", "What went wrong"));
  box.append(element("p", (message ?? "").trim() || "The service gave no reason. The log may tell more.", "message"));
  if (hint) {
    const cure = element("p", "", "hint");
    cure.append(element("strong", "What helps: "), hint.trim());
    box.append(cure);
  }
  box.append(actions(retryable));
  if (code) {
    const line = element("p", "Code: ", "code");
    line.append(element("code", code));
    box.append(line);
  }
  box.hidden = false;
}

function actions(retryable) {
  const again = element("a", "Try again", retryable === false ? "button" : "button primary");
  again.href = location.href;
  const form = element("a", "Change the link", "button");
  form.href = `${baseUrl}?repo=${encodeURIComponent(launch.title)}`;
  const line = element("p", "", "actions");
  line.append(again, form);
  return line;
}

/** The connection broke. The browser connects again by itself and names the last event that it got. */
function lost() {
  part("progress").dataset.state = "lost";
  part("status").textContent = "The connection was lost. Resuming…";
}

/** The service ended the stream without saying how the launch went. */
function ended() {
  failed({
    message: "The service ended this launch's stream without a result.",
    hint: "It may have been restarted, or this launch ended while the page was away. Try again.",
    retryable: true,
  });
}

function say(sentence) {
  part("progress").dataset.state = "running";
  // Setting the same text again would make some screen readers repeat it.
  if (part("status").textContent !== sentence) part("status").textContent = sentence;
}

function finish(state, sentence, icon, word) {
  part("status").textContent = sentence;
  part("progress").dataset.state = state;
  part("detail").textContent = "";
  part("favicon").href = favicons[icon];
  document.title = `${word}: ${launch.title} · Bindery`;
}

armCopyButtons();
part("favicon").href = favicons.building;
say(status);
follow();
