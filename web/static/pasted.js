// What people paste, read while one types: web/pasted.py in JavaScript, going through the same rules, which it is given.

const LOGIN = /^(https?:\/\/)[^/?#]*@/;
const SSH = /^(?:ssh:\/\/[^@/\s]+@(?<ssh>[^:/]+)(?::\d+)?\/|[^@:/\s]+@(?<scp>[^:/]+)[:/])(?<path>.+)$/;
const BARE_DOI = /^10\.\d+\/\S+$/;
const BARE_HOST = /^[^/@:\s]+\.[A-Za-z]{2,}\/.+$/;
const LINK = /^https?:\/\/[^?#]+?\/v2\/(?<provider>[a-z0-9-]+)\/(?<spec>[^?#]+?)\/*(?:\?(?<query>[^#]*))?(?:#.*)?$/;

/**
 * What a pasted text names: {provider, repo, ref, path, open_as}. `rules` are those of the page's configuration;
 * `chosen` is a provider id picked by hand.
 */
export function recognise(text, providers, rules, chosen = "") {
  text = text.trim().replace(/^git\+/, "").replace(LOGIN, "$1");
  const known = new Map(providers.map((provider) => [provider.id, provider]));
  if (known.has(chosen)) return read(text, known.get(chosen), rules);
  const link = linked(text, known);
  if (link) return link;
  const host = hostOf(text, providers, rules);
  if (host) return read(text, host, rules);
  const git = known.get("git") ?? providers.at(-1);
  if (SSH.test(text)) return read(text, git, rules);
  const plain = address(text, rules);
  return read(plain, plain.includes("://") ? git : providers[0], rules);
}

/** Whether a pattern matches the whole text. */
export function matches(pattern, text) {
  return new RegExp(`^(?:${pattern})$`).test(text);
}

function linked(text, known) {
  const found = text.match(LINK)?.groups;
  const provider = known.get(found?.provider);
  if (!provider || !matches(provider.spec.validateRegex, found.spec)) return null;
  const query = new URLSearchParams(found.query ?? "");
  const file = query.get("labpath") || query.get("filepath") || "";
  const url = query.get("urlpath") ?? "";
  return { provider: provider.id, ...shown(found.spec, provider), path: file || url, open_as: url && !file ? "url" : "file" };
}

function shown(spec, provider) {
  const parts = spec.split("/");
  if (provider.repo.urlEncode) return { repo: decode(parts[0]).replace(LOGIN, "$1"), ref: decode(parts.slice(1).join("/")) };
  if (!provider.ref.enabled) return { repo: decode(spec), ref: "" };
  return { repo: decode(parts.slice(0, 2).join("/")), ref: decode(parts.slice(2).join("/")) };
}

function hostOf(text, providers, rules) {
  const plain = trimEnd(address(text, rules));
  const found = new Map(providers.map((provider) => [provider, detected(text, provider, rules)]));
  const known = providers.filter((provider) => found.get(provider) !== null);
  return known.find((provider) => found.get(provider) !== plain) ?? known[0];
}

function detected(text, provider, rules) {
  if (!provider.detect?.regex) return null;
  const expression = new RegExp(provider.detect.regex);
  for (const form of [text, address(text, rules)]) {
    const repo = form.match(expression)?.groups.repo;
    if (repo !== undefined && (repo !== trimEnd(form) || !expression.test(""))) return repo;
  }
  return null;
}

function address(text, { aliases }) {
  const { ssh, scp, path } = text.match(SSH)?.groups ?? {};
  if (path) text = `https://${ssh ?? scp}/${path}`;
  else if (BARE_DOI.test(text)) text = `https://doi.org/${text}`;
  else if (BARE_HOST.test(text)) text = `https://${text}`;
  for (const [pattern, becomes] of aliases) {
    const groups = text.match(new RegExp(pattern))?.groups;
    if (groups) text = becomes.replace(/\{(\w+)\}/g, (_, name) => groups[name]);
  }
  return text;
}

function read(text, provider, rules) {
  const own = detected(text, provider, rules);
  const target = { provider: provider.id, repo: trimEnd(own ?? text), ref: "", path: "", open_as: "file" };
  if (!provider.ref.enabled) return target;
  const named = own !== null || text.includes("://");
  const name = named ? (own || text).split(/[?#]/)[0] : text;
  for (const pattern of patterns(provider, named, rules)) {
    const groups = name.match(new RegExp(pattern))?.groups;
    if (groups) return page(target, groups);
  }
  return own === null ? target : { ...target, repo: trimEnd(name) };
}

function patterns({ id, repo }, named, { pages, typed, anyPage }) {
  if (repo.urlEncode) return pages[id] ?? [];
  return [...(pages[id] ?? pages[""]), named ? anyPage : typed];
}

function page(target, { repo, ref, folder, file, place }) {
  const named = { ...target, repo, ref: decode(ref ?? "") };
  const isFile = place?.split("/").at(-1).includes(".");
  if (file || isFile) return { ...named, path: decode(file || place) };
  if (folder || place) return { ...named, path: "lab/tree/" + (folder || place), open_as: "url" };
  return named;
}

function trimEnd(text) {
  return text.replace(/\/+$/, "");
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
