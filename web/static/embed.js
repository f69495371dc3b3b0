// "Run this article's code": a button for the pages of other sites. It launches a repository, says how it goes in place,
// and opens the session. One file without dependencies: <script src="https://.../embed.js" async></script>

(() => {
  "use strict";
  if (customElements.get("bindery-launch")) return;

  const SCRIPT = document.currentScript ?? document.querySelector('script[src*="/embed.js"]');
  const HOME = new URL(".", SCRIPT?.src || location.href).href;

  const SENTENCES = {
    waiting: "Waiting for a free hand to begin…",
    fetching: "Gathering the repository’s files…",
    building: "Binding the environment…",
    pushing: "Putting the environment on the shelf…",
    built: "Everything is bound. Opening a notebook server…",
    launching: "Opening your notebook server…",
  };
  const PLACE = /^([\w-]{16,32})\.[bs]\d+$/;
  const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g;
  const LOG_LINES = 200;
  const LOG_CHARACTERS = 65_536;
  const RETRIES = 8;
  const LONGEST_PAUSE_MS = 15_000;

  const STYLE = `
    :host { display: block; max-width: 44rem; font: 1rem/1.5 system-ui, sans-serif;
      --ink: #23282b; --quiet: #565e63; --paper: #fff; --line: #cfd4d6; --well: #f4f2ec; --alarm: #a4262c;
      --accent: var(--bindery-accent, #0f5f60); --on-accent: var(--bindery-on-accent, #fff); }
    :host([theme="light"]) { color-scheme: light; }
    :host([theme="dark"]) { color-scheme: dark; }
    @supports (color: light-dark(#000, #fff)) { :host {
      --ink: light-dark(#23282b, #eceae4); --quiet: light-dark(#565e63, #b4bbbf); --paper: light-dark(#fff, #1d2123);
      --line: light-dark(#cfd4d6, #454d51); --well: light-dark(#f4f2ec, #14181a); --alarm: light-dark(#a4262c, #ff9b94);
      --accent: var(--bindery-accent, light-dark(#0f5f60, #6cc7c4));
      --on-accent: var(--bindery-on-accent, light-dark(#fff, #10201f)); } }
    :host([hidden]), [hidden] { display: none !important; }
    * { box-sizing: border-box; margin: 0; }
    .box { border: 1px solid var(--line); border-radius: 10px; background: var(--paper); color: var(--ink); padding: 12px 14px; }
    .row { display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; }
    button, .open { font: inherit; font-weight: 600; border-radius: 8px; padding: 7px 14px; min-height: 40px; cursor: pointer;
      border: 1px solid var(--accent); background: var(--accent); color: var(--on-accent); text-decoration: none; }
    button.quiet { background: transparent; color: var(--ink); border-color: var(--line); font-weight: 500; }
    :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
    .note { color: var(--quiet); font-size: .875rem; margin-inline-start: auto; overflow-wrap: anywhere; }
    a { color: var(--accent); }
    .progress, .failure { margin-top: 10px; }
    .status { font-weight: 600; }
    .detail { color: var(--quiet); font-size: .875rem; overflow-wrap: anywhere; }
    .detail:empty, .status:empty { display: none; }
    .bar { height: 4px; border-radius: 2px; background: var(--line); overflow: hidden; margin: 8px 0; }
    .bar i { display: block; height: 100%; width: 40%; background: var(--accent); border-radius: 2px; }
    @media (prefers-reduced-motion: no-preference) { .bar i { animation: go 1.6s ease-in-out infinite alternate; } }
    @keyframes go { from { margin-inline-start: 0; } to { margin-inline-start: 60%; } }
    summary { cursor: pointer; font-size: .875rem; color: var(--quiet); padding: 4px 0; }
    pre { max-height: 14rem; overflow: auto; background: var(--well); padding: 8px 10px; border-radius: 6px;
      font: .8125rem/1.45 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
    .failure { border-inline-start: 4px solid var(--alarm); padding-inline-start: 10px; }
    .failure strong { color: var(--alarm); }
    iframe { display: block; width: 100%; border: 1px solid var(--line); border-radius: 8px; margin-top: 12px; }
  `;

  class Refusal extends Error {
    constructor({ message, hint, code, retryable }) {
      super((message ?? "").trim());
      Object.assign(this, { hint: (hint ?? "").trim(), code, retryable });
    }
  }

  const element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  /**
   * <bindery-launch repository="https://github.com/owner/name/blob/main/a.ipynb">
   *
   * `repository` is any address that the form takes; `ref`, `path`, `open` (file, url) as there; `label` is the button's
   * text; `target` is `tab` or `frame`; `height` that of the frame; `theme` light or dark, else the page's. It fires
   * `bindery-ready` (detail: url) and `bindery-failed` (detail: code, message).
   */
  class BinderyLaunch extends HTMLElement {
    #parts = null;
    #running = null;
    #log = "";
    #drawing = 0;
    #opened = false;

    connectedCallback() {
      if (!this.#parts) this.#build();
      this.#resume();
    }

    disconnectedCallback() {
      this.#running?.abort();
      this.#running = null;
    }

    /** Begin, as a click on the button does. */
    launch() {
      return this.#attempt(async (signal) => {
        this.#say("Asking the service…");
        const link = await ask(`links?${this.#query()}`, { signal });
        await this.#follow({ ...link, last: "", session: "" }, signal);
      });
    }

    #query() {
      const wanted = { url: this.getAttribute("repository") ?? "" };
      for (const name of ["ref", "path", "open"]) if (this.hasAttribute(name)) wanted[name] = this.getAttribute(name);
      return new URLSearchParams(wanted);
    }

    get #key() {
      return `bindery-launch ${HOME}?${this.#query()}`;
    }

    #build() {
      const label = this.getAttribute("label") || "Run this article’s code";
      const button = element("button", { type: "button", textContent: label });
      const open = element("a", { className: "open", target: "_blank", rel: "noopener", textContent: "Open the notebook" });
      const cancel = element("button", { type: "button", className: "quiet", textContent: "Cancel" });
      const note = element("span", { className: "note" }, "with ", element("a", { href: HOME, target: "_blank", rel: "noopener", textContent: "Bindery" }));
      const status = element("p", { className: "status" });
      status.setAttribute("role", "status");
      const detail = element("p", { className: "detail" });
      const bar = element("div", { className: "bar" }, element("i"));
      bar.setAttribute("aria-hidden", "true");
      const log = element("pre", { tabIndex: 0 });
      log.setAttribute("aria-label", "Log");
      const more = element("details", {}, element("summary", { textContent: "Log" }), log);
      const progress = element("div", { className: "progress" }, status, bar, detail, more);
      const failure = element("div", { className: "failure" });
      failure.setAttribute("role", "alert");
      const box = element("div", { className: "box" }, element("div", { className: "row" }, button, open, cancel, note), progress, failure);
      const root = this.attachShadow({ mode: "open" });
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
      root.adoptedStyleSheets = [sheet];
      root.append(box);
      this.#parts = { root, box, button, open, cancel, status, detail, bar, log, more, progress, failure };
      button.addEventListener("click", () => this.launch());
      cancel.addEventListener("click", () => this.#cancel());
      open.addEventListener("click", (event) => this.#go(event));
      this.#show("idle");
    }

    /** idle, running, ready or failed: what can be seen and pressed. */
    #show(state) {
      const { box, button, open, cancel, bar, progress, failure, status, detail } = this.#parts;
      const focused = this.#parts.root.activeElement;
      box.dataset.state = state;
      button.hidden = state === "running" || state === "ready";
      cancel.hidden = state !== "running";
      open.hidden = state !== "ready";
      bar.hidden = state !== "running";
      progress.hidden = state === "idle";
      failure.hidden = state !== "failed";
      if (state === "failed") status.textContent = detail.textContent = "";
      if (state === "idle") failure.replaceChildren();
      // Whoever pressed a button that goes away finds the next one.
      if (focused?.hidden) (state === "running" ? cancel : state === "ready" ? open : button).focus();
    }

    #say(sentence, detail = "") {
      const { status, detail: line } = this.#parts;
      // Setting the same text again would make some screen readers repeat it.
      if (status.textContent !== sentence) status.textContent = sentence;
      line.textContent = detail;
    }

    /** Run one launch, or what is left of one; whatever ends it is shown. */
    async #attempt(work) {
      if (this.#running) return;
      const running = (this.#running = new AbortController());
      this.#log = "";
      this.#parts.log.textContent = "";
      this.#parts.failure.replaceChildren();
      this.#show("running");
      try {
        await work(running.signal);
      } catch (error) {
        if (!running.signal.aborted) this.#failed(error);
      } finally {
        if (this.#running === running) this.#running = null;
      }
    }

    async #follow(job, signal) {
      for (let tries = 0; tries < RETRIES; tries += 1) {
        if (tries) await pause(Math.min(500 * 2 ** tries, LONGEST_PAUSE_MS), signal);
        try {
          const headers = { Accept: "text/event-stream", ...(job.last && { "Last-Event-ID": job.last }) };
          const response = await fetch(job.build_url, { headers, signal, credentials: "omit", cache: "no-store" });
          if (response.status === 204) return await this.#recall(job, signal);
          if (!response.ok || !response.body) throw new Error(`HTTP ${response.status}`);
          for await (const { id, data } of events(response.body)) {
            tries = 0;
            if (this.#take(job, id, data)) return;
          }
        } catch (error) {
          if (signal.aborted || error instanceof Refusal) throw error;
          if (!job.last) throw unreachable();
        }
        this.#say("The connection was lost. Resuming…");
      }
      throw unreachable();
    }

    /** One event of the stream; true for the last one. */
    #take(job, id, event) {
      job.last = id || job.last;
      const session = id?.match(PLACE)?.[1];
      if (session && session !== job.session) {
        job.session = session;
        this.#save(job);
      }
      const phase = String(event.phase ?? "").toLowerCase();
      if (phase === "failed" || phase === "failure") throw new Refusal(event);
      if (phase === "ready") {
        this.#ready(job, event);
        return true;
      }
      this.#write(event.message ?? "");
      const told = phase === "waiting" || phase === "launching" ? (event.message ?? "").trim() : "";
      if (event.position) this.#say(`You are number ${event.position} in line.`, told);
      else if (SENTENCES[phase]) this.#say(SENTENCES[phase], told);
      return false;
    }

    /** The stream is over: the session's record says how it ended. */
    async #recall(job, signal) {
      const record = job.session ? await ask(`sessions/${job.session}`, { signal }) : {};
      if (record.state === "ready") return this.#ready(job, record);
      throw new Refusal(record.failure ?? { message: record.stop_reason || "The session has ended.", retryable: true });
    }

    #ready(job, { url, token }) {
      const server = new URL(url, HOME);
      const address = new URL(job.opens, server);
      if (!/^https?:$/.test(server.protocol) || !address.href.startsWith(server.href)) {
        throw new Refusal({ message: "The service answered with an address that is none of a session." });
      }
      address.searchParams.append("token", token);
      const { open } = this.#parts;
      open.href = address.href;
      this.#show("ready");
      this.#say("Your notebook is ready.", "It ends when you leave it idle. Download what you want to keep.");
      this.dispatchEvent(new CustomEvent("bindery-ready", { detail: { url: address.href }, bubbles: true }));
      if (this.getAttribute("target") === "frame") this.#frame(address.href);
      // Browsers let a page open a tab only just after a click.
      else if (!this.#opened && navigator.userActivation?.isActive) this.#tab(address.href);
    }

    #go(event) {
      if (this.getAttribute("target") !== "frame") return;
      event.preventDefault();
      this.#frame(this.#parts.open.href);
    }

    #tab(address) {
      this.#opened = true;
      window.open(address, "_blank", "noopener");
    }

    #frame(address) {
      const { box, open } = this.#parts;
      if (box.querySelector("iframe")) return;
      const frame = element("iframe", { src: address, title: "Notebook", allow: "clipboard-read; clipboard-write; fullscreen" });
      frame.height = this.getAttribute("height") || "600";
      box.append(frame);
      open.textContent = "Open it in a tab of its own";
    }

    #failed(error) {
      this.#forget();
      const { failure } = this.#parts;
      const refusal = error instanceof Refusal ? error : new Refusal({ message: "Something went wrong in this button.", hint: String(error) });
      failure.replaceChildren(element("p", {}, element("strong", { textContent: refusal.message || "The launch did not succeed." })));
      if (refusal.hint) failure.append(element("p", { textContent: refusal.hint }));
      const page = element("a", { href: this.#page(), target: "_blank", rel: "noopener", textContent: "Open its own page" });
      failure.append(element("p", {}, page, refusal.code ? ` (${refusal.code})` : ""));
      this.#parts.button.textContent = "Try again";
      this.#show("failed");
      const detail = { code: refusal.code ?? "", message: refusal.message };
      this.dispatchEvent(new CustomEvent("bindery-failed", { detail, bubbles: true }));
    }

    /** The launch on a page of the service, which needs no permission of its operator. */
    #page() {
      const query = this.#query();
      const repository = query.get("url");
      if (repository.startsWith(`${HOME}v2/`)) return repository;
      query.delete("url");
      return `${HOME}launch?${new URLSearchParams({ repo: repository, ...Object.fromEntries(query) })}`;
    }

    async #cancel() {
      const saved = this.#saved();
      this.#running?.abort();
      this.#running = null;
      this.#forget();
      this.#show("idle");
      if (saved) await ask(`sessions/${saved.session}`, { method: "DELETE" }).catch(() => {});
    }

    /** After a reload: the launch that runs, or the notebook that is open. */
    #resume() {
      const saved = this.#saved();
      if (!saved) return;
      this.#opened = true;
      this.#attempt(async (signal) => {
        this.#say("Looking for your notebook…");
        const record = await ask(`sessions/${saved.session}`, { signal }).catch(() => ({}));
        if (record.state === "ready") this.#ready(saved, record);
        else if (record.state === "pending" || record.state === "starting") {
          await this.#follow({ ...saved, last: `${saved.session}.b0` }, signal);
        } else {
          this.#forget();
          this.#show("idle");
        }
      });
    }

    #saved() {
      try {
        return JSON.parse(sessionStorage.getItem(this.#key));
      } catch {
        return null;
      }
    }

    #save({ session, build_url, opens }) {
      try {
        sessionStorage.setItem(this.#key, JSON.stringify({ session, build_url, opens }));
      } catch {
        // A page without storage cannot resume; it works all the same.
      }
    }

    #forget() {
      try {
        sessionStorage.removeItem(this.#key);
      } catch {
        // See above.
      }
    }

    #write(text) {
      this.#log = (this.#log + text).slice(-LOG_CHARACTERS);
      this.#drawing ||= setTimeout(() => this.#draw(), 80);
    }

    #draw() {
      this.#drawing = 0;
      const { log } = this.#parts;
      const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
      const lines = this.#log.replaceAll("\r\n", "\n").replace(ESCAPES, "").split("\n").slice(-LOG_LINES);
      log.textContent = lines.map((line) => line.split("\r").findLast(Boolean) ?? "").join("\n");
      if (atEnd) log.scrollTop = log.scrollHeight;
    }
  }

  /** One answer of the service's API. */
  async function ask(path, options) {
    let response;
    try {
      response = await fetch(`${HOME}api/v1/${path}`, { ...options, credentials: "omit", cache: "no-store" });
    } catch (error) {
      throw options.signal?.aborted ? error : unreachable();
    }
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Refusal({ ...answer, message: answer.title ?? `The service answered HTTP ${response.status}.` });
    return answer;
  }

  function unreachable() {
    const hint = "It may be down, or may not let this site launch notebooks. Its own page may work.";
    return new Refusal({ message: "The notebook service cannot be reached from this page.", hint, code: "unreachable", retryable: true });
  }

  function pause(milliseconds, signal) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, milliseconds);
      signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
    });
  }

  /** Server-sent events: {id, data}. EventSource cannot resume after a reload. */
  async function* events(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let [rest, id] = ["", ""];
    try {
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        const lines = (rest + part.value).split("\n");
        rest = lines.pop();
        for (const line of lines) {
          if (line.startsWith("id: ")) id = line.slice(4);
          else if (line.startsWith("data: ")) yield { id, data: JSON.parse(line.slice(6)) };
        }
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  customElements.define("bindery-launch", BinderyLaunch);

  /** Links that ask for it become buttons; without this script they stay links. */
  function upgrade() {
    for (const link of document.querySelectorAll("a[data-bindery]")) {
      const made = document.createElement("bindery-launch");
      made.setAttribute("repository", link.href);
      made.setAttribute("label", link.textContent.trim());
      for (const name of ["target", "height", "theme"]) if (link.dataset[name]) made.setAttribute(name, link.dataset[name]);
      link.replaceWith(made);
    }
  }
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", upgrade);
  else upgrade();
})();
