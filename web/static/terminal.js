// A terminal's output as lines of styled text: ANSI colours, carriage returns, and nothing else.

import { colour, css, palette, readable } from "./colours.js";

// Control sequences (CSI), operating system commands (OSC and the like), and other escapes.
const ESCAPE = /\x1b(?:\[([0-?]*)[ -/]*([@-~])|[\]PX^_](?:[^\x07\x1b]|\x1b(?!\\))*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])/y;
const LONGEST_ESCAPE = 2048;
const LONGEST_LINE = 10_000;
const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

/**
 * Reads chunks of output. `lines` is every line as a list of {text, style} runs; `changed` is the first line that a
 * `write` may have touched since it was last read with `take()`.
 */
export class Terminal {
  lines = [[]];
  #style = plain();
  #pending = "";
  #returned = false;
  #changed = 0;

  write(chunk) {
    const text = this.#pending + chunk;
    this.#pending = "";
    let start = 0;
    for (let at = 0; at < text.length; ) {
      const code = text.charCodeAt(at);
      if (code >= 32 && code !== 127 && !(code > 127 && code < 160)) {
        at += 1;
        continue;
      }
      this.#print(text.slice(start, at));
      const next = this.#control(text, at);
      if (next === at) return;
      start = at = next;
    }
    this.#print(text.slice(start));
  }

  /** The index of the first line that changed; everything counts as read afterwards. */
  take() {
    const first = this.#changed;
    this.#changed = this.lines.length - 1;
    return first;
  }

  /** What follows begins on a line of its own. */
  freshLine() {
    if (this.lines.at(-1).length) this.#newline();
    this.#style = plain();
  }

  text() {
    return this.lines.map(lineText).join("\n");
  }

  /** Handle what stands at `at`; the index behind it, or `at` itself when the rest has yet to arrive. */
  #control(text, at) {
    const character = text[at];
    if (character === "\n") this.#newline();
    else if (character === "\r") this.#returned = true;
    else if (character === "\t") this.#print("\t");
    else if (character === "\x1b") return this.#escape(text, at);
    return at + 1;
  }

  #escape(text, at) {
    ESCAPE.lastIndex = at;
    const found = ESCAPE.exec(text);
    if (!found) {
      const rest = text.length - at;
      const unfinished = rest === 1 || (/[[\]PX^_ -/]/.test(text[at + 1]) && rest < LONGEST_ESCAPE);
      if (unfinished && !text.slice(at).includes("\n")) {
        this.#pending = text.slice(at);
        return at;
      }
      return at + 1;
    }
    if (found[2] === "m") this.#style = restyled(this.#style, found[1]);
    else if (found[2] === "K" && found[1] !== "0" && found[1] !== "") this.#clear();
    return ESCAPE.lastIndex;
  }

  #newline() {
    this.lines.push([]);
    this.#returned = false;
  }

  #clear() {
    this.lines[this.lines.length - 1] = [];
  }

  #print(text) {
    if (!text) return;
    if (this.#returned) this.#clear();
    this.#returned = false;
    const line = this.lines.at(-1);
    const used = line.reduce((sum, run) => sum + run.text.length, 0);
    if (used >= LONGEST_LINE) return;
    const room = LONGEST_LINE - used;
    const shown = text.length > room ? text.slice(0, room) + " … (the line goes on)" : text;
    const last = line.at(-1);
    if (last && last.style === this.#style) last.text += shown;
    else line.push({ text: shown, style: this.#style });
  }
}

function plain() {
  return { colour: "", back: "", bold: false, dim: false, italic: false, underline: false };
}

function restyled(style, parameters) {
  const codes = parameters.split(";").flatMap(numbers);
  let next = { ...style };
  while (codes.length) {
    const code = codes.shift();
    if (code === 38 || code === 48) next[code === 38 ? "colour" : "back"] = extended(codes);
    else if (code === 0) next = plain();
    else Object.assign(next, simple(code));
  }
  return next;
}

/** One parameter. With colons it has parts, and a true colour may name a colour space, which does not matter here. */
function numbers(parameter) {
  const parts = parameter.split(":").map(Number);
  if (parts[1] === 2 && parts.length > 5) parts.splice(2, 1);
  return parts;
}

function simple(code) {
  if (code === 1) return { bold: true };
  if (code === 2) return { dim: true };
  if (code === 3) return { italic: true };
  if (code === 4) return { underline: true };
  if (code === 22) return { bold: false, dim: false };
  if (code === 23) return { italic: false };
  if (code === 24) return { underline: false };
  if (code === 39) return { colour: "" };
  if (code === 49) return { back: "" };
  const tens = Math.floor(code / 10);
  const name = NAMES[code % 10] ?? "";
  if (tens === 3 || tens === 9) return { colour: name };
  if (tens === 4 || (code >= 100 && code < 108)) return { back: name };
  return {};
}

/** 256 colours and true colours: the first sixteen by name, others as numbers. */
function extended(codes) {
  const kind = codes.shift();
  if (kind === 5) {
    const index = codes.shift();
    if (!Number.isInteger(index) || index > 255) return "";
    return index < 16 ? NAMES[index % 8] : palette(index);
  }
  if (kind === 2) return colour(codes.splice(0, 3)) ?? "";
  return "";
}

/** A line's text. */
export function lineText(runs) {
  return runs.length === 1 ? runs[0].text : runs.map((run) => run.text).join("");
}

/** A line as nodes: text only, styled through classes. */
export function lineNodes(runs) {
  return runs.map(({ text, style }) => {
    const names = classes(style);
    const numbers = Array.isArray(style.colour) || Array.isArray(style.back);
    if (!names && !numbers) return document.createTextNode(text);
    const span = document.createElement("span");
    if (names) span.className = names;
    if (numbers) paint(span, style);
    span.textContent = text;
    return span;
  });
}

function paint(span, { colour: text, back }) {
  const ground = Array.isArray(back) ? back : undefined;
  if (ground) span.style.backgroundColor = css(ground);
  if (Array.isArray(text)) span.style.color = css(readable(text, ground));
  else if (ground && !text) span.style.color = css(readable([223, 230, 228], ground));
}

function classes(style) {
  const names = ["bold", "dim", "italic", "underline"].filter((name) => style[name]).map((name) => `ansi-${name}`);
  if (typeof style.colour === "string" && style.colour) names.push(`ansi-${style.colour}`);
  if (typeof style.back === "string" && style.back) names.push(`ansi-on-${style.back}`);
  return names.join(" ");
}
