"""Charts as HTML: positions in percent, text in the page's font size, so that they are readable at any width.

No colours (they are in the style sheet) and no script; report.js only adds the values under the pointer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from snellen.insight.calibration import Bin
from snellen.insight.proportions import Interval, percents
from snellen.words import counted

_MOST_COUNTS = 20  # classes up to which a confusion matrix shows its counts


@dataclass(frozen=True)
class Series:
    """A line: label, the run's colour class, points; NaN leaves a gap. dashed: for training. mark: x of a ring."""

    label: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False
    mark: float | None = None


@dataclass(frozen=True)
class Entry:
    """A value with its interval in a row of a forest plot. colour: the run's colour class.

    tip: shown under the pointer. singles: the values behind the mean, small dots below the interval.
    """

    colour: str
    value: float
    interval: Interval | None
    tip: str = ""
    singles: Sequence[float] = ()


def line_chart(series: Sequence[Series], x_label: str, y_label: str, percent: bool, title: str) -> str:
    """Lines on a common pair of axes."""
    points = [(x, y) for line in series for x, y in _finite(line)]
    if not points:
        return '<p class="quiet">No epoch has finished yet.</p>'
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x_ticks, y_ticks = _ticks(min(xs), max(xs), 8), _ticks(min(ys), max(ys))
    whole = all(x == int(x) for x in xs)  # there is no epoch 1.5
    x_ticks = [t for t in x_ticks if min(xs) <= t <= max(xs) and not (whole and t != int(t))]
    across, up = _scale(min(xs), max(xs)), _scale(min(y_ticks[0], *ys), max(y_ticks[-1], *ys))
    paths, marks, numbers = [], [], []
    for line in series:
        positions = [(across(x), up(y)) for x, y in _finite(line)]
        tip = escape(line.label)
        if len(positions) == 1:
            marks.append(_dot(line.colour, *positions[0], line.label))
        elif positions:
            path = "M" + " L".join(f"{x:.2f} {100 - y:.2f}" for x, y in positions)
            kind = f"line {line.colour}{' dashed' if line.dashed else ''}"
            paths.append(f'<path class="{kind}" d="{path}"><title>{tip}</title></path>')
        marks += [
            _dot(f"ring {line.colour}", across(x), up(y), f"{line.label}: the chosen epoch")
            for x, y in _finite(line)
            if x == line.mark and len(positions) > 1
        ]
        points_of_line = [[round(x, 3), round(y, 5)] for x, y in _finite(line)]
        numbers.append({"label": line.label, "colour": line.colour, "dashed": line.dashed, "points": points_of_line})
    drawing = f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{"".join(paths)}</svg>'
    readout = {"x": x_label, "low": min(xs), "high": max(xs), "percent": percent, "series": numbers}
    return _plot(
        [(across(t), f"{t:g}") for t in x_ticks],
        [(up(t), _number(t, percent)) for t in y_ticks],
        [drawing, *marks],
        labels=(x_label, y_label),
        title=title,
        attributes=f' data-read="{escape(json.dumps(readout))}"',
    )


def forest(rows: Sequence[tuple[str, Sequence[Entry]]], title: str, zero: bool = False) -> str:
    """A forest plot of values with intervals, a row for each (label, entries). zero: for differences, in points."""
    ends = [0.0] if zero else []
    for _, entries in rows:
        for entry in entries:
            ends += [entry.value] if entry.interval is None else [entry.interval.low, entry.value, entry.interval.high]
            ends += entry.singles
    ticks = _ticks(min(ends), max(ends))
    if not zero:
        ticks = [t for t in ticks if t <= 1] if max(ends) <= 1 else ticks
    across = _scale(min(ticks[0], *ends), max(ticks[-1], *ends))
    lines = [f'<i class="grid" style="left:{across(t):.2f}%"></i>' for t in ticks]
    lines += [f'<small style="left:{across(t):.2f}%">{_number(t, not zero, zero)}</small>' for t in ticks]
    if zero:
        lines.append(f'<i class="axis" style="left:{across(0):.2f}%"></i>')
    tracks = [_row(label, entries, across, zero) for label, entries in rows]
    longest = min(30, max(len(label) for label, _ in rows))
    return (
        f'<div class="forest" role="img" aria-label="{escape(title)}" style="--names:{longest * 0.6 + 1.6:.1f}em">'
        f'<div class="lines" aria-hidden="true">{"".join(lines)}</div>{"".join(tracks)}</div>'
    )


