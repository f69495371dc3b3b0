"""What people paste: which repository, version and file an address from a browser, a clone command or a badge names.

The rules are data, in regular expressions that Python and JavaScript both read: `static/pasted.js` gets them with the
form's page, and goes through them as the functions here do. The tests hold both to the same vectors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, unquote

from web.links import LOGIN, Provider, Target, shown

#: The conventional names of branches with a slash; of others, an address does not tell where the branch ends.
_REF = r"(?:refs/(?:heads|tags)/)?(?<ref>(?:feature|feat|bugfix|hotfix|fix)/[^/]+|releases?/v?\d[^/]*|[^/]+)"
_REST = r"(?<ref>.+?)/*$"
_OWNED = r"^(?<repo>[^/]+/[^/]+?)(?:\.git)?"
_HOSTED = r"^(?<repo>https?://[^/]+/[^/]+/[^/]+?)(?:\.git)?"
_GROUPED = r"^(?<repo>.+?)(?:\.git)?/-"
_HF = r"^(?<repo>(?:(?:spaces|datasets)/[^/]+|(?!(?:spaces|datasets)/)[^/]+)/[^/]+?)"


def _below(start: str, kinds: str, what: str) -> str:
    """The pages of one kind: they show a version, or a `folder` or `file` of it, or a `place` that may be either."""
    return rf"{start}/(?:{kinds})/{_REF}(?:/(?<{what}>.*?))?/*$"


_FILES = "blob|raw|resolve|edit|blame"
_GITEA = "branch|tag|commit"


def _forge(start: str) -> tuple[str, ...]:
    """The pages of Gitea and Forgejo, then those of GitHub, and of many that are like it."""
    return (
        _below(start, f"src/(?:{_GITEA})|commits/(?:{_GITEA})", "place"),
        _below(start, f"(?:raw|media|blame|_edit)/(?:{_GITEA})", "file"),
        _below(start, "tree", "folder"),
        _below(start, _FILES, "file"),
        _below(start, "commits?", "place"),
        rf"{start}/releases/tag/{_REST}",
        rf"{start}/archive/(?:refs/(?:heads|tags)/)?(?<ref>.+?)\.(?:zip|tar\.gz|bundle)$",
    )


_GITLAB = (
    _below(_GROUPED, "tree", "folder"),
    _below(_GROUPED, _FILES, "file"),
    _below(_GROUPED, "commits?", "place"),
    rf"{_GROUPED}/(?:tags|releases)/{_REST}",
    rf"{_GROUPED}/.*$",
)

#: The pages that browsers show, by provider: what they look like below its address. "" is any other that has owners.
PAGES: Mapping[str, Sequence[str]] = {
    "": _forge(_OWNED),
    "bitbucket": (
        rf"{_OWNED}/(?:branch|commits/tag)/{_REST}",
        _below(_OWNED, "src|commits", "place"),
        _below(_OWNED, "raw", "file"),
    ),
    "gist": (
        r"^(?<repo>[^/]+/[0-9a-f]+)/raw/(?<ref>[0-9a-f]{40})/(?<file>.+?)/*$",
        r"^(?<repo>[^/]+/[0-9a-f]+)/(?<ref>[0-9a-f]{40})(?:/.*)?$",
        r"^(?<repo>[^/]+/[0-9a-f]+)(?:\.git|/.*)$",
    ),
    "gl": (
        *_GITLAB,
        _below(r"^(?<repo>[^/]+/.+?)", "tree", "folder"),
        _below(r"^(?<repo>[^/]+/.+?)", "blob|raw", "file"),
        r"^(?<repo>.+?)\.git/*$",
    ),
    "hf": (
        _below(_HF, "tree", "folder"),
        _below(_HF, _FILES, "file"),
        _below(_HF, "commits?", "place"),
        rf"{_HF}/.*$",
    ),
    "git": (
        *(pattern.replace(_GROUPED, r"^(?<repo>https?://[^/]+/.+?)(?:\.git)?/-") for pattern in _GITLAB),
        *_forge(_HOSTED),
    ),
}

#: `owner/name/ref`, typed by hand, and the address of any other page of `owner/name`.
TYPED = rf"{_OWNED}(?:/{_REST}|/*$)"
ANY_PAGE = rf"{_OWNED}(?:/.*)?$"

_FIGSHARE = r"^https?://(?:www\.)?figshare\.com/articles/(?:[^/]+/){0,2}?(?<id>\d{4,})"
_ZENODO = r"^https?://zenodo\.org"
_NOTEBOOKS = r"^https?://(?:colab\.research\.google\.com|nbviewer\.(?:jupyter\.)?org)"
_ARCHIVED = r"^(?<host>https?://[^/]+)/browse"
_HASH = r"(?<id>[0-9a-f]{40})(?:[/?;#].*)?$"
_MORE = r"(?:[/?#].*)?$"
_DOI = "https://doi.org/"

#: Addresses that stand for others: expression, and what it becomes, `{...}` being its groups.
ALIASES: Sequence[tuple[str, str]] = (
    (r"^https?://raw\.githubusercontent\.com/(?<repo>[^/]+/[^/]+)/(?<rest>.+)$", "github:{repo}/raw/{rest}"),
    (r"^https?://gist\.githubusercontent\.com/(?<rest>.+)$", "gist:{rest}"),
    (rf"{_NOTEBOOKS}/(?<host>github|gist)/(?<rest>.+)$", "{host}:{rest}"),
    (r"^https?://github\.dev/(?<rest>.+)$", "github:{rest}"),
    (r"^github:(?<rest>[^/]+/.+)$", "https://github.com/{rest}"),
    (r"^gist:(?<rest>[^/]+/.+)$", "https://gist.github.com/{rest}"),
    (r"^gitlab:(?<rest>[^/]+/.+)$", "https://gitlab.com/{rest}"),
    (rf"{_ZENODO}/(?:api/)?records?/(?<id>\d+){_MORE}", _DOI + "10.5281/zenodo.{id}"),
    (rf"{_ZENODO}/badge/DOI/(?<doi>10\..+)\.svg$", _DOI + "{doi}"),
    (rf"{_FIGSHARE}/(?<version>\d{{1,4}}){_MORE}", _DOI + "10.6084/m9.figshare.{id}.v{version}"),
    (rf"{_FIGSHARE}{_MORE}", _DOI + "10.6084/m9.figshare.{id}"),
    (rf"{_ARCHIVED}/revision/{_HASH}", "{host}/swh:1:rev:{id}"),
    (rf"{_ARCHIVED}/directory/{_HASH}", "{host}/swh:1:dir:{id}"),
    (rf"{_ARCHIVED}/release/{_HASH}", "{host}/swh:1:rel:{id}"),
    (rf"{_ARCHIVED}/snapshot/{_HASH}", "{host}/swh:1:snp:{id}"),
)

RULES: Mapping[str, Any] = {"aliases": ALIASES, "pages": PAGES, "typed": TYPED, "anyPage": ANY_PAGE}

_SSH = re.compile(r"(?:ssh://[^@/\s]+@(?P<ssh>[^:/]+)(?::\d+)?/|[^@:/\s]+@(?P<scp>[^:/]+)[:/])(?P<path>.+)")
_BARE_DOI = re.compile(r"10\.\d+/\S+", re.ASCII)
_BARE_HOST = re.compile(r"[^/@:\s]+\.[A-Za-z]{2,}/.+")
_LINK = re.compile(
    r"https?://[^?#]+?/v2/(?P<provider>[a-z0-9-]+)/(?P<spec>[^?#]+?)/*(?:\?(?P<query>[^#]*))?(?:#.*)?", re.ASCII
)


def recognise(text: str, providers: Sequence[Provider], chosen: str = "") -> Target:
    """What a pasted text names: a repository's address, a page of it in a browser, a Binder link, or `owner/name`.

    `chosen` is the id of a provider picked by hand. An empty `ref` or `path` means that the text names none.
    """
    text = LOGIN.sub(r"\1", text.strip().removeprefix("git+"))
    known = {provider["id"]: provider for provider in providers}
    if chosen in known:
        return _read(text, known[chosen])
    if link := _link(text, known):
        return link
    if provider := _host(text, providers):
        return _read(text, provider)
    if _SSH.fullmatch(text):
        return _read(text, known.get("git", providers[-1]))
    address = _address(text)
    return _read(address, known.get("git", providers[-1]) if "://" in address else providers[0])


def _link(text: str, known: Mapping[str, Provider]) -> Target | None:
    """A link of this service, or of any other Binder."""
    found = _LINK.fullmatch(text)
    provider = known.get(found["provider"]) if found else None
    if not found or not provider or not matches(provider["spec"]["validateRegex"], found["spec"]):
        return None
    repo, ref = shown(found["spec"], provider)
    query = {name: values[0] for name, values in parse_qs(found["query"] or "").items()}
    file, url = query.get("labpath") or query.get("filepath") or "", query.get("urlpath", "")
    return Target(provider["id"], repo, ref, file or url, "url" if url and not file else "file")


def _host(text: str, providers: Sequence[Provider]) -> Provider | None:
    """Whose address the text is. Who knows the very host goes before who knows only what its addresses look like."""
    found = {provider["id"]: own for provider in providers if (own := detected(text, provider)) is not None}
    address = _address(text).rstrip("/")
    sure = [provider for provider in providers if found.get(provider["id"], address) != address]
    return next(iter([*sure, *(provider for provider in providers if provider["id"] in found)]), None)


def detected(text: str, provider: Provider) -> str | None:
    """What the provider's own pattern takes from the text as a repository; None when it is no address of its own."""
    pattern = provider.get("detect", {}).get("regex")
    if not pattern:
        return None
    expression = _compiled(pattern)
    for form in dict.fromkeys((text, _address(text))):
        found = expression.match(form)
        # Many patterns match whatever one types; those tell something only when they take an address away.
        if found and (found["repo"] != form.rstrip("/") or not expression.match("")):
            return str(found["repo"])
    return None


