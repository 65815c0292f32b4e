"""Precision and memory layout, chosen by measuring: processors differ in what is fast."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snellen.engine.device import HardwareSpec, synchronise
from snellen.models.unfolded import unfold_convolutions

Precision = Literal["fp32", "bf16"]
_PROBE_SECONDS = 0.6  # what one timed step of the measurement may take, about
_SLOW = 2.0  # a step of so many seconds is timed once
_HOPELESS = 2.0  # a mode that takes so many times the best one's time is given up after its first step
_WORTH_IT = 0.95  # another mode than plain fp32 must save at least 5%


@dataclass(frozen=True)
class Mode:
    """One way of running a step. unfolded: small convolutions as matrix products (`models.unfolded`)."""

    precision: Precision
    channels_last: bool
    compiled: bool
    unfolded: bool = False

    def __str__(self) -> str:
        layout = ", channels last" if self.channels_last else ""
        unfolded = ", small convolutions unfolded" if self.unfolded else ""
        return f"{self.precision}{layout}{', compiled' if self.compiled else ''}{unfolded}"

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout as PyTorch names it."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def apply(self, model: nn.Module) -> None:
        """Brings a network into this mode, in place; precision is the caller's."""
        model.to(memory_format=self.memory_format)
        if self.unfolded:
            unfold_convolutions(model)


@dataclass(frozen=True)
class Measured:
    """Seconds of one forward and backward pass of `images` images in one mode."""

    mode: Mode
    images: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For environment.json."""
        return {**asdict(self.mode), "images": self.images, "seconds_per_step": self.seconds}


def candidates(spec: HardwareSpec, device: torch.device) -> list[Mode]:
    """The modes that `spec` allows on `device`, plain fp32 first; unfolded ones only where `spec` wants them."""
    bf16 = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported())
    precisions: list[Precision] = ["fp32", "bf16"] if bf16 else ["fp32"]
    if spec.precision != "auto":
        precisions = [spec.precision]
    layouts = [False, True] if spec.channels_last is None else [spec.channels_last]
    if spec.compile is None:
        compiled = [False, True] if device.type == "cuda" else [False]
    else:
        compiled = [spec.compile]
    return [Mode(p, layout, c, spec.unfold is True) for c in compiled for p in precisions for layout in layouts]


def choose(
    spec: HardwareSpec, model: nn.Module, images: Tensor, loss: Callable[[nn.Module, Tensor], Tensor]
) -> tuple[Mode, list[Measured]]:
    """The fastest of the modes that `spec` allows, and what was measured. Arguments as in `measure`.

    On a CPU the fastest one is tried once more with small convolutions unfolded.
    """
    modes = candidates(spec, images.device)
    try_unfolded = spec.unfold is None and images.device.type == "cpu"
    if len(modes) == 1 and not try_unfolded:
        return modes[0], []
    measured = measure(modes, model, images, loss)
    if try_unfolded:
        unfolded = dataclasses.replace(fastest(measured), unfolded=True)
        measured += measure([unfolded], model, images[: measured[0].images], loss)
    return fastest(measured), measured


def fastest(measured: list[Measured]) -> Mode:
    """The fastest mode; the first (plainest) one unless another saves at least 5%."""
    best = min(measured, key=lambda entry: entry.seconds)
    return best.mode if best.seconds < _WORTH_IT * measured[0].seconds else measured[0].mode


def measure(
    modes: list[Mode], model: nn.Module, images: Tensor, loss: Callable[[nn.Module, Tensor], Tensor]
) -> list[Measured]:
    """Times a forward and backward pass of copies of `model` in each mode.

    images: (B, 3, H, W) float32 on the device; fewer of them are used when the network is slow. loss(model, images)
    gives the scalar to differentiate. A mode that is much slower than another is not timed to the end. `model` is left
    as it was.
    """
    count = _affordable(modes[0], model, images, loss)
    measured: list[Measured] = []
    for mode in modes:
        limit = max(_SLOW, _HOPELESS * min((entry.seconds for entry in measured), default=float("inf")))
        measured.append(Measured(mode, count, _seconds(mode, model, images[:count], loss, limit=limit)))
    return measured


def _affordable(mode: Mode, model: nn.Module, images: Tensor, loss: Callable[[nn.Module, Tensor], Tensor]) -> int:
    probe = min(len(images), 2)
    seconds = _seconds(mode, model, images[:probe], loss, limit=_SLOW)
    return max(probe, min(len(images), int(probe * _PROBE_SECONDS / seconds)))


def _seconds(
    mode: Mode, model: nn.Module, images: Tensor, loss: Callable[[nn.Module, Tensor], Tensor], limit: float
) -> float:
    """Time of a step after a first one that warms up; of the first one itself where that is above `limit` already."""
    trial = copy.deepcopy(model)
    mode.apply(trial)
    trial.train()
    runner: nn.Module = torch.compile(trial) if mode.compiled else trial  # type: ignore[assignment]
    images = images.contiguous(memory_format=mode.memory_format)

    def step() -> float:
        synchronise(images.device)
        start = time.perf_counter()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=mode.precision == "bf16"):
            value = loss(runner, images)
        value.backward()  # type: ignore[no-untyped-call]
        synchronise(images.device)
        seconds = time.perf_counter() - start
        trial.zero_grad(set_to_none=True)
        return seconds

    first = step()
    if first > limit and not mode.compiled:
        return first
    second = step()
    return second if second > _SLOW else min(second, step())
