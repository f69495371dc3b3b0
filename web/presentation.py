"""How an operator presents the service: its name and logo, and messages to its visitors."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass, field
from pathlib import Path

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

from bindery.errors import SettingRefused
from bindery.settings import SiteSettings
from web.assets import Asset, asset

_PICTURES = frozenset({"image/svg+xml", "image/png", "image/jpeg", "image/webp"})
_MOST_BYTES = 512 * 1024
_TAGS = {"p", "a", "em", "strong", "code", "pre", "ul", "ol", "li", "br", "h2", "h3", "blockquote"}


@dataclass(frozen=True)
class Presentation:
    """What the pages call the service, and what they say of it. `contact` is an address that can be linked."""

    name: str = "Bindery"
    logo: Asset | None = None
    banner: Markup = field(default_factory=Markup)
    about: Markup = field(default_factory=Markup)
    contact: str = ""

    @property
    def contact_url(self) -> str:
        """Where the contact's link goes; empty for none."""
        if self.contact.startswith(("https://", "http://", "mailto:")):
            return self.contact
        return f"mailto:{self.contact}" if "@" in self.contact else ""


def presentation(settings: SiteSettings) -> Presentation:
    """What the settings say. Raises `SettingRefused` for a logo that is none."""
    return Presentation(
        name=settings.name,
        logo=_picture(settings.logo) if settings.logo else None,
        banner=markdown(settings.banner),
        about=markdown(settings.about),
        contact=settings.contact,
    )


def markdown(text: str) -> Markup:
    """A short text as HTML: no HTML of its own, no pictures, nothing that runs."""
    made = MarkdownIt("commonmark", {"html": False}).render(text)
    clean = nh3.clean(
        made, tags=_TAGS, attributes={"a": {"href"}}, url_schemes={"http", "https", "mailto"}, link_rel="noopener"
    )
    return Markup(clean)  # noqa: S704 - it was cleaned


def _picture(path: Path) -> Asset:
    kind = mimetypes.guess_type(path.name)[0] or ""
    if kind not in _PICTURES:
        raise SettingRefused(
            f"The logo {path} is no picture that browsers show.", hint="Give an SVG, PNG, JPEG or WebP file."
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingRefused(
            f"The logo {path} cannot be read: {error.strerror}.", hint="See BINDERY_SITE__LOGO."
        ) from error
    if len(content) > _MOST_BYTES:
        raise SettingRefused(f"The logo {path} is larger than {_MOST_BYTES // 1024} KiB.", hint="Give a smaller one.")
    return asset(content, kind)
