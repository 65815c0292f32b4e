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
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 14, 40


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
    points = [(x, y) for s in series for x, y in zip(s.x, s.y, strict=True) if math.isfinite(x) and math.isfinite(y)]
    if not points:
        return '<p class="quiet">No epoch was finished yet.</p>'
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    height = 300
    x_low, x_high = min(xs), max(xs)
    x_ticks, y_ticks = _ticks(x_low, x_high), _ticks(min(ys), max(ys))
    y_low, y_high = min(y_ticks[0], min(ys)), max(y_ticks[-1], max(ys))
    across = _scale(x_low, x_high, _LEFT, _WIDTH - _RIGHT)
    up = _scale(y_low, y_high, height - _BOTTOM, _TOP)
    parts = [_frame(x_ticks, y_ticks, across, up, height, percent), _axis_names(x_label, y_label, height)]
    for line in series:
        path, pen = [], "M"
        for x, y in zip(line.x, line.y, strict=True):
            if not (math.isfinite(x) and math.isfinite(y)):
                continue
            path.append(f"{pen}{across(x):.1f} {up(y):.1f}")
            pen = "L"
        kind = f"line run{line.run}{' dashed' if line.dashed else ''}"
        if len(path) == 1:
            x, y = path[0][1:].split()
            parts.append(f'<circle class="dot run{line.run}" cx="{x}" cy="{y}" r="3.5"/>')
        parts.append(f'<path class="{kind}" d="{" ".join(path)}"><title>{escape(line.label)}</title></path>')
    return _svg(height, title, parts)


def forest(rows: Sequence[tuple[str, int, float, Interval | None]], title: str, zero: bool = False) -> str:
    """Shares with intervals, one line each: (label, run, value, interval). zero: a line at no difference."""
    label_width, line_height = 190, 26
    height = line_height * len(rows) + 40
    ends = [v for _, _, value, i in rows for v in ((value,) if i is None else (value, i.low, i.high))]
    ticks = _ticks(min([*ends, 0.0] if zero else ends), max([*ends, 0.0] if zero else ends))
    across = _scale(min(ticks[0], *ends), max(ticks[-1], *ends), label_width, _WIDTH - 90)
    bottom = height - 30
    parts = [f'<line class="grid" x1="{across(t):.1f}" x2="{across(t):.1f}" y1="6" y2="{bottom}"/>' for t in ticks]
    parts += [
        f'<text class="tick" x="{across(t):.1f}" y="{bottom + 16}" text-anchor="middle">{_percent(t)}</text>'
        for t in ticks
    ]
    if zero:
        parts.append(f'<line class="axis" x1="{across(0):.1f}" x2="{across(0):.1f}" y1="6" y2="{bottom}"/>')
    for number, (label, run, value, interval) in enumerate(rows):
        y = 6 + line_height * (number + 0.5)
        parts.append(f'<text x="{label_width - 12}" y="{y + 4}" text-anchor="end">{escape(_short(label, 26))}</text>')
        if interval is not None:
            x1, x2 = across(interval.low), across(interval.high)
            parts.append(f'<line class="whisker run{run}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y}" y2="{y}"/>')
        if math.isfinite(value):
            parts.append(f'<circle class="dot run{run}" cx="{across(value):.1f}" cy="{y}" r="4.5"/>')
            text = f"{100 * value:+.1f}" if zero else f"{100 * value:.1f}%"
            parts.append(f'<text class="value" x="{_WIDTH - 8}" y="{y + 4}" text-anchor="end">{text}</text>')
    return _svg(height, title, parts)


