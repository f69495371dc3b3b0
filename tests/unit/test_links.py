from __future__ import annotations

from urllib.parse import parse_qs, unquote, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bindery.errors import PathRefused
from bindery.settings import ProviderSettings
from builder.guard import Guard, GuardedClient
from builder.providers import providers
from tests.support.link_vectors import GH, GIT, JOINED, PASTED, PROVIDERS, ZENODO
from web import badges, links, pasted

SERVER = "https://hub.example.org/user/abc/"

REDIRECTS = [
    ("", "?token=TOK"),
    ("urlpath=lab/tree/a.ipynb", "lab/tree/a.ipynb?token=TOK"),
    ("urlpath=%2Fdoc%2Ftree%2Fa%20b.ipynb", "doc/tree/a%20b.ipynb?token=TOK"),
    ("labpath=a%20b/c.ipynb/", "doc/tree/a%20b/c.ipynb?token=TOK"),
    ("filepath=n%C3%BC.ipynb", "tree/n%C3%BC.ipynb?token=TOK"),
    ("urlpath=rstudio%3Ffoo%3Dbar", "rstudio?foo=bar&token=TOK"),
    (
        "urlpath=git-pull%3Frepo%3Dhttps%253A%252F%252Fgithub.com%252Fa%252Fb%26urlpath%3Dlab",
        "git-pull?repo=https%3A%2F%2Fgithub.com%2Fa%2Fb&urlpath=lab&token=TOK",
    ),
    ("urlpath=%2F%2Fevil.example%2Fx", "evil.example/x?token=TOK"),
    # Precedence, and what browsers make of dots.
    ("urlpath=lab&filepath=b.ipynb&labpath=a.ipynb", "doc/tree/a.ipynb?token=TOK"),
    ("urlpath=lab&filepath=b.ipynb&labpath=", "tree/b.ipynb?token=TOK"),
    ("urlpath=lab/../tree/a.ipynb", "tree/a.ipynb?token=TOK"),
    ("urlpath=lab/%252e/a", "lab/a?token=TOK"),
    ("urlpath=lab/tree/..", "lab/?token=TOK"),
    ("urlpath=lab?", "lab?token=TOK"),
    ("urlpath=lab/tree/a.ipynb%23cell-3", "lab/tree/a.ipynb?token=TOK#cell-3"),
    ("labpath=100%2525.ipynb", "doc/tree/100%2525.ipynb?token=TOK"),
]

REFUSED = [
    "https://evil.example/",
    "HTTPS:evil.example",
    "javascript:alert(1)",
    " https://evil.example/",
    "/ /https://evil.example/",
    "../other/",
    "/../other/",
    "lab/../../other/",
    "%2e%2e/other/",
    ".%2E/other/",
    "lab/%2e%2e/%2e%2e/other",
    "..%2fother/",
    "lab/..%2f..%2f..%2fother/",
    "%252e%252e/other/",
    "%252e%252e%252fother/",
    "..\\other",
    "\\\\evil.example",
    "lab%5c..%5c..%5cother",
    "ht\ntps://evil.example",
    "lab\t/..",
    "lab%00",
    "lab%0d%0aSet-Cookie:x",
    "a/../https://evil.example/",
    "%2525252525252e%2525252525252e/",
    "\ud800",
]


def _query(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}


@pytest.mark.parametrize(("query", "expected"), REDIRECTS)
def test_a_visitor_goes_to_the_path_that_the_link_names(query: str, expected: str) -> None:
    assert links.session_url(SERVER, "TOK", _query(query)) == SERVER + expected


@pytest.mark.parametrize("path", REFUSED)
def test_a_path_that_leads_out_of_the_session_is_refused(path: str) -> None:
    with pytest.raises(PathRefused) as refused:
        links.open_path({"urlpath": path})
    assert refused.value.hint


@pytest.mark.parametrize("name", ["labpath", "filepath"])
def test_a_file_above_the_session_is_refused(name: str) -> None:
    with pytest.raises(PathRefused):
        links.open_path({name: "../../../other/x.ipynb"})


_PIECES = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "\\",
        "%2e",
        "%2E",
        "%2f",
        "%5c",
        "%25",
        "%",
        "?",
        "#",
        ":",
        "@",
        "http:",
        "//",
        " ",
        "\t",
        "lab",
        "é",
    ]
)


