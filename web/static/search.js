// Searching the log: in portions, so that a long one never holds up the page.

import { t } from "./texts.js";

const PORTION = 4000;
const REST_MS = 120;
/** Lines on each side of the current one whose matches are marked, too. */
const NEAR = 300;

const part = (id) => document.getElementById(id);

/** `log` gives the `lines`, a line's `text`, its `element`, and can `show` it; all by index from 0. */
export class Search {
  #log;
  #field = part("log-find");
  #found = part("log-found");
  #buttons = [part("log-previous"), part("log-next")];
  #words = "";
  #hits = [];
  #current = -1;
  #searched = 0;
  #timer = 0;

  constructor(log) {
    this.#log = log;
    this.#field.addEventListener("input", () => this.#typed());
    this.#field.addEventListener("keydown", (event) => this.#key(event));
    this.#buttons[0].addEventListener("click", () => this.#step(-1));
    this.#buttons[1].addEventListener("click", () => this.#step(1));
  }

  /** Lines from `first` on are new, or have changed. */
  grown(first) {
    if (!this.#words) return;
    while (this.#hits.length && this.#hits.at(-1) >= first) this.#hits.pop();
    this.#searched = Math.min(this.#searched, first);
    this.#go(false);
  }

  #typed() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#words = this.#field.value.toLowerCase();
      this.#hits = [];
      this.#current = -1;
      this.#searched = 0;
      this.#go(true);
    }, REST_MS);
  }

  #key(event) {
    if (event.key === "Enter") this.#step(event.shiftKey ? -1 : 1);
    else if (event.key === "Escape" && this.#field.value) {
      this.#field.value = "";
      this.#typed();
    } else return;
    event.preventDefault();
  }

  /** Search on from where it stands; `jump` shows the first match as soon as there is one. */
  #go(jump) {
    clearTimeout(this.#timer);
    const { length } = this.#log.lines();
    const end = this.#words ? Math.min(this.#searched + PORTION, length) : 0;
    for (let index = this.#searched; index < end; index += 1) {
      if (this.#log.text(index).toLowerCase().includes(this.#words)) this.#hits.push(index);
    }
    this.#searched = end;
    if (jump && this.#hits.length && this.#current < 0) this.#step(1);
    if (this.#words && end < length) this.#timer = setTimeout(() => this.#go(jump));
    this.#tell(end < length);
  }

  #step(by) {
    if (!this.#hits.length) return;
    const from = this.#current < 0 && by < 0 ? 0 : this.#current;
    this.#current = (from + by + this.#hits.length) % this.#hits.length;
    this.#log.show(this.#hits[this.#current]);
    this.#tell(false);
  }

  #tell(searching) {
    const { length } = this.#hits;
    for (const button of this.#buttons) button.disabled = !length;
    const place = this.#current < 0 ? `${length}` : t("{place} of {length}", { place: this.#current + 1, length });
    this.#found.textContent = !this.#words ? "" : length ? place : searching ? "…" : t("Not found");
    this.#mark();
  }

  /** Mark the matches without touching the text. */
  #mark() {
    if (!globalThis.Highlight) return;
    const current = this.#hits[this.#current];
    const near = this.#hits.filter((index) => Math.abs(index - (current ?? 0)) <= NEAR);
    CSS.highlights.set("log-match", new Highlight(...near.flatMap((index) => this.#ranges(index))));
    CSS.highlights.set("log-current", new Highlight(...(current === undefined ? [] : this.#ranges(current))));
  }

  #ranges(index) {
    const element = this.#log.element(index);
    if (!element || !this.#words) return [];
    const text = this.#log.text(index).toLowerCase();
    const nodes = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    const places = [];
    for (let at = text.indexOf(this.#words); at >= 0 && places.length < 50; at = text.indexOf(this.#words, at + 1)) {
      places.push(at);
    }
    return places.map((at) => range(nodes, at, at + this.#words.length)).filter(Boolean);
  }
}

function range(nodes, from, to) {
  const made = document.createRange();
  nodes.currentNode = nodes.root;
  let passed = 0;
  let begun = false;
  for (let node = nodes.nextNode(); node; node = nodes.nextNode()) {
    const { length } = node.data;
    if (!begun && from < passed + length) {
      made.setStart(node, from - passed);
      begun = true;
    }
    if (begun && to <= passed + length) {
      made.setEnd(node, to - passed);
      return made;
    }
    passed += length;
  }
  return null;
}
