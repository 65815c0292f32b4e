"""From whole images to the pixels that a network sees, as nodes of an ONNX graph.

The arithmetic is that of torch's antialiased `interpolate` of uint8 images, which `evaluation_view` uses: across, then
down; for each axis, weights in double precision, rounded to multiples of the smallest power of two by which the largest
still fits into 16 bits; sums of whole numbers, rounded to grey levels after each axis. ONNX's MatMulInteger takes
weights of 8 bits, so each weight is 256 times an upper byte plus a lower one, and both are columns of one product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from snellen.data.augment.framing import MOST_RESIZED
from snellen.data.augment.spec import EvaluationTransformSpec, Interpolation
from snellen.exporting.graph import Graph

_BLOCK = 32  # output lines per product, each with only the source lines below them
_MOST_BLOCKS = 16
_REACH = {"bilinear": 1, "bicubic": 2}  # of the filter, in output pixels when reducing
_HALF = np.float64(0.5)
_ONE = np.float64(1)


def add_view(graph: Graph, images: str, spec: EvaluationTransformSpec) -> str:
    """(N, 3, S, S) uint8 views of images (N, H, W, 3) uint8: the same as `evaluation_view` of each.

    In strips that are resized to more than 4 megapixels, a value in thousands may differ by a grey level.
    """
    shape = graph.add("Shape", images)
    height, width = (graph.add("Gather", shape, np.int64(axis)) for axis in (1, 2))
    shorter = graph.add("Min", height, width)
    down, across = (_add_axis(graph, length, shorter, spec) for length in (height, width))
    starts, ends = (
        graph.add("Concat", _vector(graph, values[0]), _vector(graph, values[1]), axis=0)
        for values in ((down.first, across.first), (down.end, across.end))
    )
    box = graph.add("Slice", images, starts, ends, np.array([1, 2]))
    channels = graph.add("Transpose", box, perm=[0, 3, 1, 2])
    whole, strip = Graph(f"{graph.prefix}whole_"), Graph(f"{graph.prefix}strip_")
    views = _add_turned(whole, channels, across, down, _add_resized)
    if spec.squash:
        graph.take(whole)
        return views
    is_strip = graph.add("Greater", graph.add("Mul", down.scaled, across.scaled), np.int64(_most_resized(spec)))
    return graph.choose(
        is_strip, (strip, _add_turned(strip, channels, across, down, _add_resized_strip)), (whole, views)
    )


def _most_resized(spec: EvaluationTransformSpec) -> int:
    """Above it, only the needed lines are computed, and count for the scale of the weights."""
    return max(MOST_RESIZED, 8 * spec.size**2)


def _add_turned(
    graph: Graph, pixels: str, across: _Axis, down: _Axis, resized: Callable[[Graph, str, _Axis], str]
) -> str:
    """(N, 3, h, w) uint8 resized along its last axis, then along the one before: (N, 3, S, S)."""
    narrow = graph.add("Transpose", resized(graph, pixels, across), perm=[0, 1, 3, 2])
    return graph.add("Transpose", resized(graph, narrow, down), perm=[0, 1, 3, 2])


@dataclass(frozen=True)
class _Axis:
    """One axis of the resize; numbers in the graph, by name, but for size and interpolation.

    size: output lines. length: all source lines. scaled: all lines of the resized image. corner: the first of these
    that is an output line. step: source lines per output line. reach: of the filter in source lines, scale: its inverse
    for a filter of reach 1 or 2. first, end: the source lines that are needed. shift: the weights are multiples of two
    to the minus this.
    """

    size: int
    interpolation: Interpolation
    length: str
    scaled: str
    corner: str
    step: str
    reach: str
    scale: str
    first: str
    end: str
    shift: str


def _add_axis(graph: Graph, length: str, shorter: str, spec: EvaluationTransformSpec) -> _Axis:
    size = np.int64(spec.size)
    if spec.squash:
        scaled, corner = graph.add("Identity", size), graph.add("Identity", np.float64(0))
    else:
        target = np.int64(spec.resize or spec.size)
        scaled = graph.add("Div", graph.add("Mul", length, target), shorter)
        free = graph.cast(graph.add("Sub", scaled, size), np.float64)
        corner = graph.add("Round", graph.add("Mul", free, _HALF))  # half to even, as torch rounds
    length = graph.cast(length, np.float64)
    step = graph.add("Div", length, graph.cast(scaled, np.float64))
    widened = graph.add("Max", step, _ONE)
    scale = graph.add("Div", _ONE, widened)
    reach = graph.add("Mul", widened, np.float64(_REACH[spec.interpolation]))
    last = graph.add("Add", corner, np.float64(spec.size - 1))
    first, end = _add_range(graph, corner, last, step, reach, length)
    shift = _add_shift(graph, spec, scaled, length, step, reach, scale)
    return _Axis(spec.size, spec.interpolation, length, scaled, corner, step, reach, scale, first, end, shift)


def _add_range(graph: Graph, line: str, last: str, step: str, reach: str, length: str) -> tuple[str, str]:
    """The first source line below some output lines, and the one after the last: () int64."""
    first_centre, last_centre = (graph.add("Mul", graph.add("Add", value, _HALF), step) for value in (line, last))
    first = graph.add("Max", graph.add("Floor", graph.add("Sub", first_centre, reach)), np.float64(0))
    end = graph.add("Min", graph.add("Ceil", graph.add("Add", last_centre, reach)), length)
    return graph.cast(first, np.int64), graph.cast(end, np.int64)


def _add_shift(
    graph: Graph, spec: EvaluationTransformSpec, scaled: str, length: str, step: str, reach: str, scale: str
) -> str:
    """The largest power of two, at most 22, by which all weights of the axis, rounded, stay below 2^15: () int64."""
    most = np.int64(_most_resized(spec) // spec.size)
    lines = graph.add("Range", np.int64(0), graph.add("Min", scaled, most), np.int64(1))
    lines = graph.cast(graph.add("Unsqueeze", lines, np.array([1])), np.float64)
    centre = graph.add("Mul", graph.add("Add", lines, _HALF), step)
    first = graph.add("Floor", graph.add("Max", graph.add("Sub", centre, reach), np.float64(0)))
    taps = graph.cast(graph.add("Ceil", graph.add("Mul", reach, np.float64(2))), np.int64)
    taps = graph.add("Range", np.int64(0), graph.add("Add", taps, np.int64(2)), np.int64(1))
    source = graph.add("Add", first, graph.cast(taps, np.float64))
    inside = graph.cast(graph.add("Less", source, length), np.float64)
    largest = graph.add("ReduceMax", _add_weights(graph, source, centre, scale, spec.interpolation, 1, inside))
    powers = 2.0 ** np.arange(1, 23)
    rounded = graph.add("Floor", graph.add("Add", graph.add("Mul", largest, powers), _HALF))
    fits = graph.cast(graph.add("Less", rounded, np.float64(2**15)), np.int64)
    return graph.add("ReduceSum", fits, keepdims=0)


def _add_weights(
    graph: Graph, source: str, centre: str, scale: str, interpolation: Interpolation, axis: int, inside: str | None
) -> str:
    """Shares of source lines in output lines, which sum to 1 along `axis`: float64.

    inside: 0 for lines beyond the image.
    """
    offset = graph.add("Add", graph.add("Sub", source, centre), _HALF)
    weights = _add_filter(graph, graph.add("Abs", graph.add("Mul", offset, scale)), interpolation, np.float64)
    if inside is not None:
        weights = graph.add("Mul", weights, inside)
    return graph.add("Div", weights, graph.add("ReduceSum", weights, np.array([axis])))


def _add_filter(graph: Graph, distance: str, interpolation: Interpolation, dtype: type[np.floating[Any]]) -> str:
    """The filters of torch, not normalised: a triangle, or Keys' cubic with a = -0.5. dtype: of distance and result."""
    if interpolation == "bilinear":
        return graph.add("Max", graph.add("Sub", dtype(1), distance), dtype(0))
    near = _add_polynomial(graph, distance, [dtype(value) for value in (1.5, -2.5, 0, 1)])
    far = _add_polynomial(graph, distance, [dtype(value) for value in (-0.5, 2.5, -4, 2)])
    far = graph.add("Where", graph.add("Less", distance, dtype(2)), far, dtype(0))
    return graph.add("Where", graph.add("Less", distance, dtype(1)), near, far)


