"""Markdown as harmless HTML: rendered, then reduced to what is allowed by name."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from html import escape

import nh3
from markdown_it import MarkdownIt

from builder.documents import pictures
from builder.documents.source import Source

_TAGS = {
    *("a", "abbr", "b", "blockquote", "br", "caption", "center", "cite", "code", "dd", "del", "details", "dfn", "div"),
    *("dl", "dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "ins", "kbd"),
    *("li", "mark", "ol", "p", "picture", "pre", "q", "s", "samp", "small", "span", "strike", "strong", "sub"),
    *("summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "tt", "u", "ul", "var"),
}
#: What is left out with everything in it.
_CONTENT = {
    *("script", "style", "svg", "math", "iframe", "object", "embed", "template", "noscript", "textarea", "title"),
    *("select", "form", "audio", "video", "canvas", "noembed", "noframes", "xmp", "plaintext", "frameset"),
}
_ATTRIBUTES = {
    "a": {"href", "title"},
    "img": {"src", "alt", "title", "width", "height"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
}
_ALIGNED = {"left", "right", "center"}
_ALIGNABLE = ("p", "div", "h1", "h2", "h3", "td", "th", "img")
_NUMBER = re.compile(r"\d{1,4}")
_EMBEDDED = re.compile(r"data:image/(?:png|jpeg|gif);base64,(?P<data>[A-Za-z0-9+/=\s]{1,700000})")
_IMAGE = re.compile(r"<img(?P<attributes>[^>]*)>")

_MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
_MARKDOWN.validateLink = lambda url: True  # type: ignore[method-assign]

AttributeFilter = Callable[[str, str, str], str | None]


def render(text: str, source: Source, attachments: Mapping[str, str] | None = None) -> str:
    """Markdown, with the HTML in it, as HTML that can be shown. `attachments` are pictures' addresses by name."""
    return clean(_MARKDOWN.render(text), source, attachments or {})


def plain(text: str) -> str:
    """Any other text, as it is."""
    return f"<pre>{escape(text)}</pre>"


def clean(html: str, source: Source, attachments: Mapping[str, str]) -> str:
    """HTML reduced to the tags and attributes above; nothing in it asks for anything by itself."""
    reduced = nh3.clean(
        html,
        tags=_TAGS,
        clean_content_tags=_CONTENT,
        attributes=_ATTRIBUTES,
        tag_attribute_values={tag: {"align": _ALIGNED} for tag in _ALIGNABLE},
        attribute_filter=_filter(source, attachments),
        url_schemes={"http", "https", "mailto", "data", "attachment"},
        set_tag_attribute_values={"a": {"target": "_blank"}},
        link_rel="noopener noreferrer nofollow",
        strip_comments=True,
    )
    # Attributes are escaped now: no ">" is in them.
    return _IMAGE.sub(_shown, reduced)


def _filter(source: Source, attachments: Mapping[str, str]) -> AttributeFilter:
    def allowed(tag: str, attribute: str, value: str) -> str | None:
        if (tag, attribute) == ("a", "href"):
            return _link(source, value)
        if (tag, attribute) == ("img", "src"):
            return _picture(source, attachments, value)
        if attribute in ("width", "height", "start", "colspan", "rowspan"):
            return value if _NUMBER.fullmatch(value) else None
        return value

    return allowed


def _link(source: Source, address: str) -> str | None:
    address = address.strip()
    if re.match(r"(https?://|mailto:)", address, re.IGNORECASE):
        return address
    return source.link(address) or None


def _picture(source: Source, attachments: Mapping[str, str], address: str) -> str | None:
    if address.startswith("attachment:"):
        return attachments.get(address.removeprefix("attachment:"))
    if embedded := _EMBEDDED.fullmatch(address):
        return decoded(embedded["data"]) or None
    content = source.pictures.get(source.beside(address))
    return (pictures.data_uri(content) or None) if content is not None else None


def decoded(text: str) -> str:
    """The address of a picture that is given as base64; empty for what is no picture."""
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return pictures.data_uri(content)


def _shown(image: re.Match[str]) -> str:
    """A picture without an address becomes its description."""
    attributes = image["attributes"]
    alt = re.search(r' alt="([^"]*)"', attributes)
    if ' src="' not in attributes:
        return f'<span class="picture">{alt[1]}</span>' if alt and alt[1] else ""
    return image[0] if alt else f'<img alt=""{attributes}>'
