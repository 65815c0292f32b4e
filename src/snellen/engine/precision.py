"""Precision and memory layout: the possible modes, and which of them a run uses."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from snellen.engine import decisions
from snellen.engine.environment import arithmetic_unit
from snellen.engine.mode import NAMED_MODES, Mode, ModeTiming, Precision, Workload
from snellen.engine.spec import HardwareSpec
from snellen.errors import UserError

_WORTH_IT = 0.97  # a mode other than the plainest must save at least 3%


@dataclass(frozen=True)
class Choice:
    """The mode of a run, and the timings behind the choice. remembered: measured by an earlier run."""

    mode: Mode
    timings: tuple[ModeTiming, ...] = ()
    remembered: bool = False


def candidates(spec: HardwareSpec, device: torch.device) -> list[Mode]:
    """The modes that `spec` allows on `device`, plain fp32 first; unfolded and compiled ones only if fixed."""
    bf16 = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported())
    precisions: list[Precision] = ["fp32", "bf16"] if bf16 else ["fp32"]
    if spec.precision != "auto":
        precisions = [spec.precision]
    layouts = [False, True] if spec.channels_last is None else [spec.channels_last]
    fixed = spec.compile is True, spec.unfold is True
    return [Mode(precision, layout, *fixed) for precision in precisions for layout in layouts]


def variants(spec: HardwareSpec, device: torch.device, mode: Mode) -> list[Mode]:
    """Variants of the fastest candidate to try: unfolded on CPUs, compiled on CUDA, unless `spec` fixes that."""
    modes = []
    if spec.unfold is None and device.type == "cpu":
        modes.append(dataclasses.replace(mode, unfolded=True))
    if spec.compile is None and device.type == "cuda":
        modes.append(dataclasses.replace(mode, compiled=True))
    return modes


def choose(spec: HardwareSpec, work: Workload, console: Console) -> Choice:
    """The fastest of the modes that `spec` allows.

    The choice is kept in the user's cache folder (`engine.decisions`) and read from there the next time, without
    measuring again; nothing is measured either if only one mode is allowed. SNELLEN_MODE, one of NAMED_MODES, settles
    whatever `spec` leaves open without measuring. Raises what the plainest mode raises if none works.
    """
    from snellen.engine.measuring import measure

    device = work.images.device
    modes = candidates(spec, device)
    if len(modes) == 1 and not variants(spec, device, modes[0]):
        return Choice(modes[0])
    forced = _forced(spec)
    if forced is not None:
        return Choice(forced)
    key = _key(spec, work)
    remembered = None if spec.remeasure else decisions.read(key)
    if remembered is not None:
        return Choice(remembered, remembered=True)
    timings = measure(modes, lambda mode: variants(spec, device, mode), work, console)
    mode = fastest(timings)
    decisions.write(key, mode, timings)
    return Choice(mode, tuple(timings))


def check_compiler(device: torch.device) -> None:
    """Raises UserError if torch.compile does not work on `device`, which hardware.compile=true needs."""

    def doubled(x: Tensor) -> Tensor:
        return 2 * x

    try:
        torch.compile(doubled)(torch.ones(8, device=device))
    except Exception as error:  # no compiler, one that is too old, no Triton: each has an error of its own
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        packages = (
            "a C compiler (gcc) and Python's headers for Triton" if device.type == "cuda" else "a C++ compiler (g++)"
        )
        raise UserError(
            f"hardware.compile=true: torch.compile does not work here ({reason.strip()}). Install {packages}, on "
            "Debian or Ubuntu by `apt install build-essential python3-dev`, and unset CC and CXX if they name another "
            "one; or set hardware.compile=false."
        ) from error


def fastest(timings: list[ModeTiming]) -> Mode:
    """The fastest mode; the first (plainest) one unless another saves at least 3%."""
    best = min(timings, key=lambda entry: entry.seconds)
    return best.mode if best.seconds < _WORTH_IT * timings[0].seconds else timings[0].mode


def _forced(spec: HardwareSpec) -> Mode | None:
    """The mode that SNELLEN_MODE names, for what `spec` leaves open."""
    name = os.environ.get("SNELLEN_MODE")
    if not name:
        return None
    if name not in NAMED_MODES:
        raise UserError(f"SNELLEN_MODE={name}: not one of {', '.join(NAMED_MODES)}. Unset it to measure.")
    mode = NAMED_MODES[name]
    return Mode(
        mode.precision if spec.precision == "auto" else spec.precision,
        mode.channels_last if spec.channels_last is None else spec.channels_last,
        mode.compiled if spec.compile is None else spec.compile,
        mode.unfolded if spec.unfold is None else spec.unfold,
    )


def _key(spec: HardwareSpec, work: Workload) -> dict[str, Any]:
    """Everything that a choice depends on, as JSON values."""
    return {
        **arithmetic_unit(work.images.device),
        "network": work.network,
        "images": list(work.images.shape),
        "accumulation": work.accumulation,
        "hardware": spec.model_dump(mode="json", exclude={"remeasure"}),
    }
