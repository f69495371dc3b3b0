// A launch that failed: what, in plain words, the lines that matter, and what to do about it.

import { element } from "./plan.js";
import { t } from "./texts.js";

// What failed before there was a build, or without one; builds are diagnosed by the service.
const TITLES = {
  ref_not_found: t("There is no such branch, tag or commit"),
  repository_not_found: t("There is no such repository"),
  authentication_required: t("The repository is private, or does not exist"),
  repository_empty: t("The repository is empty"),
  host_unreachable: t("The repository's host does not answer"),
  host_busy: t("The repository's host is busy"),
  host_refused: t("This service may not read from there"),
  invalid_spec: t("This link is not complete"),
  unknown_provider: t("This service does not know such links"),
  rate_limit_exceeded: t("Too many launches from your network"),
  quota_reached: t("All places are taken"),
  session_failed: t("The notebook server did not start"),
  session_gone: t("This launch has ended"),
  engine_unavailable: t("The service cannot start anything now"),
  disk_full: t("The server's disk is full"),
  internal_error: t("Something went wrong in Bindery itself"),
};

const part = (id) => document.getElementById(id);

/**
 * Show why. `links` has the addresses `again`, `form`, and, of a build, `log` and `diagnosis`; `instead` makes a link
 * with another ref.
 */
export async function showFailure(event, links, instead) {
  const box = part("failure");
  const title = element("h2", TITLES[event.code] ?? t("The launch failed"));
  box.replaceChildren(title, ...said(event));
  if (event.suggestions?.length) box.append(suggestions(event.suggestions, instead));
  const buttons = actions(event, links);
  box.append(buttons);
  if (event.code) {
    const line = element("p", `${t("Code:")} `, "code");
    line.append(element("code", event.code));
    box.append(line);
  }
  box.hidden = false;
  const found = links.diagnosis && (await read(links.diagnosis));
  if (!found) return;
  title.textContent = found.title;
  if (found.cures.length) help(box, buttons, [event.hint?.trim(), ...found.cures]);
  if (found.lines.length) buttons.before(lines(found.lines, links.log));
  if (found.report_url) buttons.append(outward(t("Tell the authors"), found.report_url));
}

async function read(address) {
  try {
    const answer = await fetch(address, { headers: { Accept: "application/json" } });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

function said({ message, hint }) {
  const text = (message ?? "").trim() || t("The service gave no reason. The log may tell more.");
  const parts = [element("p", text, "message")];
  if (hint?.trim()) {
    const cure = element("p", "", "hint");
    cure.append(element("strong", `${t("What helps:")} `), hint.trim());
    parts.push(cure);
  }
  return parts;
}

/** All that helps, as one list. */
function help(box, buttons, texts) {
  box.querySelector(".hint")?.remove();
  const list = element("ul", "", "cures");
  list.append(...[...new Set(texts)].filter(Boolean).map((text) => element("li", text)));
  buttons.before(element("h3", t("What helps:")), list);
}

function lines(found, log) {
  const block = element("div", "", "excerpt");
  block.append(element("h3", t("The lines of the log that matter")));
  const list = element("ol", "");
  for (const { number, text } of found) {
    const item = element("li", "");
    const link = element("a", String(number));
    link.href = log ? `${log}#L${number}` : `#L${number}`;
    // On this page the same log is below.
    link.addEventListener("click", (event) => {
      event.preventDefault();
      location.hash = `#L${number}`;
      part("log").focus({ preventScroll: true });
      part("log-panel").scrollIntoView({ block: "start" });
    });
    link.setAttribute("aria-label", t("Line {number}", { number }));
    item.append(link, element("code", text));
    list.append(item);
  }
  block.append(list);
  return block;
}

function suggestions(refs, instead) {
  const line = element("p", `${t("Launch instead:")} `, "suggestions");
  for (const ref of refs) {
    const link = element("a", ref, "button quiet");
    link.href = instead(ref);
    line.append(link, " ");
  }
  return line;
}

function actions({ retryable, retry_after_seconds: wait }, { again, form, log }) {
  const line = element("p", "", "actions");
  const retry = element("a", t("Try again"), retryable === false ? "button" : "button primary");
  retry.href = again;
  const change = element("a", t("Change the link"), "button");
  change.href = form;
  line.append(retry, change);
  if (log) {
    const whole = element("a", t("Open the log"), "button");
    whole.href = log;
    line.append(whole);
  }
  if (wait > 0) countDown(retry, Math.ceil(wait));
  return line;
}

/** The service has said when it makes sense to try again. */
function countDown(link, left) {
  const href = link.getAttribute("href");
  const tick = () => {
    link.textContent = left > 0 ? t("Try again in {left} s", { left }) : t("Try again");
    if (left > 0) link.removeAttribute("href");
    else link.href = href;
    link.toggleAttribute("aria-disabled", left > 0);
    if (left > 0) link.setAttribute("aria-disabled", "true");
    if (left-- > 0) setTimeout(tick, 1000);
  };
  link.setAttribute("role", "link");
  tick();
}

function outward(text, address) {
  const link = element("a", text, "button");
  link.href = address;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return link;
}
