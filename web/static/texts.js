// What the scripts say, in the page's language. Texts are written in English; the page has their translations.

const texts = window.pageConfig?.texts ?? {};

/** A text, with `{name}`s replaced by values. */
export function t(text, values = {}) {
  return filled(texts[text]?.[0] ?? text, values);
}

/** A text about so many things. */
export function tn(one, many, number, values = {}) {
  const form = number === 1 ? 0 : 1;
  return filled(texts[one]?.[form] ?? (form ? many : one), { number, ...values });
}

function filled(text, values) {
  return text.replaceAll(/\{(\w+)\}/g, (all, name) => String(values[name] ?? all));
}

/** A number with so many digits of its fraction, as the page's language writes it. */
export function decimal(number, digits = 1) {
  return number.toLocaleString(document.documentElement.lang, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
    useGrouping: false,
  });
}

/** A length of time, as the pages say it. */
export function duration(seconds) {
  if (seconds < 10) return t("{number} s", { number: decimal(Math.max(seconds, 0)) });
  const whole = Math.round(seconds);
  if (whole < 60) return t("{number} s", { number: whole });
  if (whole < 3600) return t("{minutes} min {seconds} s", { minutes: Math.floor(whole / 60), seconds: whole % 60 });
  return t("{hours} h {minutes} min", { hours: Math.floor(whole / 3600), minutes: Math.floor((whole % 3600) / 60) });
}
