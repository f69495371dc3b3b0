"""What rows and errors say in English, told in the reader's language where that is known.

Sentences of errors are written where the error happens, which knows no reader. Those that are always the same, and the
reasons for which sessions end, have translations; the rest stays English, and is marked so for screen readers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from markupsafe import Markup

from web.languages import N_, Language

#: Why sessions end (launcher/decisions.py and others), with a length of time in some.
_REASONS = (
    N_("It was not used for %(time)s."),
    N_("Nobody opened it for %(time)s."),
    N_("It reached the longest time a session may run, %(time)s."),
    N_("Nobody waited for it any more."),
    N_("It was ended by its visitor."),
    N_("Its server ended unexpectedly."),
    N_("The service was stopped."),
)
#: Other sentences that stand where no reader is known: bindery/engines.py, builder/pythons.py.
_OTHERS = (
    N_("This service runs notebooks as processes of this machine: only launch repositories that you trust."),
    N_("default"),
)
_PATTERNS: Mapping[str, re.Pattern[str]] = {
    reason: re.compile(re.escape(reason).replace(re.escape("%(time)s"), r"(?P<time>[\d.]+ \w+)")) for reason in _REASONS
}
_UNITS = {"seconds": 1, "minutes": 60, "hours": 3600}


class Said(str):
    """A sentence that is in its reader's language already."""

    __slots__ = ()


def told(text: str, language: Language) -> Markup:
    """A sentence for a page."""
    found = text if isinstance(text, Said) else _translated(text.strip(), language)
    if found is not None:
        return Markup("%s") % found
    return Markup("%s") % text if language.code == "en" else Markup('<span lang="en">%s</span>') % text


def _translated(text: str, language: Language) -> str | None:
    """The sentence in the language; None when it is not known."""
    if language.code == "en":
        return text
    if (whole := language.gettext(text)) != text:
        return whole
    for reason, pattern in _PATTERNS.items():
        if (match := pattern.fullmatch(text)) and (translated := language.gettext(reason)) != reason:
            return translated % {"time": _time(match["time"], language)}
    return None


def _time(text: str, language: Language) -> str:
    """A length of time as rows have it, such as "30 minutes"."""
    number, _, unit = text.partition(" ")
    amount = float(number) if unit in _UNITS else 0.0
    shown = int(amount) if amount == int(amount) else amount
    say = language.ngettext
    match unit:
        case "seconds":
            return say("%(number)s second", "%(number)s seconds", int(amount)) % {"number": shown}
        case "minutes":
            return say("%(number)s minute", "%(number)s minutes", int(amount)) % {"number": shown}
        case "hours":
            return say("%(number)s hour", "%(number)s hours", int(amount)) % {"number": shown}
    return text
