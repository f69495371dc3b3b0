// The four steps of a launch, and how long each took.

const ORDER = ["resolve", "fetch", "build", "start"];
const WORDS = { todo: "to do", done: "done", active: "in progress", skipped: "already there", failed: "failed" };

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

  /** The launch has ended: with every step done, or at the one that failed. */
  end(failed) {
    clearInterval(this.#timer);
    this.#tick();
    if (!failed) this.to("start");
    this.#mark(this.#active, failed ? "failed" : "done", failed ? "" : this.#taken());
  }

  #taken() {
    const milliseconds = performance.now() - this.#since;
    return milliseconds < 100 ? "" : seconds(milliseconds);
  }

  #tick() {
    this.#elapsed.textContent = seconds(performance.now() - this.#begun, 0);
  }

  #mark(step, state, word = "") {
    const item = this.#items.get(step);
    item.dataset.state = state;
    item.toggleAttribute("aria-current", false);
    if (state === "active") item.setAttribute("aria-current", "step");
    item.querySelector("[data-role=state]").textContent = word ? `done in ${word}` : WORDS[state];
  }
}

/** A duration as people say it. */
export function seconds(milliseconds, digits = 1) {
  const total = milliseconds / 1000;
  if (total < 60) return `${total.toFixed(digits)} s`;
  return `${Math.floor(total / 60)} min ${Math.floor(total % 60)} s`;
}
