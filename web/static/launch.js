// The launch page: follows the event stream of a launch and goes to the session when it is ready.

import { armCopyButtons } from "./copy.js";
import { showFailure } from "./failure.js";
import { afterPlan, beforePlan, late } from "./forecast.js";
import { joinSession } from "./links.js";
import { Log } from "./log.js";
import { element, showPlan } from "./plan.js";
import { offerReading } from "./reading.js";
import { Stepper, seconds } from "./stepper.js";
import { Stream } from "./stream.js";
import { t } from "./texts.js";

const { baseUrl, favicons, launch, siteName } = window.pageConfig;

// What each phase of the wire protocol means for a visitor: the step it belongs to, and a sentence.
const PHASES = {
  waiting: ["fetch", t("Waiting for a free hand to begin…")],
  fetching: ["fetch", t("Gathering the repository's files…")],
  building: ["build", t("Binding the environment…")],
  pushing: ["build", t("Putting the environment on the shelf…")],
  built: ["start", t("Everything is bound. Opening a notebook server…")],
  launching: ["start", t("Opening your notebook server…")],
};

const TITLES = { resolve: t("Finding"), fetch: t("Gathering"), build: t("Binding"), start: t("Opening") };

const part = (id) => document.getElementById(id);
const log = new Log();
const stepper = new Stepper();
let status = t("Asking {provider} which commit that is…", { provider: launch.provider });
let about = null;
let usual;
let over = false;
let nextTry = 0;
let lastPhase = "";

const stream = new Stream(launch.streamUrl, {
  event: take,
  open: () => {
    if (nextTry) part("detail").textContent = "";
    nextTry = 0;
    if (!over) say(status);
  },
  lost,
  over: ended,
  refused: (code) => ended(t("The service refused this launch (HTTP status {code}).", { code })),
});

function take(event) {
  const phase = String(event.phase ?? "").toLowerCase();
  const last = phase === "ready" || phase === "failed" || phase === "failure";
  if (!last) {
    log.write(event.message ?? "");
    return progress(phase, event);
  }
  log.conclude(event.message ?? "");
  stream.close();
  if (phase === "ready") ready(event);
  else failed(event);
}

function progress(phase, event) {
  if (event.about) introduce(event.about);
  if (event.documents) offerReading(event.documents, launch.opens, baseUrl);
  if (event.plan) planned(event);
  // Most events are lines of one phase, and there may be very many.
  const told = phase === "waiting" || phase === "launching";
  if (phase === lastPhase && !told) return;
  lastPhase = phase || lastPhase;
  const [step, sentence] = PHASES[phase] ?? [];
  if (step) {
    stepper.to(step);
    status = sentence;
    title(TITLES[step]);
  }
  if (event.position) status = t("Waiting in line: you are number {position}.", event);
  if (told) part("detail").textContent = (event.message ?? "").trim();
  else if (step) part("detail").textContent = "";
  say(status);
}

/** The commit is known, and what the service knows of such launches. */
function introduce(given) {
  about = given;
  const link = element("a", about.ref.slice(0, 12));
  if (/^https?:/.test(about.ref_url)) link.href = about.ref_url;
  link.rel = "noopener noreferrer";
  link.title = about.ref;
  part("commit").replaceChildren(link);
  part("commit-fact").hidden = false;
  expect(beforePlan(about.forecast, !about.build_id));
  offerReading(about.documents ?? {}, launch.opens, baseUrl);
  if (!about.build_id) return;
  const page = buildPage();
  log.linkBase = new URL(page, location.href).href;
  log.file = `build-${about.build_id}.log`;
  part("whole-log").href = page;
  part("whole-log").hidden = false;
}

function planned({ plan, environment }) {
  showPlan(plan, environment);
  expect(afterPlan(about?.forecast, plan.kind, environment));
}

function expect({ text, seconds: time }) {
  part("forecast").textContent = text;
  usual = time;
}

function watch() {
  if (over) return;
  if (nextTry) {
    const left = Math.ceil((nextTry - performance.now()) / 1000);
    part("detail").textContent = left > 1 ? t("Next attempt in {left} s.", { left }) : t("Trying again now.");
  } else if (late(stepper.times.launch, usual)) {
    part("late").textContent = t("It takes longer than usual. The log shows what is going on.");
  }
}

