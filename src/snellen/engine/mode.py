"""The mode of a run: precision, memory layout and the like, and how the modes are timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snellen.engine.spec import HardwareSpec
from snellen.models.unfolded import unfold_convolutions
from snellen.run.environment import Environment

Precision = Literal["fp32", "bf16"]


Loss = Callable[[nn.Module, Tensor], Tensor]


@dataclass(frozen=True)
class Mode:
    """One way of running a step. unfolded: small convolutions as matrix products (`models.unfolded`)."""

    precision: Precision
    channels_last: bool
    compiled: bool
    unfolded: bool = False

    @classmethod
    def recorded(cls, environment: Environment) -> Mode:
        """The mode of a run."""
        return cls(environment.precision, environment.channels_last, environment.compiled, environment.unfolded)

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

    def fixed(self, spec: HardwareSpec) -> HardwareSpec:
        """`spec` with this mode filled in, so that nothing is left to measure."""
        fields = {
            "precision": self.precision,
            "channels_last": self.channels_last,
            "compile": self.compiled,
            "unfold": self.unfolded,
            "remeasure": False,
        }
        return spec.model_copy(update=fields)


# By the names that SNELLEN_MODE and `pytest --mode` take.
NAMED_MODES = {
    "fp32": Mode("fp32", channels_last=False, compiled=False),
    "bf16": Mode("bf16", channels_last=False, compiled=False),
    "bf16-last": Mode("bf16", channels_last=True, compiled=False),
    "bf16-last-unfolded": Mode("bf16", channels_last=True, compiled=False, unfolded=True),
}


@dataclass(frozen=True)
class ModeTiming:
    """Median seconds of one forward and backward pass of `images` images in one mode, over `rounds` rounds."""

    mode: Mode
    images: int
    seconds: float
    rounds: int = 1

    def as_dict(self) -> dict[str, Any]:
        """For environment.json."""
        return {
            **asdict(self.mode),
            "images": self.images,
            "seconds_per_step": self.seconds,
            "rounds": self.rounds,
        }


@dataclass(frozen=True)
class Workload:
    """A step to be timed in several modes.

    images: (B, 3, H, W) float32 on the device, a whole batch. loss(model, images): the scalar to differentiate.
    accumulation: parts that a batch is split into. network: identifies the network in saved
    choices. steps: optimiser steps in the run, which limit how long measuring may take.
    """

    model: nn.Module
    images: Tensor
    loss: Loss
    accumulation: int
    network: str
    steps: int
