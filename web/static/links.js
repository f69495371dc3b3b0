// Links, as the form needs them while one types. The same rules, in the same order, as web/links.py; the tests hold
// both to the same vectors.

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

function encodeAll(text) {
  return encodeURIComponent(text).replace(/[!'()*]/g, hex);
}

function encodeLink(text) {
  return encodeURI(text).replace(/[#?&'()]/g, hex);
}

function hex(character) {
  return "%" + character.charCodeAt(0).toString(16).toUpperCase();
}