def _add_polynomial(graph: Graph, x: str, coefficients: Sequence[np.floating[Any]]) -> str:
    """By Horner's rule, the highest power first."""
    value = graph.add("Mul", x, coefficients[0])
    for coefficient in coefficients[1:-1]:
        value = graph.add("Mul", graph.add("Add", value, coefficient), x)
    return graph.add("Add", value, coefficients[-1])


def _add_resized(graph: Graph, pixels: str, axis: _Axis) -> str:
    """(…, n) uint8, the source lines from axis.first to axis.end, resized to (…, size) uint8."""
    block = max(_BLOCK, -(-axis.size // _MOST_BLOCKS))
    parts = [
        _add_block(graph, pixels, axis, start, min(block, axis.size - start)) for start in range(0, axis.size, block)
    ]
    return parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=-1)


def _add_block(graph: Graph, pixels: str, axis: _Axis, start: int, count: int) -> str:
    """Output lines from `start` on, (…, count) uint8."""
    line, last = (graph.add("Add", axis.corner, np.float64(value)) for value in (start, start + count - 1))
    first, end = _add_range(graph, line, last, axis.step, axis.reach, axis.length)
    bounds = (_vector(graph, graph.add("Sub", value, axis.first)) for value in (first, end))
    part = graph.add("Slice", pixels, *bounds, np.array([-1]))
    source = graph.add("Unsqueeze", graph.add("Range", first, end, np.int64(1)), np.array([1]))
    centre = graph.add("Mul", graph.add("Add", line, np.arange(count) + 0.5), axis.step)
    weights = _add_weights(
        graph, graph.cast(source, np.float64), centre, axis.scale, axis.interpolation, axis=0, inside=None
    )
    factor = graph.add("Pow", np.float64(2), graph.cast(axis.shift, np.float64))
    size = graph.add("Floor", graph.add("Add", graph.add("Mul", graph.add("Abs", weights), factor), _HALF))
    whole = graph.add("Mul", size, graph.add("Sign", weights))
    upper = graph.add("Floor", graph.add("Mul", whole, np.float64(1 / 256)))
    lower = graph.add("Sub", whole, graph.add("Mul", upper, np.float64(256)))
    both = graph.cast(
        graph.add("Concat", graph.add("Add", upper, np.float64(128)), lower, axis=1), np.uint8
    )  # (n, 2 count)
    zero = np.repeat(np.array([128, 0], np.uint8), count)
    sums = graph.add("MatMulInteger", part, both, np.uint8(0), zero)
    high, low = graph.add_several(2, "Split", sums, np.array([count, count]), axis=-1)
    total = graph.add("Add", graph.add("Mul", high, np.int32(256)), low)
    half = graph.cast(graph.add("Mul", factor, _HALF), np.int32)
    positive = graph.cast(graph.add("Max", graph.add("Add", total, half), np.int32(0)), np.uint32)
    grey = graph.add("BitShift", positive, graph.cast(axis.shift, np.uint32), direction="RIGHT")
    return graph.cast(graph.add("Min", grey, np.uint32(255)), np.uint8)


def _add_resized_strip(graph: Graph, pixels: str, axis: _Axis) -> str:
    """As `_add_resized`, by the single-precision weights of `resized_by_matrices`, which scoring uses for strips."""
    length, scaled = (graph.cast(value, np.float32) for value in (axis.length, axis.scaled))
    step = graph.add("Div", length, scaled)
    lines = graph.cast(graph.add("Add", axis.corner, np.arange(axis.size) + 0.5), np.float32)
    centre = graph.add("Mul", lines, step)
    source = graph.add("Unsqueeze", graph.add("Range", axis.first, axis.end, np.int64(1)), np.array([1]))
    offset = graph.add("Sub", graph.add("Add", graph.cast(source, np.float32), np.float32(0.5)), centre)
    distance = graph.add("Abs", graph.add("Div", offset, graph.add("Max", step, np.float32(1))))
    weights = _add_filter(graph, distance, axis.interpolation, np.float32)
    weights = graph.add("Div", weights, graph.add("ReduceSum", weights, np.array([0])))
    sums = graph.add("Round", graph.add("MatMul", graph.cast(pixels, np.float32), weights))
    return graph.cast(graph.add("Clip", sums, np.float32(0), np.float32(255)), np.uint8)


def _vector(graph: Graph, number: str) -> str:
    """() as (1,)."""
    return graph.add("Unsqueeze", number, np.array([0]))
