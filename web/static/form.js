// The form: what is typed becomes a link and a badge at once.

import { armCopyButtons } from "./copy.js";
import { badgeText, launchPath } from "./links.js";
import { matches, recognise } from "./pasted.js";
import { t } from "./texts.js";

const { publicBaseUrl, repoProviders, badgeTexts, pasted } = window.pageConfig;
const form = document.getElementById("launch-form");
const { repo, ref, path, provider } = form.elements;
const part = (id) => document.getElementById(id);
const filled = { ref: "", path: "" };

function target() {
  const found = recognise(repo.value, repoProviders, pasted, provider.value);
  const typedPath = path.value.trim();
  return {
    ...found,
    ref: ref.value.trim() || found.ref,
    path: typedPath || found.path,
    open_as: typedPath ? form.elements.open.value : found.open_as,
  };
}

/** Fill a field from the pasted address, unless the visitor wrote something into it. */
function fill(field, value) {
  if (field.value && field.value !== filled[field.name]) return;
  field.value = filled[field.name] = value;
}

function fillFromAddress() {
  const found = recognise(repo.value, repoProviders, pasted, provider.value);
  fill(ref, found.ref);
  fill(path, found.path);
  if (found.path && path.value === found.path) form.elements.open.value = found.open_as;
}

function valid(wanted) {
  if (!repo.value.trim()) return false;
  const chosen = repoProviders.find((each) => each.id === wanted.provider);
  const spec = launchPath(wanted, chosen).split("?")[0].split("/").slice(2).join("/");
  return matches(chosen.spec.validateRegex, spec);
}

/** What was recognised: the provider as a label, and the rest. */
function describe(wanted, chosen) {
  const label = Object.assign(document.createElement("span"), { className: "chip", textContent: chosen.displayName });
  const colon = Object.assign(document.createElement("span"), { className: "visually-hidden", textContent: ": " });
  if (!chosen.ref.enabled) return [label, colon, wanted.repo];
  const version = wanted.ref || chosen.ref.default || "HEAD";
  return [label, colon, t("{known}, version {version}", { known: wanted.repo, version })];
}

function show() {
  const wanted = target();
  const complete = valid(wanted);
  part("share-empty").hidden = complete;
  part("share-fields").hidden = !complete;
  part("recognised").textContent = "";
  if (!complete) return;
  const chosen = repoProviders.find((each) => each.id === wanted.provider);
  const link = publicBaseUrl + launchPath(wanted, chosen);
  part("link").value = link;
  part("badge").value = badgeText(badgeTexts[part("format").value], `${publicBaseUrl}badge_logo.svg`, link);
  part("recognised").replaceChildren(...describe(wanted, chosen));
}

function complain(text) {
  part("repo-problem").textContent = text;
  repo.toggleAttribute("aria-invalid", Boolean(text));
  if (text) repo.setAttribute("aria-invalid", "true");
}

form.addEventListener("input", (event) => {
  if (event.target === repo) fillFromAddress();
  if (event.target === repo || event.target === provider) complain("");
  show();
});
part("format").addEventListener("change", show);
form.addEventListener("submit", (event) => {
  if (valid(target())) return;
  event.preventDefault();
  const typed = repo.value.trim();
  if (typed) complain(t("“{typed}” is not a repository's address or an owner/name.", { typed }));
  else complain(t("Please name a repository first."));
  repo.focus();
});

part("share").hidden = false;
armCopyButtons();
show();
