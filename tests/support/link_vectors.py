"""What people paste, and the link it becomes: held against the server's code and against the form's script."""

from __future__ import annotations

from typing import Any

GH: dict[str, Any] = {
    "displayName": "GitHub",
    "id": "gh",
    "spec": {"validateRegex": r"[^/]+/[^/]+/.+"},
    "detect": {"regex": r"^(https?://github\.com/)?(?<repo>.*?)/?$"},
    "repo": {"label": "GitHub repository name or URL", "placeholder": "owner/name", "urlEncode": False},
    "ref": {"enabled": True, "default": "HEAD"},
}
GIT: dict[str, Any] = {
    "displayName": "Git repository",
    "id": "git",
    "spec": {"validateRegex": r"[^/]+/.+"},
    "repo": {"label": "Git repository URL", "placeholder": "https://git.example.com/repo", "urlEncode": True},
    "ref": {"enabled": True, "default": "HEAD"},
}
ZENODO: dict[str, Any] = {
    "displayName": "Zenodo DOI",
    "id": "zenodo",
    "spec": {"validateRegex": r"10\.\d+\/(.)+"},
    "repo": {"label": "Zenodo DOI", "placeholder": "10.5281/zenodo.3242074", "urlEncode": False},
    "ref": {"enabled": False},
}
GL: dict[str, Any] = {
    "displayName": "GitLab",
    "id": "gl",
    "spec": {"validateRegex": r"[^/]+/.+"},
    "detect": {"regex": r"^(https?://gitlab\.com/)?(?<repo>.*?)/?$"},
    "repo": {"label": "GitLab repository", "placeholder": "group/name", "urlEncode": True},
    "ref": {"enabled": True, "default": "HEAD"},
}
PROVIDERS = [GH, GIT, ZENODO, GL]

#: (pasted text, provider chosen by hand, link).
PASTED: list[tuple[str, str, str]] = [
    ("owner/name", "", "v2/gh/owner/name/HEAD"),
    ("owner/name/", "", "v2/gh/owner/name/HEAD"),
    ("  owner/name.git ", "", "v2/gh/owner/name/HEAD"),
    ("owner/name/v1.0", "", "v2/gh/owner/name/v1.0"),
    ("owner/name/feature/save_world", "", "v2/gh/owner/name/feature/save_world"),
    ("https://github.com/o/r", "", "v2/gh/o/r/HEAD"),
    ("http://github.com/o/r/", "", "v2/gh/o/r/HEAD"),
    ("github.com/o/r", "", "v2/gh/o/r/HEAD"),
    ("https://github.com/o/r.git", "", "v2/gh/o/r/HEAD"),
    ("git@github.com:o/r.git", "", "v2/gh/o/r/HEAD"),
    ("ssh://git@github.com/o/r.git", "", "v2/gh/o/r/HEAD"),
    ("https://someone:secret@github.com/o/r", "", "v2/gh/o/r/HEAD"),
    ("https://github.com/o/r/tree/branch", "", "v2/gh/o/r/branch"),
    ("https://github.com/o/r/tree/branch/", "", "v2/gh/o/r/branch"),
    ("https://github.com/o/tree/tree/main", "", "v2/gh/o/tree/main"),
    ("https://github.com/o/r/tree/branch/some/folder", "", "v2/gh/o/r/branch?urlpath=lab%2Ftree%2Fsome%2Ffolder"),
    ("https://github.com/o/r/blob/main/nb.ipynb", "", "v2/gh/o/r/main?labpath=nb.ipynb"),
    ("https://github.com/o/r/blob/main/a%20b/n%C3%BC.ipynb", "", "v2/gh/o/r/main?labpath=a%20b%2Fn%C3%BC.ipynb"),
    ("https://github.com/o/r/blob/main/C%23.ipynb", "", "v2/gh/o/r/main?urlpath=doc%2Ftree%2FC%2523.ipynb"),
    ("https://github.com/o/r/blob/main/readme.md?plain=1#L3", "", "v2/gh/o/r/main?labpath=readme.md"),
    ("https://github.com/o/r/commit/0123456789", "", "v2/gh/o/r/0123456789"),
    ("https://github.com/o/r/releases/tag/v2", "", "v2/gh/o/r/v2"),
    ("https://github.com/o/r/issues/7", "", "v2/gh/o/r/HEAD"),
    ("https://git.example.com/a/b", "", "v2/git/https%3A%2F%2Fgit.example.com%2Fa%2Fb/HEAD"),
    ("https://u:p@git.example.com/a/b/", "", "v2/git/https%3A%2F%2Fgit.example.com%2Fa%2Fb/HEAD"),
    ("git@git.example.com:a/b.git", "", "v2/git/git%40git.example.com%3Aa%2Fb.git/HEAD"),
    (
        "https://git.example.com/g/s/p/-/blob/main/x.ipynb?ref_type=heads",
        "",
        "v2/git/https%3A%2F%2Fgit.example.com%2Fg%2Fs%2Fp/main?labpath=x.ipynb",
    ),
    ("https://gitlab.com/group/sub/project", "", "v2/gl/group%2Fsub%2Fproject/HEAD"),
    ("https://github.com/o/r", "git", "v2/git/https%3A%2F%2Fgithub.com%2Fo%2Fr/HEAD"),
    ("10.5281/zenodo.3242074", "zenodo", "v2/zenodo/10.5281/zenodo.3242074"),
    ("owner/na(me)&'x'#y", "gh", "v2/gh/owner/na%28me%29%26%27x%27%23y/HEAD"),
]

#: (server's address, token, checked path, where the visitor goes).
JOINED: list[tuple[str, str, str, str]] = [
    ("https://h/user/abc/", "TOK", "", "https://h/user/abc/?token=TOK"),
    ("https://h/user/abc/", "T&=#", "lab", "https://h/user/abc/lab?token=T%26%3D%23"),
    ("https://h/user/abc/", "TOK", "lab?reset", "https://h/user/abc/lab?reset&token=TOK"),
    ("https://h/user/abc/", "TOK", "lab??", "https://h/user/abc/lab??&token=TOK"),
    ("https://h/user/abc/", "TOK", "lab?a&", "https://h/user/abc/lab?a&token=TOK"),
    ("https://h/user/abc/", "TOK", "lab/tree/a.ipynb#c?d", "https://h/user/abc/lab/tree/a.ipynb?token=TOK#c?d"),
]
