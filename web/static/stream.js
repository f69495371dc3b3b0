// An event stream that survives sleep and broken networks: it comes back by itself, and goes on where it was.

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
/** The service says something at least every 25 seconds; after more silence than this the line is dead. */
const SILENCE_MS = 60_000;
const LOOK_MS = 5_000;
/** Reading makes way for everything else after so long. */
const PORTION_MS = 8;

/**
 * Reads events from `url` until `close`. The handlers: `event(object)` for each; `open()` when the service answers;
 * `lost(milliseconds)` when the connection broke, with the time until the next attempt; `over()` when the service has
 * nothing more to say, and `refused(status)` when it will not say anything.
 */
export class Stream {
  #url;
  #handlers;
  #lastId = "";
  #pause = FIRST_PAUSE_MS;
  #failures = 0;
  #heard = 0;
  #request = null;
  #timer = 0;
  #look;
  closed = false;

  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
    this.#look = setInterval(() => this.#checkSilence(), LOOK_MS);
    addEventListener("online", this.#wake);
    document.addEventListener("visibilitychange", this.#wake);
    this.#connect();
  }

  close() {
    this.closed = true;
    clearInterval(this.#look);
    clearTimeout(this.#timer);
    removeEventListener("online", this.#wake);
    document.removeEventListener("visibilitychange", this.#wake);
    this.#request?.abort();
  }

  /** Back from sleep, or on the network again: nothing to wait for. */
  #wake = () => {
    if (document.hidden) return;
    this.#checkSilence();
    if (this.#timer) this.#connect();
  };

  #checkSilence() {
    if (this.#request && performance.now() - this.#heard > SILENCE_MS) this.#request.abort();
  }

  async #connect() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const request = (this.#request = new AbortController());
    this.#heard = performance.now();
    try {
      const headers = { Accept: "text/event-stream", ...(this.#lastId && { "Last-Event-ID": this.#lastId }) };
      const answer = await fetch(this.#url, { headers, cache: "no-store", signal: request.signal });
      if (this.closed) return;
      if (answer.status === 204) return this.#end(() => this.#handlers.over());
      if (answer.ok) await this.#read(answer.body);
      else if (answer.status < 500 && ![408, 425, 429].includes(answer.status)) {
        return this.#end(() => this.#handlers.refused(answer.status));
      }
    } catch (error) {
      // Without a network fetch throws a TypeError; a reader that was given up, an AbortError.
      if (!(error instanceof TypeError) && error.name !== "AbortError") throw error;
    }
    if (!this.closed) this.#again();
  }

  #end(tell) {
    this.close();
    tell();
  }

  #again() {
    this.#request = null;
    const pause = Math.min(this.#pause * 2 ** this.#failures, LONGEST_PAUSE_MS) * (0.75 + Math.random() / 2);
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#connect(), pause);
    this.#handlers.lost(pause);
  }

  async #read(body) {
    this.#handlers.open();
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done || this.closed) return;
      this.#heard = performance.now();
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      let until = performance.now() + PORTION_MS;
      for (const block of blocks) {
        if (this.closed) return;
        this.#take(block);
        if (performance.now() < until) continue;
        await breath();
        until = performance.now() + PORTION_MS;
      }
    }
  }

  #take(block) {
    const data = [];
    for (const line of block.split(/\r?\n/)) {
      const [, name, value] = line.match(/^([a-z]+): ?(.*)$/) ?? [];
      if (name === "id") this.#lastId = value;
      else if (name === "data") data.push(value);
      else if (name === "retry" && /^\d+$/.test(value)) this.#pause = Number(value);
    }
    if (!data.length) return;
    this.#failures = 0;
    try {
      this.#handlers.event(JSON.parse(data.join("\n")));
    } catch (error) {
      // A mistake of ours is no broken network.
      reportError(error);
    }
  }
}

/** Let the browser do what waits. */
function breath() {
  return globalThis.scheduler?.yield?.() ?? new Promise((done) => setTimeout(done));
}
