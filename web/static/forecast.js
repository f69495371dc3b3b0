// How long it will take, in words: from what launches before this one took on this service.

/** Slower than this share over the usual time is worth a word. */
const PATIENCE = 1.25;

/** What a launch will do, and the seconds it usually takes, as {text, seconds}. */
export function beforePlan(forecast, built) {
  if (built) {
    const start = forecast?.start;
    const time = start ? `, ${usually(start)}` : "";
    return { text: `This commit is bound already. Only a notebook server has to start${time}.`, seconds: start?.high };
  }
  const parts = ["This commit is new here."];
  const reused = sum(forecast?.reused, forecast?.start);
  const made = sum(forecast?.new, forecast?.start);
  if (reused) parts.push(`If its environment is known: ${usually(reused)}.`);
  else parts.push("If its environment is known, it is ready in seconds.");
  parts.push(made ? `If it has to be built first: ${usually(made)}.` : "If it has to be built first, that takes minutes.");
  return { text: parts.join(" "), seconds: made?.high };
}

/** The same, once it is known what the environment is. */
export function afterPlan(forecast, kind, environment) {
  if (environment === "reused") {
    const known = sum(forecast?.reused, forecast?.start);
    return { text: `The environment is known: ${known ? usually(known) : "a few seconds"}.`, seconds: known?.high };
  }
  const made = sum(forecast?.new_by_kind?.[kind] ?? forecast?.new, forecast?.start);
  const time = made ? `${usually(made)}` : "there are too few to say how long it takes";
  return { text: `First build of this environment: ${time}. It is kept, so later launches are quick.`, seconds: made?.high };
}

/** Whether a launch takes longer than usual. */
export function late(milliseconds, usual) {
  return usual !== undefined && milliseconds / 1000 > Math.max(usual * PATIENCE, usual + 2);
}

/** A range of seconds as people say it. */
export function usually({ low, high }) {
  const [from, to] = [rounded(low), rounded(high)];
  if (to < 90) return from === to ? `about ${to} s` : `usually ${from}–${to} s`;
  const [less, more] = [Math.max(Math.round(low / 60), 1), Math.round(high / 60)];
  if (low < 45) return `usually ${from} s to ${more} min`;
  return less === more ? `about ${more} min` : `usually ${less}–${more} min`;
}

function rounded(value) {
  const step = value < 15 ? 1 : 5;
  return Math.max(Math.round(value / step) * step, 1);
}

function sum(one, other) {
  if (!one) return undefined;
  return { low: one.low + (other?.low ?? 0), high: one.high + (other?.high ?? 0) };
}
