"""Charts: bars over time as SVG that a page draws, with words and numbers for those who do not see them.

A chart is drawn on a canvas that is stretched to the page's width; all text stands beside it, in HTML.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Units of the canvas: width of one slot, part of it that a bar takes, height.
SLOT = 10.0
BAR = 7.6
HEIGHT = 100.0


@dataclass(frozen=True)
class Series:
    """What one colour of the bars means. `name` is a CSS class, `values` has one number for each slot."""

    name: str
    label: str
    values: Sequence[int]


@dataclass(frozen=True)
class Box:
    """A rectangle of the canvas."""

    series: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Slot:
    """One slice of time: what it is called, its boxes from the bottom up, and its values in the series' order."""

    label: str
    boxes: Sequence[Box]
    values: Sequence[int]


@dataclass(frozen=True)
class Chart:
    """Stacked bars. `ticks` are the numbers beside the canvas, from the top down."""

    series: Sequence[Series]
    slots: Sequence[Slot]
    ticks: Sequence[int]

    @property
    def width(self) -> float:
        """The canvas's width."""
        return SLOT * len(self.slots)

    @property
    def marks(self) -> Sequence[str]:
        """The names of the slots at which the four quarters begin."""
        return [slot.label for slot in self.slots[:: max(len(self.slots) // 4, 1)]]

    @property
    def lines(self) -> Sequence[float]:
        """Where the ticks' lines are."""
        return [HEIGHT - HEIGHT * tick / self.ticks[0] for tick in self.ticks]

    @property
    def total(self) -> int:
        """All values together."""
        return sum(sum(slot.values) for slot in self.slots)


def stacked_bars(labels: Sequence[str], series: Sequence[Series]) -> Chart:
    """A chart of series over the same slots."""
    columns = [[each.values[index] for each in series] for index in range(len(labels))]
    top = nice(max(map(sum, columns), default=0))
    slots = [
        Slot(label, _boxes(index, column, series, top), column)
        for index, (label, column) in enumerate(zip(labels, columns, strict=True))
    ]
    return Chart(series, slots, (top, top // 2, 0))


def nice(most: int) -> int:
    """The smallest round, even number that is not below the given one."""
    if most <= 2:
        return 2
    step: int = 10 ** math.floor(math.log10(most))
    rounded = min(step * factor for factor in (1, 2, 4, 6, 8, 10) if step * factor >= most)
    return rounded if rounded % 2 == 0 else rounded + 1


def _boxes(index: int, column: Sequence[int], series: Sequence[Series], top: int) -> list[Box]:
    boxes, level = [], HEIGHT
    for each, value in zip(series, column, strict=True):
        height = HEIGHT * value / top
        level -= height
        if value:
            x = index * SLOT + (SLOT - BAR) / 2
            boxes.append(Box(each.name, round(x, 2), round(level, 2), BAR, round(height, 2)))
    return boxes
