"""Figures: what was measured, how often, and how it compares with a baseline of the same run."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

_NAME_WIDTH = 58


@dataclass(frozen=True)
class Samples:
    """Seconds that one thing took, measured once or several times."""

    name: str
    seconds: Sequence[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    def line(self) -> str:
        """The median, the 90th percentile, and how often it was measured."""
        spread = f"p90 {duration(share(self.seconds, 0.9))}" if len(self.seconds) > 1 else ""
        return f"  {self.name:<{_NAME_WIDTH}} {duration(self.median):>9}  {spread:<14} n={len(self.seconds)}"


def share(values: Sequence[float], part: float) -> float:
    """The value below which `part` of all values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def title(text: str) -> None:
    """Begin a part."""
    print(f"\n{text}")
    sys.stdout.flush()


def say(name: str, value: str) -> None:
    """Print a figure that is no duration."""
    print(f"  {name:<{_NAME_WIDTH}} {value:>9}")
    sys.stdout.flush()


def show(*samples: Samples) -> None:
    """Print measured durations."""
    for item in samples:
        print(item.line())
    sys.stdout.flush()


def compare(ours: Samples, baseline: Samples, aim: str) -> None:
    """Print ours, the baseline, the ratio of their medians, and what we aim at."""
    show(ours, baseline)
    ratio = ours.median / baseline.median
    says = f"{1 / ratio:.1f} times as fast" if ratio < 1 else f"{ratio:.2f} times as long"
    say("= compared with the baseline", f"{says}; {aim}" if aim else says)