def _address(text: str) -> str:
    """The https address that an ssh address, one without protocol, a DOI, or another host's address stands for."""
    if found := _SSH.fullmatch(text):
        text = f"https://{found['ssh'] or found['scp']}/{found['path']}"
    elif _BARE_DOI.fullmatch(text):
        text = f"https://doi.org/{text}"
    elif _BARE_HOST.fullmatch(text):
        text = f"https://{text}"
    for pattern, becomes in ALIASES:
        if found := _compiled(pattern).fullmatch(text):
            text = becomes.format(**found.groupdict())
    return text


def _read(text: str, provider: Provider) -> Target:
    own = detected(text, provider)
    target = Target(provider["id"], (text if own is None else own).rstrip("/"))
    if not provider["ref"].get("enabled"):
        return target
    # A browser's address may carry `?plain=1#L3`.
    named = own is not None or "://" in text
    name = re.split(r"[?#]", own or text)[0] if named else text
    for pattern in _patterns(provider, named):
        if found := _compiled(pattern).fullmatch(name):
            return _page(target, found.groupdict())
    return target if own is None else replace(target, repo=name.rstrip("/"))


def _patterns(provider: Provider, named: bool) -> Sequence[str]:
    own = PAGES.get(provider["id"])
    if provider["repo"].get("urlEncode"):
        return own or ()
    return (*(PAGES[""] if own is None else own), ANY_PAGE if named else TYPED)


def _page(target: Target, page: Mapping[str, str | None]) -> Target:
    target = replace(target, repo=page["repo"] or "", ref=unquote(page.get("ref") or ""))
    place = page.get("place") or ""
    is_file = "." in place.rpartition("/")[2]
    if file := page.get("file") or (is_file and place):
        return replace(target, path=unquote(file))
    if folder := page.get("folder") or place:
        return replace(target, path="lab/tree/" + folder, open_as="url")
    return target


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern that is written for JavaScript matches the whole text."""
    return _compiled(pattern).fullmatch(text) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    # JavaScript and Python write named groups differently.
    return re.compile(re.sub(r"\(\?<(?![=!])", "(?P<", pattern), re.ASCII)
