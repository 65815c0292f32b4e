"""A network in int8, and whether what it loses can be accepted."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from snellen.errors import UserError
from snellen.exporting.network import NORMALISED, quietly
from snellen.files import why_not_written
from snellen.insight.paired import PairedTest
from snellen.insight.segmentation import PairedMasks
from snellen.words import counted, first_line

if TYPE_CHECKING:
    from onnx import ModelProto

LOSS = 0.01  # of top-1 or mIoU, that the file is refused for if it is beyond doubt
_SPEED_SECONDS, _FEWEST_ROUNDS = 2.0, 3
_OPERATORS = ["Conv", "Gemm", "MatMul", "Add", "Mul", "Clip", "Relu", "MaxPool", "GlobalAveragePool", "AveragePool"]


def quantized(network: ModelProto, batches: Iterable[NDArray[np.float32]]) -> ModelProto:
    """The network with weights and activations in int8: static, per channel, as QDQ nodes.

    batches: of normalised training images, from which the ranges of the activations are measured. Weights use 7 of the
    8 bits, since the products of processors without VNNI overflow otherwise. Raises UserError if that fails.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, batches: Iterator[NDArray[np.float32]]) -> None:
            self._batches = batches

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {NORMALISED: batch}

    try:
        with quietly(), tempfile.TemporaryDirectory(prefix="snellen-int8-") as folder:
            whole, prepared, result = (Path(folder) / f"{name}.onnx" for name in ("whole", "prepared", "result"))
            onnx.save(network, whole)
            quant_pre_process(whole, prepared, skip_symbolic_shape=True)  # which fails where onnx knows the shapes
            quantize_static(
                prepared,
                result,
                Reader(iter(batches)),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=_OPERATORS,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            return onnx.load(result)
    except UserError:  # of the batches
        raise
    except Exception as error:  # the quantiser raises what its parts raise
        why = why_not_written(error) if isinstance(error, OSError) else None
        if why is not None:
            raise UserError(
                f"{tempfile.gettempdir()}: {why}; quantising needs room for copies of the network."
            ) from error
        raise UserError(f"this network cannot be quantised: {first_line(error)}") from error


@dataclass(frozen=True)
class Int8Change:
    """What int8 changes. test: int8 against fp32 on the same images. measure: such as "top-1", that it compares.

    speed: images/s of int8 and of fp32, here. needed: images that could exclude a loss of LOSS, None if none could.
    """

    test: PairedTest | PairedMasks
    measure: str
    speed: tuple[float, float]
    needed: int | None

    @property
    def is_too_large(self) -> bool:
        """Whether even the better end of the interval loses more than LOSS."""
        worst = self.test.difference if self.test.interval is None else self.test.interval.high
        return worst < -LOSS

    def __str__(self) -> str:
        test, (fast, slow) = self.test, self.speed
        interval = test.interval
        bounds = (
            f"no interval: {test.why_no_test}"
            if interval is None
            else f"95% interval {100 * interval.low:+.2f} to {100 * interval.high:+.2f}"
        )
        sentence = (
            f"int8 changes {self.measure} by {100 * test.difference:+.2f} points ({bounds}; "
            f"{counted(test.total, 'validation image')}) and takes {slow / fast:.2f} times the time of fp32 on this "
            f"machine ({_rate(fast)} against {_rate(slow)} images/s, preprocessing included)"
        )
        if interval is not None and interval.low >= -LOSS:
            return f"{sentence}."
        if interval is None:
            advice = "without an interval it is not known how many could"
        elif self.needed is None:
            advice = "no number of images would, if the difference is as it looks"
        else:
            advice = f"about {self.needed:,} images could"
        these = "This 1 image" if test.total == 1 else f"These {test.total:,} images"
        return f"{sentence}. {these} cannot exclude a loss of 1 point; {advice}."


def _rate(images: float) -> str:
    return f"{images:,.0f}" if images >= 10 else f"{images:.2g}"


def refuse_loss(out: Path, change: Int8Change, force: bool) -> None:
    """Raises UserError if int8 loses too much, unless the file is forced."""
    if change.is_too_large and not force:
        raise UserError(
            f"{out}: not written, since even the better end of the interval loses more than 1 point: {change} To write "
            "it anyway: --force (in Python: force=True)."
        )


def images_per_second(
    int8: Callable[[NDArray[np.uint8]], object],
    fp32: Callable[[NDArray[np.uint8]], object],
    images: Sequence[NDArray[np.uint8]],
) -> tuple[float, float]:
    """The median speed of each, one decoded image (1, H, W, 3) at a time, measured in turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + _SPEED_SECONDS
    while time.perf_counter() < end or len(seconds[1]) < _FEWEST_ROUNDS:
        for run, times in zip((int8, fp32), seconds, strict=True):
            start = time.perf_counter()
            for image in images:
                run(image)
            times.append((time.perf_counter() - start) / len(images))
    return 1 / float(np.median(seconds[0])), 1 / float(np.median(seconds[1]))
