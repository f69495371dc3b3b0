// The log on the page: a terminal's lines, drawn in blocks so that long ones stay smooth.

import { copy } from "./copy.js";
import { Terminal, lineNodes } from "./terminal.js";

const BLOCK = 200;
const PAUSE_MS = 60;

export class Log {
  #terminal = new Terminal();
  #box = document.getElementById("log");
  #follow = document.getElementById("follow");
  #timer = 0;
  #drawn = [];
  #scrolledTo = 0;

  constructor() {
    this.#follow.addEventListener("click", () => this.#setFollowing(!this.#following));
    this.#box.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    document.getElementById("copy-log").addEventListener("click", () => copy(this.#terminal.text(), "Log"));
    const wrap = document.getElementById("wrap");
    wrap.addEventListener("click", () => {
      wrap.setAttribute("aria-pressed", String(this.#box.classList.toggle("wrap")));
    });
  }

  /** The last words of a launch do not belong to an unfinished progress bar. */
  conclude(text) {
    this.#terminal.freshLine();
    this.write(text);
  }

  write(text) {
    this.#terminal.write(text);
    this.#timer ||= setTimeout(() => this.#draw(), PAUSE_MS);
  }

  #draw() {
    this.#timer = 0;
    if (!this.#drawn.length) this.#box.replaceChildren();
    const { lines } = this.#terminal;
    for (let index = this.#terminal.take(); index < lines.length; index += 1) {
      if (index === lines.length - 1 && !lines[index].length && !this.#drawn[index]) break;
      this.#line(index).replaceChildren(...lineNodes(lines[index]));
    }
    if (this.#following) this.#toEnd();
  }

  #line(index) {
    if (this.#drawn[index]) return this.#drawn[index];
    if (index % BLOCK === 0) {
      const block = document.createElement("div");
      block.className = "log-block";
      this.#box.append(block);
    }
    const line = document.createElement("div");
    line.className = "log-line";
    this.#box.lastElementChild.append(line);
    return (this.#drawn[index] = line);
  }

  get #following() {
    return this.#follow.getAttribute("aria-pressed") === "true";
  }

  #setFollowing(on) {
    this.#follow.setAttribute("aria-pressed", String(on));
    if (on) this.#toEnd();
  }

  #toEnd() {
    this.#box.scrollTop = this.#box.scrollHeight;
    this.#scrolledTo = this.#box.scrollTop;
  }

  /** Scrolling up stops following; scrolling to the end begins it again. */
  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#box;
    const atEnd = scrollTop + clientHeight >= scrollHeight - 4;
    if (atEnd !== this.#following && (atEnd || scrollTop < this.#scrolledTo)) this.#setFollowing(atEnd);
    this.#scrolledTo = scrollTop;
  }
}
