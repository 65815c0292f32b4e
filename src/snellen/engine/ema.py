"""Moving average of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from snellen.spec import Spec

if TYPE_CHECKING:
    from timm.utils import ModelEmaV3
    from torch import nn


class EmaSpec(Spec):
    """After each step: average = decay * average + (1 - decay) * weights (Polyak & Juditsky 1992)."""

    decay: float = Field(0.999, gt=0, lt=1, description="Share of the old average kept at each step.")
    warmup: bool = Field(
        True, description="Keep less at the start: decay at step t is at most 1 - 1 / (1 + t)^(2/3), as in timm."
    )
    every: int = Field(1, ge=1, description="Steps between two updates of the average.")


def build_ema(spec: EmaSpec, model: nn.Module) -> ModelEmaV3:
    """timm's average of `model`: parameters averaged, batch-norm statistics averaged as well."""
    from timm.utils import ModelEmaV3

    return ModelEmaV3(model, decay=spec.decay, use_warmup=spec.warmup, warmup_power=2 / 3)
