"""The learning rate over a run, as a factor of the recipe's rate."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from snellen.spec import Spec

_NEAR_ZERO = 0.1  # of the peak


class ScheduleSpec(Spec):
    """Spans exactly the run's epochs; the report says so if a run stopped before the end of its schedule."""

    name: Literal["constant", "cosine", "onecycle", "linear", "poly"] = Field(
        "constant",
        description="constant. cosine: half a cosine from 1 to `final`. onecycle: cosine up to 1 during `warmup`, then "
        "cosine down to `final`. linear: straight down to `final`. poly: (1 - t)^power down to `final`.",
    )
    warmup: float = Field(
        0.0, ge=0, lt=1, description="Share of the run's steps during which the rate rises from `start` to 1."
    )
    start: float = Field(0.0, ge=0, le=1, description="Factor at the first step of the warm-up.")
    final: float = Field(0.0, ge=0, le=1, description="Factor at the last step.")
    power: float = Field(0.9, gt=0, description="Exponent, for name=poly.")
    momentum: tuple[float, float] | None = Field(
        None,
        description="For name=onecycle: sgd's momentum, or the first beta of adam and adamw, at the highest rate and "
        "at both ends of the run. It moves opposite to the rate, as in PyTorch: [0.85, 0.95]. null: the optimizer's.",
    )

    @model_validator(mode="after")
    def _cycles(self) -> ScheduleSpec:
        if self.momentum is None:
            return self
        if self.name != "onecycle":
            raise ValueError("momentum moves with name=onecycle only; else: momentum: null")
        if not all(0 <= value < 1 for value in self.momentum):
            raise ValueError("momentum: both must be at least 0 and below 1")
        return self


def choice_of_epoch(spec: ScheduleSpec) -> Literal["best", "last"]:
    """Which epoch a run keeps by default.

    The last if the rate ends at a tenth of its peak or below: epochs hardly differ by then, and it is luck which scores
    best. While the rate stays high, scores go up and down from epoch to epoch, so the best is kept.
    """
    return "last" if spec.name != "constant" and spec.final <= _NEAR_ZERO else "best"


def factor(spec: ScheduleSpec, step: int, steps: int) -> float:
    """The factor in [0, 1] at optimiser step `step`, counted from 0, of `steps`.

    The warm-up takes the first round(warmup * steps) steps; the last step is at `final`.
    Source of onecycle: Smith & Topin 2017, arXiv 1708.07120; of poly: Chen et al. 2016, arXiv 1606.00915.
    """
    warmup = round(spec.warmup * steps)
    if step < warmup:
        rise = step / warmup
        if spec.name == "onecycle":
            rise = (1 - math.cos(math.pi * rise)) / 2
        return spec.start + (1 - spec.start) * rise
    if spec.name == "constant":
        return 1.0
    position = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
    if spec.name == "linear":
        height = 1 - position
    elif spec.name == "poly":
        height = (1 - position) ** spec.power
    else:
        height = (1 + math.cos(math.pi * position)) / 2
    return spec.final + (1 - spec.final) * height


def momentum(spec: ScheduleSpec, step: int, steps: int) -> float | None:
    """The momentum at optimiser step `step`, counted from 0, of `steps`; None if it is the optimizer's own."""
    if spec.momentum is None:
        return None
    lowest, highest = spec.momentum
    warmup = round(spec.warmup * steps)
    position = step / warmup if step < warmup else 1 - min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
    return highest + (lowest - highest) * (1 - math.cos(math.pi * position)) / 2
