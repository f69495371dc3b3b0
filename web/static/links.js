// Links, as the form needs them while one types. The same rules, in the same order, as web/links.py; the tests hold
// both to the same vectors.

const PAGE =
  /^(?<repo>[^/]+\/[^/]+?)(?:\.git)?(?:\/(?<kind>tree|blob|raw|commit|releases\/tag|src(?:\/branch|\/tag|\/commit)?)\/(?<ref>[^/]+)(?:\/(?<path>.*?))?|\/(?<rest>.*?))?\/*$/;
const GITLAB_PAGE =
  /^(?<repo>https?:\/\/[^/]+\/.+?)\/-\/(?<kind>tree|blob|raw|commit|tags)\/(?<ref>[^/]+)(?:\/(?<path>.*?))?\/*$/;
const LOGIN = /^(https?:\/\/)[^/?#]*@/;
const SCP_LIKE = /^(?:ssh:\/\/)?[^@/\s]+@(?<host>[^:/]+)[:/](?<path>.+)$/;
const BARE_DOI = /^10\.\d+\/\S+$/;
const BARE_HOST = /^[^/@:\s]+\.[^/@:\s]+\/[^/]+\/.+$/;

/** What a pasted text names: {provider, repo, ref, path, open_as}; `chosen` is a provider id picked by hand. */
export function recognise(text, providers, chosen = "") {
  text = text.trim().replace(LOGIN, "$1");
  const known = new Map(providers.map((provider) => [provider.id, provider]));
  if (known.has(chosen)) return read(text, known.get(chosen));
  for (const provider of providers) {
    if (detected(text, provider) !== null) return read(text, provider);
  }
  if (text.includes("://") || SCP_LIKE.test(text)) return read(text, known.get("git") ?? providers.at(-1));
  return read(text, providers[0]);
}

/** The link of a target, relative to the service's address. */
export function launchPath(target, provider) {
  let spec = provider.repo.urlEncode ? encodeAll(target.repo) : encodeLink(target.repo);
  if (provider.ref.enabled) spec += "/" + encodeLink(target.ref || provider.ref.default || "HEAD");
  return `v2/${provider.id}/${spec}${pathQuery(target.path, target.open_as)}`;
}

/** The query of a link that opens `path`, with its question mark. */
export function pathQuery(path, openAs) {
  if (!path) return "";
  // `labpath` would read them as the beginning of a query or fragment.
  if (openAs !== "url" && /[?#]/.test(path)) return pathQuery("doc/tree/" + encodeLink(path), "url");
  return `?${openAs === "url" ? "urlpath" : "labpath"}=${encodeAll(path)}`;
}

/** The badge as one kind of document writes it. */
export function badgeText(template, image, link) {
  return template.replaceAll("{image}", () => image).replaceAll("{link}", () => link);
}

/** A server's address, a path that the service checked, and the token. */
export function joinSession(serverUrl, token, path) {
  const [address, ...fragment] = path.split("#");
  const [, ...query] = address.split("?");
  const separator = !query.length ? "?" : /^$|&$/.test(query.join("?")) ? "" : "&";
  const hash = fragment.length ? "#" + fragment.join("#") : "";
  return `${serverUrl}${address}${separator}token=${encodeAll(token)}${hash}`;
}

function detected(text, provider) {
  if (!provider.detect?.regex) return null;
  const expression = new RegExp(provider.detect.regex);
  for (const form of forms(text)) {
    const repo = form.match(expression)?.groups.repo;
    if (repo !== undefined && repo !== form.replace(/\/+$/, "")) return repo;
  }
  return null;
}

function forms(text) {
  const { host, path } = text.match(SCP_LIKE)?.groups ?? {};
  if (host) return [`https://${host}/${path}`];
  if (BARE_DOI.test(text)) return [`https://doi.org/${text}`];
  return BARE_HOST.test(text) ? [text, `https://${text}`] : [text];
}

function read(text, provider) {
  const own = detected(text, provider);
  const plain = { provider: provider.id, repo: trimEnd(own ?? text), ref: "", path: "", open_as: "file" };
  if (provider.repo.urlEncode) {
    const found = own === null ? text.split(/[?#]/)[0].match(GITLAB_PAGE) : null;
    return found ? page(plain, found.groups) : plain;
  }
  const name = own === null ? text : own.split(/[?#]/)[0];
  const target = { ...plain, repo: trimEnd(name) };
  const found = provider.ref.enabled ? name.match(PAGE)?.groups : null;
  if (!found) return target;
  if (found.rest && own === null) return { ...target, repo: found.repo, ref: found.rest };
  return page(target, found);
}

function page(target, { repo, kind, ref, path }) {
  const named = { ...target, repo, ref: decode(ref ?? "") };
  if (!path) return named;
  // Gitea and Bitbucket show folders and files at the same kind of address.
  return kind === "tree" || (kind.startsWith("src") && !path.split("/").at(-1).includes("."))
    ? { ...named, path: "lab/tree/" + path, open_as: "url" }
    : { ...named, path: decode(path) };
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

function encodeAll(text) {
  return encodeURIComponent(text).replace(/[!'()*]/g, hex);
}

function encodeLink(text) {
  return encodeURI(text).replace(/[#?&'()]/g, hex);
}

function hex(character) {
  return "%" + character.charCodeAt(0).toString(16).toUpperCase();
}
