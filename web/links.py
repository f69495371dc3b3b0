"""Links: making what people share, and keeping a session's path inside the session. `pasted` reads what they paste.

Pure functions. `static/links.js` holds the few of them that the form needs while one types; both are held to the same
vectors by the tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from bindery.errors import PathRefused

Provider = Mapping[str, Any]

#: How a badge is written in each kind of document; `{image}` and `{link}` are absolute addresses.
BADGE_TEXTS: Mapping[str, str] = {
    "markdown": "[![Launch in Bindery]({image})]({link})",
    "rst": ".. image:: {image}\n   :target: {link}\n   :alt: Launch in Bindery",
    "html": '<a href="{link}"><img src="{image}" alt="Launch in Bindery"></a>',
    "asciidoc": 'image:{image}["Launch in Bindery",link="{link}"]',
}

#: Parameters of a link that say what to open; the first one given counts.
PATH_NAMES = ("labpath", "filepath", "urlpath")

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_DOT = re.compile(r"\.|%2e", re.IGNORECASE)
_DECODINGS = 4

#: Where JupyterLab and the classic notebook open files.
_OPENED = re.compile(r"(?:(?:lab|doc)/tree|tree|notebooks|edit|files|retro/notebooks)/(?P<file>.+\.[A-Za-z0-9]+)/?$")

#: What `encodeURI` leaves alone, and what browsers leave alone in a path, a query and a fragment.
_URI = ";,/?:@&=+$-_.!~*'()#"
_PATH = "%/:@!$&'()*+,;=~-._[]"
_QUERY = "%/:@!$&()*+,;=~-._[]?|`{}^"
_FRAGMENT = _PATH + "?|{}^#"
#: A link's own path: also free of what ends a link in Markdown or HTML.
_LINK = ";,/:@=+$-_.!~*"

#: A user name and password in an address; the first group is what stays.
LOGIN = re.compile(r"^(https?://)[^/?#]*@")


@dataclass(frozen=True)
class Target:
    """What a visitor wants to launch. `open_as` says what `path` is: a `file` of the repository, or a `url` inside."""

    provider: str
    repo: str
    ref: str = ""
    path: str = ""
    open_as: str = "file"


# --- inside a session ---------------------------------------------------------------------------------------


def open_path(query: Mapping[str, str]) -> str:
    """The path, query and fragment to open inside a session, relative to the server's address, without leading slash.

    `labpath` beats `filepath` beats `urlpath`. The answer is resolved as a browser would resolve it and can be appended
    to, or resolved against, an address that ends with a slash: both stay below it. Raises `PathRefused` for the rest.
    """
    given = {name: query.get(name, "") for name in PATH_NAMES}
    if _UNPRINTABLE.search("".join(given.values())):
        raise PathRefused("The path to open contains characters that no path has.")
    if lab := given["labpath"].strip("/"):
        wanted = "doc/tree/" + quote(lab, safe=_URI)
    elif file := given["filepath"].strip("/"):
        wanted = "tree/" + quote(file, safe=_URI)
    else:
        wanted = given["urlpath"]
    return _inside(wanted.strip(" ").lstrip("/ "))


def session_url(server_url: str, token: str, query: Mapping[str, str]) -> str:
    """Where a visitor goes when the server is ready; the token is added to the path's own query."""
    return join_session(server_url, token, open_path(query))


def join_session(server_url: str, token: str, path: str) -> str:
    """A server's address, a path that `open_path` checked, and the token."""
    address, hash_sign, fragment = path.partition("#")
    _, question_mark, query = address.partition("?")
    separator = "?" if not question_mark else "&" if query and not query.endswith("&") else ""
    return f"{server_url}{address}{separator}token={quote(token, safe='')}{hash_sign}{fragment}"


def _inside(wanted: str) -> str:
    rest, hash_sign, fragment = wanted.partition("#")
    path, question_mark, query = rest.partition("?")
    if _SCHEME.match(path):
        raise PathRefused(f"The path to open names another address: {path}")
    path = _without_dots(path, wanted).lstrip("/ ")
    if _SCHEME.match(path) or not _harmless(path):
        raise PathRefused(f"The path to open would lead out of the session: {wanted}")
    return (
        quote(path, safe=_PATH)
        + (question_mark + quote(query, safe=_QUERY) if query else "")
        + (hash_sign + quote(fragment, safe=_FRAGMENT) if fragment else "")
    )


