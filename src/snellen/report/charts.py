"""Charts as SVG text: no script, no colours of their own (the page's style sheet has them), readable at any width."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from snellen.insight.calibration import Bin
from snellen.insight.proportions import Interval

_WIDTH = 640
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 14, 40


@dataclass(frozen=True)
class Series:
    """A line: label, number of its run (which picks the colour), points; NaN leaves a gap. dashed: for training."""

    label: str
    run: int
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False


def line_chart(series: Sequence[Series], x_label: str, y_label: str, percent: bool, title: str) -> str:
    """Lines over a common pair of axes."""
    points = [(x, y) for line in series for x, y in _finite(line)]
    if not points:
        return '<p class="quiet">No epoch was finished yet.</p>'
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    height = 300
    x_ticks, y_ticks = _ticks(min(xs), max(xs)), _ticks(min(ys), max(ys))
    whole = all(x == int(x) for x in xs)  # there is no epoch 1.5
    x_ticks = [t for t in x_ticks if min(xs) <= t <= max(xs) and not (whole and t != int(t))]
    across = _scale(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT)
    up = _scale(min(y_ticks[0], *ys), max(y_ticks[-1], *ys), height - _BOTTOM, _TOP)
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts = [
        _grid([(across(t), f"{t:g}") for t in x_ticks], [(up(t), _tick(t, percent)) for t in y_ticks], _WIDTH - _RIGHT),
        _text(x_label, middle, height - 5, "name", "middle"),
        _text(y_label, 13, (_TOP + height - _BOTTOM) / 2, "name", "middle", turn=-90),
    ]
    for line in series:
        places = [(across(x), up(y)) for x, y in _finite(line)]
        if len(places) == 1:
            parts.append(_dot(line.run, *places[0], 3.5, line.label))
        path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        kind = f"line run{line.run}{' dashed' if line.dashed else ''}"
        if len(places) > 1:
            parts.append(f'<path class="{kind}" d="{path}"><title>{escape(line.label)}</title></path>')
    return _svg(_WIDTH, height, title, parts)


def forest(rows: Sequence[tuple[str, int, float, Interval | None]], title: str, zero: bool = False) -> str:
    """Shares with intervals, one line each: (label, run, value, interval). zero: they are differences."""
    names, line_height = 190, 26
    bottom = line_height * len(rows) + 10
    ends = [v for _, _, value, i in rows for v in ((value,) if i is None else (value, i.low, i.high))]
    ends = [*ends, 0.0] if zero else ends
    ticks = _ticks(min(ends), max(ends))
    across = _scale(ticks[0], ticks[-1], names, _WIDTH - 90)
    parts = [_line("grid", across(t), 6, across(t), bottom) for t in ticks]
    parts += [_text(_tick(t, not zero, zero), across(t), bottom + 16, "tick", "middle") for t in ticks]
    if zero:
        parts.append(_line("axis", across(0), 6, across(0), bottom))
    for number, (label, run, value, interval) in enumerate(rows):
        y = 6 + line_height * (number + 0.5)
        parts.append(_text(_short(label, 26), names - 12, y + 4, anchor="end"))
        if interval is not None:
            parts.append(_line(f"whisker run{run}", across(interval.low), y, across(interval.high), y))
        parts.append(_dot(run, across(value), y, 4.5, label))
        parts.append(_text(_tick(value, not zero, zero, 1), _WIDTH - 8, y + 4, "value", "end"))
    return _svg(_WIDTH, bottom + 30, title, parts)


def reliability(bins: Sequence[Bin], run: int, title: str) -> str:
    """Accuracy against confidence, with 95% intervals, and the share of images in each bin below."""
    side, base, right = 340, 420, 344.0
    across, up = _scale(0, 1, _LEFT, right), _scale(0, 1, side - _BOTTOM, _TOP)
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    x_ticks, y_ticks = [(across(t), _tick(t, True)) for t in ticks], [(up(t), _tick(t, True)) for t in ticks]
    parts = [
        _grid(x_ticks, y_ticks, right, side - _BOTTOM),
        _line("ideal", across(0), up(0), across(1), up(1)),
        _text("confidence", across(0.5), side + 2, "name", "middle"),
        _text("share right", 13, up(0.5), "name", "middle", turn=-90),
        _text("images by confidence", across(0.5), base + 16, "name", "middle"),
    ]
    most = max(1, *(b.images for b in bins))
    for b in bins:
        if b.confidence is None or b.accuracy is None or b.accuracy_interval is None:
            continue
        x = across(b.confidence)
        tip = f"confidence {b.confidence:.1%}, right {b.accuracy:.1%}, {b.images} images"
        parts.append(_line(f"whisker run{run}", x, up(b.accuracy_interval.low), x, up(b.accuracy_interval.high)))
        parts.append(_dot(run, x, up(b.accuracy), 4, tip))
        bar = 46 * b.images / most
        parts.append(
            _rect(f"bar run{run}", across(b.low) + 1, base - bar, across(b.high) - across(b.low) - 2, bar, tip)
        )
    return _svg(right + _RIGHT, base + 24, title, parts)


def heatmap(counts: NDArray[np.int64], classes: Sequence[str], title: str) -> str:
    """The confusion matrix: rows are true classes, shares of a row shade its cells."""
    number = len(classes)
    cell = 44 if number <= 12 else max(9, 520 // number)
    names = [_short(name, 16) for name in classes]
    margin = 12 + 7 * max(len(name) for name in names)
    totals = np.maximum(1, counts.sum(1))
    parts = []
    for row, name in enumerate(names):
        start = margin + cell * row
        if cell >= 12 or row % 5 == 0:
            parts.append(_text(name, margin - 6, start + cell / 2 + 4, "tick", "end"))
            parts.append(_text(name, start + cell / 2 + 4, margin - 6, "tick", turn=-60))
        for column in range(number):
            count, share = int(counts[row, column]), counts[row, column] / totals[row]
            x = margin + cell * column
            kind = "cell right" if row == column else "cell wrong"
            tip = f"{classes[row]} taken for {classes[column]}: {count} ({share:.1%})"
            parts.append(_rect(kind, x, start, cell - 1, cell - 1, tip, f"--share:{share:.3f}"))
            if cell >= 30 and count:
                strong = "count strong" if share > 0.5 else "count"
                parts.append(_text(str(count), x + cell / 2, start + cell / 2 + 4, strong, "middle"))
    size = margin + cell * number
    return _svg(size + 40, size + 10, title, parts)


def _finite(line: Series) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(x) and math.isfinite(y)]


def _text(content: str, x: float, y: float, kind: str = "", anchor: str = "start", turn: float = 0) -> str:
    where = f'transform="translate({x:.1f} {y:.1f}) rotate({turn:g})"' if turn else f'x="{x:.1f}" y="{y:.1f}"'
    return f'<text class="{kind}" {where} text-anchor="{anchor}">{escape(content)}</text>'


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _rect(kind: str, x: float, y: float, width: float, height: float, tip: str, style: str = "") -> str:
    box = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{kind}" {box} style="{style}"><title>{escape(tip)}</title></rect>'


def _dot(run: int, x: float, y: float, radius: float, tip: str = "") -> str:
    return f'<circle class="dot run{run}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"><title>{escape(tip)}</title></circle>'


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    box = f'viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width * 1.15:.0f}px"'
    return f'<svg {box} role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def _grid(
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    right: float,
    bottom: float | None = None,
) -> str:
    """Lines and numbers at (place, text) of both axes; the horizontal axis lies at `bottom`, else at the lowest."""
    bottom = max(y for y, _ in y_ticks) if bottom is None else bottom
    parts = [_line("grid", _LEFT, y, right, y) for y, _ in y_ticks]
    parts += [_text(text, _LEFT - 7, y + 4, "tick", "end") for y, text in y_ticks]
    parts += [_text(text, x, bottom + 17, "tick", "middle") for x, text in x_ticks]
    return "".join([*parts, _line("axis", _LEFT, bottom, right, bottom)])


def _ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers that span [low, high]."""
    if high <= low:
        spread = abs(low) * 0.1 or 1.0
        low, high = low - spread / 2, high + spread / 2
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    spread = (high - low) or 1.0
    return lambda value: start + (value - low) / spread * (end - start)


def _tick(value: float, percent: bool, points: bool = False, digits: int | None = None) -> str:
    """A number of an axis: a percentage, points with their sign, or as it is."""
    if not (percent or points):
        return f"{value:g}"
    number = round(100 * value, 3)
    text = f"{number:.{digits}f}" if digits is not None else f"{number:g}"
    return f"{text}%" if percent else f"{'+' if number > 0 else ''}{text}"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
