// The log on the page: a terminal's lines, drawn in blocks and in small portions, so that long ones stay smooth.

import { copy, say } from "./copy.js";
import { Search } from "./search.js";
import { Terminal, lineNodes, lineText } from "./terminal.js";
import { t, tn } from "./texts.js";

/** Lines of one block; the browser lays out only the blocks that are near the window. */
const BLOCK = 200;
const PAUSE_MS = 60;
/** Drawing makes way for everything else after so long. */
const PORTION_MS = 8;
const LINK = /^#L([1-9]\d{0,6})$/;

const part = (id) => document.getElementById(id);

/** `file` names the download; `linkBase` is the address that a line's permanent link is built on, without its hash. */
export class Log {
  #terminal = new Terminal();
  #box = part("log");
  #follow = part("follow");
  #pause = part("pause");
  #timer = 0;
  #drawn = [];
  #undrawn = 0;
  #scrolledTo = 0;
  #wanted = 0;
  #search;
  file = "log.txt";
  linkBase = "";

  constructor() {
    this.#follow.addEventListener("click", () => this.#setFollowing(!this.#following));
    this.#pause.addEventListener("click", () => this.#setPaused(!this.#paused));
    this.#box.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#box.addEventListener("click", (event) => this.#clicked(event));
    part("copy-log").addEventListener("click", () => copy(this.#terminal.text(), t("Log")));
    part("download-log").addEventListener("click", () => this.#download());
    const wrap = part("wrap");
    wrap.addEventListener("click", () => {
      wrap.setAttribute("aria-pressed", String(this.#box.classList.toggle("wrap")));
    });
    this.#search = new Search({
      lines: () => this.#terminal.lines,
      text: (index) => lineText(this.#terminal.lines[index]),
      element: (index) => this.#drawn[index],
      show: (index) => this.reveal(index + 1),
    });
    addEventListener("hashchange", () => this.#toHash());
    this.#toHash();
  }

  /** The last words of a launch do not belong to an unfinished progress bar. */
  conclude(text) {
    this.#terminal.freshLine();
    this.write(text);
  }

  write(text) {
    if (!text) return;
    this.#terminal.write(text);
    if (this.#paused) this.#tellBehind();
    else this.#timer ||= setTimeout(() => this.#draw(), PAUSE_MS);
  }

  /** Show a line, by its number from 1, and mark it; one that has yet to come is shown when it does. */
  reveal(number) {
    this.#setFollowing(false);
    this.#wanted = number;
    this.#showWanted();
  }

  #draw() {
    this.#timer = 0;
    if (!this.#drawn.length) this.#box.replaceChildren();
    const { lines } = this.#terminal;
    this.#undrawn = Math.min(this.#undrawn, this.#terminal.take());
    const until = performance.now() + PORTION_MS;
    const first = this.#undrawn;
    for (; this.#undrawn < lines.length; this.#undrawn += 1) {
      const index = this.#undrawn;
      if (index === lines.length - 1 && !lines[index].length && !this.#drawn[index]) break;
      this.#line(index).replaceChildren(...lineNodes(lines[index]));
      if (index % 50 === 49 && performance.now() > until) break;
    }
    if (this.#undrawn < lines.length - 1) this.#timer = setTimeout(() => this.#draw());
    else this.#search.grown(first);
    // The last line may still be written to.
    this.#undrawn = Math.max(Math.min(this.#undrawn, lines.length - 1), 0);
    this.#showWanted();
    if (this.#following) this.#toEnd();
  }

  #line(index) {
    if (this.#drawn[index]) return this.#drawn[index];
    if (index % BLOCK === 0) {
      const block = document.createElement("div");
      block.className = "log-block";
      block.style.counterReset = `line ${index}`;
      this.#box.append(block);
    }
    const line = document.createElement("div");
    line.className = "log-line";
    this.#box.lastElementChild.append(line);
    return (this.#drawn[index] = line);
  }

  // --- links to lines

  #toHash() {
    const found = location.hash.match(LINK);
    if (found) this.reveal(Number(found[1]));
  }

  #showWanted() {
    const line = this.#drawn[this.#wanted - 1];
    if (!this.#wanted || !line) return;
    this.#wanted = 0;
    this.#box.querySelector(".log-line.marked")?.classList.remove("marked");
    line.classList.add("marked");
    // Twice: blocks on the way get their true height only when they are laid out.
    for (const _ of [1, 2]) line.scrollIntoView({ block: "center" });
    this.#scrolledTo = this.#box.scrollTop;
  }

  /** A click on a line's number links to it. */
  #clicked({ target, clientX }) {
    const line = target.closest(".log-line");
    if (!line || clientX > line.getBoundingClientRect().left + parseFloat(getComputedStyle(line).paddingLeft)) return;
    const number = this.#drawn.indexOf(line) + 1;
    history.replaceState(history.state, "", `#L${number}`);
    this.reveal(number);
    copy(`${this.linkBase || location.href.split("#")[0]}#L${number}`, t("Link to line {number}", { number }));
  }

  // --- following and pausing

  get #following() {
    return this.#follow.getAttribute("aria-pressed") === "true";
  }

  #setFollowing(on) {
    this.#follow.setAttribute("aria-pressed", String(on));
    if (on && this.#paused) this.#setPaused(false);
    if (on) this.#toEnd();
  }

  get #paused() {
    return this.#pause.getAttribute("aria-pressed") === "true";
  }

  #setPaused(on) {
    this.#pause.setAttribute("aria-pressed", String(on));
    if (on) this.#timer = clearTimeout(this.#timer) ?? 0;
    part("log-behind").textContent = on ? t("Paused.") : "";
    if (!on) this.#draw();
  }

  #tellBehind() {
    const behind = this.#terminal.lines.length - this.#drawn.length;
    const words = tn("One new line waits.", "{number} new lines wait.", behind);
    part("log-behind").textContent = behind > 0 ? `${t("Paused.")} ${words}` : t("Paused.");
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

  #download() {
    const address = URL.createObjectURL(new Blob([this.#terminal.text()], { type: "text/plain" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = this.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
    say(t("Log downloaded."));
  }
}