def _without_dots(path: str, wanted: str) -> str:
    """Resolve `.` and `..`, plain or encoded, as a browser does; refuse to climb above the start."""
    segments: list[str] = []
    for segment in path.split("/"):
        plain = _DOT.sub(".", segment)
        if plain == "..":
            if not segments:
                raise PathRefused(f"The path to open would lead out of the session: {wanted}")
            segments.pop()
        elif plain != ".":
            segments.append(segment)
    if path.endswith(("/.", "/..")) or _DOT.sub(".", path.rsplit("/", 1)[-1]) in (".", ".."):
        segments.append("")
    return "/".join(segments)


def _harmless(path: str) -> bool:
    """Whether no reader of the path, however often it decodes, finds a way up in it."""
    for _ in range(_DECODINGS):
        if "\\" in path or _UNPRINTABLE.search(path) or ".." in path.split("/"):
            return False
        decoded = unquote(path)
        if decoded == path:
            return True
        path = decoded
    return False


# --- what people share --------------------------------------------------------------------------------------


def launch_path(target: Target, provider: Provider) -> str:
    """The link of a target, relative to the service's address: `v2/gh/owner/name/HEAD?labpath=a.ipynb`."""
    encode = provider["repo"].get("urlEncode")
    spec = quote(target.repo, safe="" if encode else _LINK)
    if provider["ref"].get("enabled"):
        ref = target.ref or provider["ref"].get("default") or "HEAD"
        spec = f"{spec}/{quote(ref, safe=_LINK)}"
    return f"v2/{provider['id']}/{spec}{path_query(target.path, target.open_as)}"


def path_query(path: str, open_as: str) -> str:
    """The query of a link that opens `path`, with its question mark; empty for no path."""
    if not path:
        return ""
    if open_as == "file" and re.search("[?#]", path):
        # `labpath` would read them as the beginning of a query or fragment.
        path, open_as = "doc/tree/" + quote(path, safe=_LINK), "url"
    return f"?{'urlpath' if open_as == 'url' else 'labpath'}={quote(path, safe='')}"


def badge_text(kind: str, image: str, link: str) -> str:
    """The badge as one kind of document writes it; see `BADGE_TEXTS`."""
    return BADGE_TEXTS[kind].replace("{image}", image).replace("{link}", link)


# --- what people see ----------------------------------------------------------------------------------------


def shown(spec: str, provider: Provider) -> tuple[str, str]:
    """Repository and ref of a raw spec as people read them, without a login."""
    if provider["repo"].get("urlEncode"):
        repo, _, ref = spec.partition("/")
        return LOGIN.sub(r"\1", unquote(repo)), unquote(ref)
    if not provider["ref"].get("enabled"):
        return unquote(spec), ""
    parts = spec.split("/", 2)
    return unquote("/".join(parts[:2])), unquote(parts[2]) if len(parts) > 2 else ""


def without_login(spec: str, provider: Provider) -> str:
    """The raw spec, free of a user name and password in its address."""
    if not provider["repo"].get("urlEncode"):
        return spec
    encoded, slash, ref = spec.partition("/")
    address = unquote(encoded)
    clean = LOGIN.sub(r"\1", address)
    return spec if clean == address else quote(clean, safe="") + slash + ref


def with_ref(spec: str, provider: Provider) -> str:
    """A raw spec with `{ref}` in place of its ref; as it is where the provider knows none."""
    if not provider["ref"].get("enabled"):
        return spec
    parts = spec.split("/")
    return "/".join([*parts[: 1 if provider["repo"].get("urlEncode") else 2], "{ref}"])


def opened_file(path: str) -> str:
    """The file of the repository that a path inside the session opens; empty where that is not known."""
    found = _OPENED.match(path.partition("#")[0].partition("?")[0])
    return unquote(found["file"]).strip("/") if found else ""


def suggestion(spec: str, provider: Provider) -> str:
    """A spec that would do in place of one that lacks its ref; empty when there is none."""
    completed = f"{spec}/{provider['ref'].get('default') or 'HEAD'}"
    follows = re.fullmatch(provider["spec"]["validateRegex"], completed)
    return completed if provider["ref"].get("enabled") and spec and follows else ""