function ready(event) {
  const url = new URL(event.url, location.href);
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    failed({ message: t("The service answered with an address that is no web page."), code: "bad_address" });
    return;
  }
  stepper.end("done");
  finish("ready", t("Ready. Taking you there…"), "success", t("Ready"));
  part("forecast").textContent = t("It took {time}.", { time: seconds(stepper.times.launch) });
  location.replace(joinSession(url.href, event.token ?? "", launch.path));
}

function failed(event) {
  stepper.end("failed");
  finish("failed", t("The launch did not succeed."), "fail", t("Failed"));
  const links = { again: location.href.split("#")[0], form: launch.formUrl };
  const build = about?.build_id;
  if (build) {
    links.log = buildPage();
    if (event.code !== "session_failed") links.diagnosis = `${baseUrl}api/v1/builds/${build}/diagnosis`;
  }
  showFailure(event, links, (ref) => launch.refUrl.replace("{ref}", () => encodeURI(ref).replace(/[#?&]/g, encodeURIComponent)));
}

function buildPage() {
  return `${baseUrl}builds/${about.build_id}`;
}

/** The connection broke; the stream comes back by itself. */
function lost(pause) {
  if (over) return;
  nextTry = performance.now() + pause;
  part("progress").dataset.state = "lost";
  part("status").textContent = navigator.onLine
    ? t("The connection was lost. Resuming…")
    : t("You are offline. Resuming when you are back…");
}

/** The service ended the stream without saying how the launch went. */
function ended(message = t("The service ended this launch's stream without a result.")) {
  failed({
    message,
    hint: t("It may have been restarted, or this launch ended while the page was away. Try again."),
    retryable: true,
  });
}

// --- cancelling

async function cancel() {
  const button = part("cancel");
  button.disabled = true;
  part("status").textContent = t("Cancelling…");
  if (!about) return cancelled(t("Nothing was started yet."));
  try {
    const answer = await fetch(`${baseUrl}api/v1/sessions/${about.session_id}`, { method: "DELETE" });
    if (!answer.ok) throw new Error(String(answer.status));
    cancelled(await whatBecomesOfTheBuild());
  } catch {
    button.disabled = false;
    say(status);
    part("detail").textContent = t("Cancelling did not get through. Please try again.");
  }
}

async function whatBecomesOfTheBuild() {
  if (!about.build_id) return t("No notebook server is started.");
  const answer = await fetch(`${baseUrl}api/v1/builds/${about.build_id}`);
  const build = answer.ok ? await answer.json() : {};
  if (build.state === "built") return t("The environment is bound and kept; the next launch is quick.");
  if (build.cancel_requested || build.state === "cancelled") return t("Nobody else waited for the build, so it is stopped, too.");
  return t("The build goes on for others who wait for it.");
}

function cancelled(sentence) {
  stream.close();
  stepper.end("cancelled");
  finish("cancelled", t("You cancelled this launch."), "", t("Cancelled"));
  part("forecast").textContent = sentence;
  part("again").hidden = false;
}

// --- saying

function say(sentence) {
  part("progress").dataset.state = "running";
  // Setting the same text again would make some screen readers repeat it.
  if (part("status").textContent !== sentence) part("status").textContent = sentence;
}

function title(word) {
  document.title = `${word}: ${launch.title} · ${siteName}`;
}

function finish(state, sentence, icon, word) {
  over = true;
  part("status").textContent = sentence;
  part("progress").dataset.state = state;
  part("detail").textContent = "";
  part("late").textContent = "";
  part("cancel").hidden = true;
  part("whole-log").hidden ||= state === "failed";
  if (state === "failed") part("forecast").textContent = "";
  part("favicon").href = icon ? favicons[icon] : launch.favicon;
  title(word);
}

part("stalled").remove();
armCopyButtons();
part("favicon").href = favicons.building;
part("cancel").hidden = false;
part("cancel").addEventListener("click", cancel);
title(TITLES.resolve);
say(status);
setInterval(watch, 500);
// A page that comes back from the browser's history would wait for a stream that is closed.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
