// The four steps of a launch, and how long each took.

import { decimal, t } from "./texts.js";

const ORDER = ["resolve", "fetch", "build", "start"];
const WORDS = {
  todo: t("to do"),
  done: t("done"),
  active: t("in progress"),
  skipped: t("already there"),
  failed: t("failed"),
  cancelled: t("cancelled"),
};

export class Stepper {
  #items = new Map(ORDER.map((step) => [step, document.querySelector(`[data-step="${step}"]`)]));
  #elapsed = document.getElementById("elapsed");
  #begun = performance.now();
  #since = this.#begun;
  #active = "resolve";
  #timer = setInterval(() => this.#tick(), 250);

  /** Go on to a step. Steps that were jumped over had nothing to do. */
  to(step) {
    const [from, next] = [ORDER.indexOf(this.#active), ORDER.indexOf(step)];
    if (next <= from) return;
    this.#mark(this.#active, "done", this.#taken());
    for (const skipped of ORDER.slice(from + 1, next)) this.#mark(skipped, "skipped");
    this.#active = step;
    this.#since = performance.now();
    this.#mark(step, "active");
  }

  /** The launch has ended: `done` with every step, or `failed` or `cancelled` at the one it was at. */
  end(state) {
    clearInterval(this.#timer);
    this.#tick();
    if (state === "done") this.to("start");
    this.#mark(this.#active, state, state === "done" ? this.#taken() : "");
  }

  /** Milliseconds that the present step has taken, and the whole launch. */
  get times() {
    const now = performance.now();
    return { step: now - this.#since, launch: now - this.#begun };
  }

  #taken() {
    const milliseconds = performance.now() - this.#since;
    return milliseconds < 100 ? "" : seconds(milliseconds);
  }

  #tick() {
    const { step, launch } = this.times;
    this.#elapsed.textContent = seconds(launch, 0);
    const item = this.#items.get(this.#active);
    const shown = step < 2000 ? WORDS.active : `${WORDS.active}, ${seconds(step, 0)}`;
    if (item.dataset.state === "active") item.querySelector("[data-role=state]").textContent = shown;
  }

  #mark(step, state, word = "") {
    const item = this.#items.get(step);
    item.dataset.state = state;
    item.toggleAttribute("aria-current", false);
    if (state === "active") item.setAttribute("aria-current", "step");
    item.querySelector("[data-role=state]").textContent = word ? t("done in {time}", { time: word }) : WORDS[state];
  }
}

/** A duration as people say it. */
export function seconds(milliseconds, digits = 1) {
  const total = milliseconds / 1000;
  if (total < 60) return t("{number} s", { number: decimal(total, digits) });
  return t("{minutes} min {seconds} s", { minutes: Math.floor(total / 60), seconds: Math.floor(total % 60) });
}