@given(
    name=st.sampled_from(links.PATH_NAMES),
    path=st.one_of(st.text(max_size=40), st.lists(_PIECES, max_size=12).map("".join)),
)
@example("urlpath", "a/..//evil.example/")
@example("urlpath", "./https:evil")
def test_an_accepted_path_stays_in_the_session_however_it_is_read(name: str, path: str) -> None:
    try:
        opened = links.open_path({name: path})
    except PathRefused:
        return
    assert opened.isascii()
    assert not any(character.isspace() for character in opened)
    appended, resolved = links.join_session(SERVER, "TOK", opened), urljoin(SERVER, opened)
    for address in (appended, resolved, unquote(urlsplit(appended).path), unquote(unquote(urlsplit(appended).path))):
        path_seen = address.removeprefix("https://hub.example.org")
        assert path_seen.startswith("/user/abc/")
        assert ".." not in path_seen.partition("?")[0].partition("#")[0].replace("\\", "/").split("/")
    assert parse_qs(urlsplit(appended).query)["token"][-1] == "TOK"
    assert links.open_path({"urlpath": opened}) == opened


@pytest.mark.parametrize(("server", "token", "path", "expected"), JOINED)
def test_server_path_and_token_are_joined(server: str, token: str, path: str, expected: str) -> None:
    assert links.join_session(server, token, path) == expected


@pytest.mark.parametrize(("text", "chosen", "link"), PASTED)
def test_what_people_paste_becomes_a_link(text: str, chosen: str, link: str) -> None:
    target = pasted.recognise(text, PROVIDERS, chosen)
    provider = next(each for each in PROVIDERS if each["id"] == target.provider)
    assert links.launch_path(target, provider) == link


@given(st.text(max_size=60))
def test_any_text_becomes_a_link_without_a_login_or_a_failure(text: str) -> None:
    target = pasted.recognise(text, PROVIDERS)
    provider = next(each for each in PROVIDERS if each["id"] == target.provider)
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert links.launch_path(target, provider).isascii()


async def test_the_real_providers_are_recognised() -> None:
    client = GuardedClient(Guard(allow_private=False, timeout_seconds=1))
    displays = [provider.display for provider in providers(ProviderSettings(), client).values()]
    for text, prefix in {"https://github.com/o/r": "gh", "o/r": "gh", "https://git.example.com/o/r": "git"}.items():
        assert pasted.recognise(text, displays).provider == prefix


def test_a_badge_names_picture_and_link_in_every_kind_of_document() -> None:
    for kind in links.BADGE_TEXTS:
        text = links.badge_text(kind, "https://b/badge_logo.svg", "https://b/v2/gh/o/r/HEAD")
        assert "https://b/badge_logo.svg" in text
        assert "https://b/v2/gh/o/r/HEAD" in text
        assert "{" not in text


@pytest.mark.parametrize(
    ("spec", "provider", "shown"),
    [
        ("o/r/feature/x", GH, ("o/r", "feature/x")),
        ("https%3A%2F%2Fu%3Ap%40host%2Fa/main", GIT, ("https://host/a", "main")),
        ("10.5281/zenodo.1", ZENODO, ("10.5281/zenodo.1", "")),
    ],
)
def test_a_spec_is_shown_as_repository_and_ref(spec: str, provider: links.Provider, shown: tuple[str, str]) -> None:
    assert links.shown(spec, provider) == shown


def test_a_spec_without_ref_gets_a_suggestion_where_one_helps() -> None:
    assert links.suggestion("user/repo", GH) == "user/repo/HEAD"
    assert links.suggestion("user", GH) == ""
    assert links.suggestion("", GIT) == ""
    assert links.suggestion("nonsense", ZENODO) == ""


def test_a_badge_has_the_usual_size_and_says_what_it_is() -> None:
    picture = badges.launch_badge(mark=True)
    assert 'width="115" height="20"' in picture
    assert "<title>Launch in Bindery</title>" in picture
    assert "<script" not in badges.badge("<script>", "x", title='"><script>')


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("doc/tree/a%20b/n.ipynb", "a b/n.ipynb"),
        ("lab/tree/README.md#top", "README.md"),
        ("lab/tree/n.ipynb?factory=Notebook", "n.ipynb"),
        ("tree/n.ipynb", "n.ipynb"),
        ("notebooks/n.ipynb", "n.ipynb"),
        ("lab/tree/folder", ""),
        ("lab", ""),
        ("rstudio/", ""),
        ("", ""),
    ],
)
def test_the_file_that_a_path_opens_is_known(path: str, file: str) -> None:
    assert links.opened_file(path) == file


@pytest.mark.parametrize(
    ("provider", "spec", "changed"),
    [
        (GH, "o/r/feature/x", "o/r/{ref}"),
        (GIT, "https%3A%2F%2Fh%2Fa/main", "https%3A%2F%2Fh%2Fa/{ref}"),
        (ZENODO, "10.5281/zenodo.1", "10.5281/zenodo.1"),
    ],
)
def test_another_ref_can_take_a_refs_place(provider: links.Provider, spec: str, changed: str) -> None:
    assert links.with_ref(spec, provider) == changed