def _row(label: str, entries: Sequence[Entry], across: Callable[[float], float], zero: bool) -> str:
    parts, values = [], []
    for number, entry in enumerate(entries):
        top = f"top:{100 * (number + 0.5) / len(entries):.1f}%"
        if entry.interval is not None:
            low, high = across(entry.interval.low), across(entry.interval.high)
            parts.append(
                f'<i class="whisker {entry.colour}" style="left:{low:.2f}%;width:{high - low:.2f}%;{top}"></i>'
            )
        parts += [
            f'<i class="single {entry.colour}" style="left:{across(single):.2f}%;{top}"></i>'
            for single in entry.singles
        ]
        tip = escape(entry.tip)
        parts.append(f'<i class="dot {entry.colour}" style="left:{across(entry.value):.2f}%;{top}" title="{tip}"></i>')
        values.append(f'<b class="{entry.colour}">{_number(entry.value, not zero, zero, 1)}</b>')
    height, name = 14 * len(entries) + 12, escape(label)
    return (
        f'<div class="row" style="--height:{height}px"><span class="name" title="{name}">{name}</span>'
        f'<span class="track">{"".join(parts)}</span><span class="value">{"".join(values)}</span></div>'
    )


def reliability(bins: Sequence[Bin], colour: str, title: str) -> str:
    """Accuracy against confidence, with 95% intervals, and the number of images in each bin below."""
    ticks = [(100 * t / 5, f"{20 * t}%") for t in range(6)]
    marks = [
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">'
        '<path class="ideal" d="M0 100 L100 0"/></svg>'
    ]
    bars = []
    most = max(1, *(b.images for b in bins))
    for b in bins:
        if b.confidence is None or b.accuracy is None:
            continue
        bounds = ""
        if b.accuracy_interval is not None:
            low, high = b.accuracy_interval.low, b.accuracy_interval.high
            bounds = f" ({percents(b.accuracy_interval)})"
            marks.append(
                f'<i class="upright {colour}" style="left:{100 * b.confidence:.2f}%;bottom:{100 * low:.2f}%;'
                f'height:{100 * (high - low):.2f}%"></i>'
            )
        tip = f"confidence {b.confidence:.1%}, right {b.accuracy:.1%}{bounds}, {counted(b.images, 'image')}"
        marks.append(_dot(colour, 100 * b.confidence, 100 * b.accuracy, tip))
        bars.append(
            f'<i class="{colour}" title="{tip}" style="left:{100 * b.low:.2f}%;width:{100 * (b.high - b.low):.2f}%;'
            f'height:{100 * b.images / most:.1f}%"></i>'
        )
    plot = _plot(ticks, ticks, marks, labels=("confidence", "share right"), title=title, kind=" square")
    return (
        f'<div class="reliability">{plot}<div class="bars" aria-hidden="true">{"".join(bars)}</div>'
        f'<p class="quiet">images by confidence; the tallest bar: {most:,}</p></div>'
    )


def confusion_matrix(counts: NDArray[np.int64], classes: Sequence[str], title: str, shares: bool = False) -> str:
    """Rows are true classes, cells are shaded by their share of the row: a table with counts, or one picture if large.

    shares: the table's cells show percentages of the row, for counts of pixels.
    """
    many = len(classes) > _MOST_COUNTS
    return _picture(counts, classes, title) if many else _table(counts, classes, title, shares)