def reliability(bins: Sequence[Bin], run: int, title: str) -> str:
    """Accuracy against confidence, with 95% intervals, and the share of images in each bin below."""
    side, base = 340, 420
    across = _scale(0, 1, _LEFT, _LEFT + side - 60)
    up = _scale(0, 1, side - _BOTTOM, _TOP)
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    width = _LEFT + side - 60 + _RIGHT
    parts = [_grid(ticks, ticks, across, up, (_LEFT, across(1)), (side - _BOTTOM, _TOP), True, percent_x=True)]
    parts.append(f'<line class="ideal" x1="{across(0)}" y1="{up(0)}" x2="{across(1)}" y2="{up(1)}"/>')
    most = max(1, *(b.images for b in bins))
    for b in bins:
        if b.confidence is None or b.accuracy is None or b.accuracy_interval is None:
            continue
        x = across(b.confidence)
        low, high = up(b.accuracy_interval.low), up(b.accuracy_interval.high)
        parts.append(f'<line class="whisker run{run}" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        tip = f"confidence {b.confidence:.1%}, right {b.accuracy:.1%}, {b.images} images"
        parts.append(
            f'<circle class="dot run{run}" cx="{x:.1f}" cy="{up(b.accuracy):.1f}" r="4"><title>{tip}</title></circle>'
        )
        bar = 46 * b.images / most
        left, right = across(b.low) + 1, across(b.high) - 1
        parts.append(
            f'<rect class="bar run{run}" x="{left:.1f}" width="{right - left:.1f}" y="{base - bar:.1f}" height="{bar:.1f}"><title>{tip}</title></rect>'
        )
    parts.append(f'<text class="name" x="{across(0.5):.0f}" y="{side + 2}" text-anchor="middle">confidence</text>')
    parts.append(
        f'<text class="name" transform="translate(13 {up(0.5):.0f}) rotate(-90)" text-anchor="middle">share right</text>'
    )
    parts.append(
        f'<text class="name" x="{across(0.5):.0f}" y="{base + 16}" text-anchor="middle">images by confidence</text>'
    )
    return _svg(base + 24, title, parts, width)


def heatmap(counts: NDArray[np.int64], classes: Sequence[str], title: str) -> str:
    """The confusion matrix: rows are true classes, shares of a row shade its cells."""
    number = len(classes)
    cell = 44 if number <= 12 else max(9, 520 // number)
    margin = 12 + 7 * min(16, max(len(_short(name, 16)) for name in classes))
    size = margin + cell * number + 8
    totals = np.maximum(1, counts.sum(1))
    parts = []
    for row, name in enumerate(classes):
        y = margin + cell * row
        if cell >= 12 or row % 5 == 0:
            parts.append(
                f'<text class="tick" x="{margin - 6}" y="{y + cell / 2 + 4:.0f}" text-anchor="end">{escape(_short(name, 16))}</text>'
            )
            x = margin + cell * row + cell / 2
            parts.append(
                f'<text class="tick" transform="translate({x + 4:.0f} {margin - 6}) rotate(-60)">{escape(_short(name, 16))}</text>'
            )
        for column, other in enumerate(classes):
            count, share = int(counts[row, column]), counts[row, column] / totals[row]
            kind = "right" if row == column else "wrong"
            tip = f"{escape(name)} taken for {escape(other)}: {count} ({share:.1%})"
            x = margin + cell * column
            parts.append(
                f'<rect class="cell {kind}" x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" style="--share:{share:.3f}"><title>{tip}</title></rect>'
            )
            if cell >= 30 and count:
                strong = " strong" if share > 0.5 else ""
                parts.append(
                    f'<text class="count{strong}" x="{x + cell / 2:.0f}" y="{y + cell / 2 + 4:.0f}" text-anchor="middle">{count}</text>'
                )
    return _svg(size + 20, title, parts, size + 30)


def _svg(height: float, title: str, parts: Sequence[str], width: float = _WIDTH) -> str:
    style = f'style="max-width:{width * 1.15:.0f}px"'
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" {style} role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def _frame(
    x_ticks: list[float],
    y_ticks: list[float],
    across: Callable[[float], float],
    up: Callable[[float], float],
    height: int,
    percent: bool,
) -> str:
    return _grid(x_ticks, y_ticks, across, up, (_LEFT, _WIDTH - _RIGHT), (height - _BOTTOM, _TOP), percent)


def _grid(
    x_ticks: list[float],
    y_ticks: list[float],
    across: Callable[[float], float],
    up: Callable[[float], float],
    x_ends: tuple[float, float],
    y_ends: tuple[float, float],
    percent: bool,
    percent_x: bool = False,
) -> str:
    parts = []
    for t in y_ticks:
        text = _percent(t) if percent else f"{t:g}"
        parts.append(f'<line class="grid" x1="{x_ends[0]}" x2="{x_ends[1]}" y1="{up(t):.1f}" y2="{up(t):.1f}"/>')
        parts.append(f'<text class="tick" x="{x_ends[0] - 7}" y="{up(t) + 4:.1f}" text-anchor="end">{text}</text>')
    for t in x_ticks:
        text = _percent(t) if percent_x else f"{t:g}"
        parts.append(f'<text class="tick" x="{across(t):.1f}" y="{y_ends[0] + 17}" text-anchor="middle">{text}</text>')
    parts.append(f'<line class="axis" x1="{x_ends[0]}" x2="{x_ends[1]}" y1="{y_ends[0]}" y2="{y_ends[0]}"/>')
    return "".join(parts)


def _axis_names(x_label: str, y_label: str, height: int) -> str:
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    y = (_TOP + height - _BOTTOM) / 2
    return (
        f'<text class="name" x="{middle:.0f}" y="{height - 5}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text class="name" transform="translate(13 {y:.0f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )


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


def _percent(share: float) -> str:
    return f"{100 * share:g}%" if abs(100 * share - round(100 * share, 1)) < 1e-9 else f"{100 * share:.1f}%"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
