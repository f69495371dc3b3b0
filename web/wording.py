"""Figures as people read them: durations, sizes, ages, in the page's language."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from web.languages import Language

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclass(frozen=True)
class Wording:
    """How one language says figures."""

    language: Language

    @property
    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of the templates."""
        return {
            "duration": self.duration,
            "size": self.size,
            "ago": self.ago,
            "percent": self.percent,
            "number": self._short,
            "short_address": short_address,
            "utc": self.utc,
            "iso": iso,
        }

    def duration(self, seconds: float) -> str:
        """A length of time: two units at most."""
        _ = self.language.gettext
        if 0 < seconds < 0.05:
            return _("under %(number)s s") % {"number": self.language.decimal(0.1)}
        if seconds < 10:
            return _("%(number)s s") % {"number": self.language.decimal(seconds)}
        whole = round(seconds)
        if whole < _MINUTE:
            return _("%(number)s s") % {"number": whole}
        minutes, hours = whole // _MINUTE, whole // _HOUR
        if whole < _HOUR and whole % _MINUTE:
            return _("%(minutes)s min %(seconds)s s") % {"minutes": minutes, "seconds": whole % _MINUTE}
        if whole < _HOUR:
            return _("%(minutes)s min") % {"minutes": minutes}
        if whole < 2 * _DAY and minutes % 60:
            return _("%(hours)s h %(minutes)s min") % {"hours": hours, "minutes": minutes % 60}
        if whole < 2 * _DAY:
            return _("%(hours)s h") % {"hours": hours}
        return _("%(days)s days") % {"days": whole // _DAY}

    def size(self, count: float) -> str:
        """A number of bytes."""
        for unit in ("B", "kB", "MB"):
            if count < 1000:
                return f"{self._short(count)} {unit}"
            count /= 1000
        return f"{self.language.decimal(count)} GB"

    def ago(self, seconds: float) -> str:
        """How long something has been over."""
        say = self.language.ngettext
        if seconds < _MINUTE:
            return self.language.gettext("just now")
        if seconds < _HOUR:
            number = int(seconds // _MINUTE)
            return say("%(number)s minute ago", "%(number)s minutes ago", number) % {"number": number}
        if seconds < _DAY:
            number = int(seconds // _HOUR)
            return say("%(number)s hour ago", "%(number)s hours ago", number) % {"number": number}
        number = int(seconds // _DAY)
        return say("%(number)s day ago", "%(number)s days ago", number) % {"number": number}

    def percent(self, share: float) -> str:
        """A part of a whole; never all of it when something is missing."""
        shown = min(round(share * 100, 1), 99.9) if share < 1 else 100.0
        return _joined(self.language.decimal(shown, 0 if shown == int(shown) else 1), "%")

    def utc(self, moment: float) -> str:
        """A moment, to the second."""
        return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"

    def _short(self, number: float) -> str:
        return self.language.decimal(number, 1 if 0 < number < 10 and number != int(number) else 0)


def short_address(address: str) -> str:
    """A repository's address as short as people say it: owner and name where it has them."""
    parts = address.removesuffix(".git").rstrip("/").split("/")
    return "/".join(parts[-2:]) if "://" in address and len(parts) > 4 else address


def iso(moment: float) -> str:
    """A moment as machines read it."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def _joined(*parts: str) -> str:
    return "\N{NO-BREAK SPACE}".join(parts)