def _table(counts: NDArray[np.int64], classes: Sequence[str], title: str, shares: bool) -> str:
    totals = np.maximum(1, counts.sum(1))
    heads = "".join(f'<th scope="col"><span>{escape(_short(name, 18))}</span></th>' for name in classes)
    rows = []
    for row, name in enumerate(classes):
        cells = []
        for column, predicted in enumerate(classes):
            count, share = int(counts[row, column]), counts[row, column] / totals[row]
            kind = "right" if row == column else "wrong"
            strong = " strong" if share > 0.5 else ""
            tip = f"{name} predicted as {predicted}: {count:,} ({share:.1%})"
            text = (f"{100 * share:.0f}" if share >= 0.005 else "") if shares else f"{count}"
            cell = f'<td class="{kind}{strong}" style="--share:{share:.3f}" title="{escape(tip)}">{text}</td>'
            cells.append(cell if count else f'<td class="{kind}"></td>')
        rows.append(f'<tr><th scope="row">{escape(_short(name, 18))}</th>{"".join(cells)}</tr>')
    return (
        f'<table class="confusion" aria-label="{escape(title)}"><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _picture(counts: NDArray[np.int64], classes: Sequence[str], title: str) -> str:
    number, cell = len(classes), 12
    names = [_short(name, 22) for name in classes]
    margin = 10 + 6.2 * max(len(name) for name in names)
    size, totals = cell * number, np.maximum(1, counts.sum(1))
    parts = [f'<rect class="floor" x="{margin:.1f}" y="{margin:.1f}" width="{size}" height="{size}"/>']
    for row, name in enumerate(names):
        middle = margin + cell * (row + 0.78)
        label = escape(name)
        parts.append(f'<text x="{margin - 5:.1f}" y="{middle:.1f}" text-anchor="end">{label}</text>')
        parts.append(f'<text transform="translate({middle:.1f} {margin - 5:.1f}) rotate(-90)">{label}</text>')
    for row, column in zip(*np.nonzero(counts), strict=True):
        count, share = int(counts[row, column]), counts[row, column] / totals[row]
        kind = "right" if row == column else "wrong"
        x, y = margin + cell * column, margin + cell * row
        tip = escape(f"{classes[row]} predicted as {classes[column]}: {count:,} ({share:.1%})")
        parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{cell - 1}" height="{cell - 1}" '
            f'style="--share:{share:.3f}"><title>{tip}</title></rect>'
        )
    side = math.ceil(margin + size + 4)
    box = f'viewBox="0 0 {side} {side}" width="{side}" height="{side}"'
    return f'<svg class="confusion" {box} role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def _plot(
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    marks: Sequence[str],
    *,
    labels: tuple[str, str],
    title: str,
    kind: str = "",
    attributes: str = "",
) -> str:
    """A frame with numbers at (percent, text) on both axes; marks are placed in percent of its size."""
    parts = [f'<i class="grid" style="bottom:{y:.2f}%"></i>' for y, _ in y_ticks]
    parts += [f'<small class="y" style="bottom:{y:.2f}%">{text}</small>' for y, text in y_ticks]
    parts += [f'<small class="x" style="left:{x:.2f}%">{text}</small>' for x, text in x_ticks]
    return (
        f'<div class="plot{kind}" role="img" aria-label="{escape(title)}"{attributes}>'
        f'<p class="quiet up" aria-hidden="true">{escape(labels[1])}</p>'
        f'<div class="area">{"".join(parts)}{"".join(marks)}</div>'
        f'<p class="quiet across" aria-hidden="true">{escape(labels[0])}</p></div>'
    )


def _dot(kind: str, x: float, y: float, tip: str) -> str:
    return f'<i class="dot {kind}" style="left:{x:.2f}%;bottom:{y:.2f}%" title="{escape(tip)}"></i>'


def _finite(line: Series) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(x) and math.isfinite(y)]


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that span [low, high]."""
    if high <= low:
        spread = abs(low) * 0.1 or 1.0
        low, high = low - spread / 2, high + spread / 2
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _scale(low: float, high: float) -> Callable[[float], float]:
    """From [low, high] to percent."""
    if high <= low:
        return lambda value: 50.0
    return lambda value: 100 * (value - low) / (high - low)


def _number(value: float, percent: bool, points: bool = False, digits: int | None = None) -> str:
    """A number on an axis: a percentage, points with their sign, or unchanged."""
    if not (percent or points):
        return f"{value:g}"
    number = round(100 * value, 3)
    text = (f"{abs(number):.{digits}f}" if digits is not None else f"{abs(number):g}") + ("%" if percent else "")
    sign = "−" if number < 0 else "+" if points and number > 0 else ""
    return sign + text


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
