"""Badges: small SVG pictures that readme files show."""

from __future__ import annotations

from html import escape

#: Average advance of a character of Verdana and its replacements at 11 px; `textLength` makes it exact everywhere.
_CHARACTER = 6.3
_PADDING = 5
_MARK = 13

_INK = "#343b40"
_CLOTH = "#0f5f60"


def badge(label: str, value: str, *, title: str, mark: bool = False, colour: str = _CLOTH) -> str:
    """A badge of the usual height: `label` on dark grey, `value` on `colour`, both readable for screen readers.

    The width depends on the texts alone, so that a page does not move when the picture arrives.
    """
    left = _text_width(label) + 2 * _PADDING + (_MARK if mark else 0)
    right = _text_width(value) + 2 * _PADDING
    label_at = _PADDING + (_MARK if mark else 0)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img"'
        f' aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f'<clipPath id="r"><rect width="{left + right}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><path fill="{_INK}" d="M0 0h{left}v20H0z"/>'
        f'<path fill="{escape(colour)}" d="M{left} 0h{right}v20H{left}z"/></g>'
        + (_mark() if mark else "")
        + '<g fill="#fff" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="11">'
        + _text(label, label_at)
        + _text(value, left + _PADDING)
        + "</g></svg>\n"
    )


def launch_badge(*, mark: bool) -> str:
    """The badge that opens a repository here."""
    return badge("launch", "bindery", title="Launch in Bindery", mark=mark)


def _text_width(text: str) -> int:
    return round(len(text) * _CHARACTER)


def _text(text: str, x: int) -> str:
    return (
        f'<text x="{x}" y="14" textLength="{_text_width(text)}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
    )


def _mark() -> str:
    """The sewn spine, small."""
    return (
        '<rect x="4" y="4" width="10" height="12" rx="1.5" fill="#f3efe4"/>'
        '<path d="M4 5.5A1.5 1.5 0 0 1 5.5 4H7v12H5.5A1.5 1.5 0 0 1 4 14.5z" fill="#2f8f8c"/>'
        '<path d="M4 7h3M4 10h3M4 13h3" stroke="#e8b04b" stroke-width="1.2"/>'
    )
