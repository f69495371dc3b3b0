"""Which commit a ref is: exact branch, else tag, else a full commit id."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from bindery.errors import InvalidSpec, RefNotFound
from builder import git
from builder.git import Remote

_FULL_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ABBREVIATED = re.compile(r"[0-9a-f]{4,39}")
#: What no ref name contains (git-check-ref-format).
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.$|/$|^/|\.lock(/|$)|(^|/)\.")
#: Default branches of former and present days: a link that names one still works after a rename.
_DEFAULT_BRANCHES = ("main", "master")


@dataclass(frozen=True)
class Found:
    """A ref's commit. `name` is the full ref name, empty for a commit id; `notice` explains a courtesy."""

    commit: str
    name: str
    notice: str = ""


def check(ref: str) -> str:
    """Return the ref if it could be one; raises `InvalidSpec` for text that no branch, tag or commit is called."""
    if not ref or len(ref) > 250 or ref.startswith("-") or _FORBIDDEN.search(ref):
        raise InvalidSpec(
            f"{ref[:80]!r} cannot be the name of a branch, tag or commit.", hint="Use HEAD for the default branch."
        )
    return ref


def is_commit(ref: str) -> bool:
    """Whether the text is a full commit id."""
    return _FULL_ID.fullmatch(ref) is not None


async def find(remote: Remote, ref: str, timeout_seconds: float) -> Found:
    """Ask a repository for a ref's commit.

    Raises `RefNotFound` with what is near, `RepositoryEmpty`, or what `git.advertised` raises.
    """
    if is_commit(ref):
        return Found(ref, "")
    names = _candidates(ref)
    advertised = await git.advertised(remote, "HEAD", *names, timeout_seconds=timeout_seconds)
    for name in names:
        if name in advertised:
            return Found(advertised[name], name.removesuffix("^{}"))
    if ref in _DEFAULT_BRANCHES and "HEAD" in advertised:
        return Found(advertised["HEAD"], "HEAD", _renamed(ref))
    raise await _not_found(remote, ref, "HEAD" in advertised, timeout_seconds)


def _candidates(ref: str) -> tuple[str, ...]:
    if ref == "HEAD":
        return ("HEAD",)
    if ref.startswith(("refs/heads/", "refs/tags/")):
        return (f"{ref}^{{}}", ref)
    return (f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}")


def _renamed(ref: str) -> str:
    first = 'GitHub has changed default branches from "master" to "main".\n' if ref == "master" else ""
    return (
        f"{first}Tip: HEAD will always resolve to the default branch.\n"
        f"Trying again with HEAD instead of {ref}. Please update your links.\n"
    )


async def _not_found(remote: Remote, ref: str, has_head: bool, timeout_seconds: float) -> Exception:
    everything = await git.advertised(remote, timeout_seconds=timeout_seconds)
    if not everything and not has_head:
        return git.empty(remote)
    short = sorted({_short(name) for name in everything if name.startswith(("refs/heads/", "refs/tags/"))})
    near = difflib.get_close_matches(ref, short, n=3, cutoff=0.5)
    hint = _meant(near, short)
    if _ABBREVIATED.fullmatch(ref):
        hint = "Short commit ids cannot be looked up: give all 40 characters. " + hint
    sentence = f"The repository has no branch, tag or commit called {ref}."
    return RefNotFound(sentence, hint=hint.strip(), suggestions=[*near, "HEAD"] if has_head else near)


def _short(name: str) -> str:
    return name.removesuffix("^{}").removeprefix("refs/heads/").removeprefix("refs/tags/")


def _meant(near: list[str], names: list[str]) -> str:
    if near:
        return f"Did you mean {' or '.join(near)}?"
    some = ", ".join(names[:5])
    return f"It has, for example: {some}. HEAD is the default branch." if some else "HEAD is the default branch."
