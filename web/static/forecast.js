// How long it will take, in words: from what launches before this one took on this service.

import { t } from "./texts.js";

/** Slower than this share over the usual time is worth a word. */
const PATIENCE = 1.25;

/** What a launch will do, and the seconds it usually takes, as {text, seconds}. */
export function beforePlan(forecast, built) {
  if (built) {
    const start = forecast?.start;
    const text = start
      ? t("This commit is bound already. Only a notebook server has to start, {time}.", { time: usually(start) })
      : t("This commit is bound already. Only a notebook server has to start.");
    return { text, seconds: start?.high };
  }
  const parts = [t("This commit is new here.")];
  const reused = sum(forecast?.reused, forecast?.start);
  const made = sum(forecast?.new, forecast?.start);
  if (reused) parts.push(t("If its environment is known: {time}.", { time: usually(reused) }));
  else parts.push(t("If its environment is known, it is ready in seconds."));
  if (made) parts.push(t("If it has to be built first: {time}.", { time: usually(made) }));
  else parts.push(t("If it has to be built first, that takes minutes."));
  return { text: parts.join(" "), seconds: made?.high };
}

/** The same, once it is known what the environment is. */
export function afterPlan(forecast, kind, environment) {
  if (environment === "reused") {
    const known = sum(forecast?.reused, forecast?.start);
    const time = known ? usually(known) : t("a few seconds");
    return { text: t("The environment is known: {time}.", { time }), seconds: known?.high };
  }
  const made = sum(forecast?.new_by_kind?.[kind] ?? forecast?.new, forecast?.start);
  const time = made ? usually(made) : t("how long it takes is not known here yet");
  const text = t("First build of this environment: {time}. It is kept, so later launches are quick.", { time });
  return { text, seconds: made?.high };
}

/** Whether a launch takes longer than usual. */
export function late(milliseconds, usual) {
  return usual !== undefined && milliseconds / 1000 > Math.max(usual * PATIENCE, usual + 2);
}

/** A range of seconds as people say it. */
export function usually({ low, high }) {
  const [from, to] = [rounded(low), rounded(high)];
  if (to < 90) return from === to ? t("about {to} s", { to }) : t("usually {from}–{to} s", { from, to });
  const [less, more] = [Math.max(Math.round(low / 60), 1), Math.round(high / 60)];
  if (low < 45) return t("usually {from} s to {more} min", { from, more });
  return less === more ? t("about {more} min", { more }) : t("usually {less}–{more} min", { less, more });
}

function rounded(value) {
  const step = value < 15 ? 1 : 5;
  return Math.max(Math.round(value / step) * step, 1);
}

function sum(one, other) {
  if (!one) return undefined;
  return { low: one.low + (other?.low ?? 0), high: one.high + (other?.high ?? 0) };
}
