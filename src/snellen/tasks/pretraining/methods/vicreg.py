"""VICReg: views agree, while each output keeps its variance and outputs stay uncorrelated."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.tasks.pretraining.methods.method import Method, MethodSpec, in_fp32


class VicregSpec(MethodSpec):
    """Variance, invariance, covariance: Bardes et al. 2021, arXiv 2105.04906."""

    name: Literal["vicreg"] = Field(
        "vicreg",
        description="vicreg. Its covariance term is of fourth order in the projections: with optimizer.name=sgd, set "
        "optimizer.clip_norm=1, or a rate of about 0.02 (the paper has LARS at 0.2 x batch_size / 256).",
    )
    hidden: int = Field(2048, ge=1, description="Width of the projector's hidden layers (8192 in the paper).")
    output: int = Field(2048, ge=2, description="Width of the projections (8192 in the paper).")
    invariance: float = Field(25.0, gt=0, description="Weight of the distance between the views.")
    variance: float = Field(25.0, gt=0, description="Weight of the hinge that keeps each output's deviation at 1.")
    covariance: float = Field(1.0, gt=0, description="Weight of the covariances between different outputs.")


class Vicreg(Method):
    """Backbone and projector; the loss is eq. 6."""

    def __init__(self, spec: VicregSpec, backbone: nn.Module, width: int) -> None:
        from lightly.loss import VICRegLoss
        from lightly.models.modules.heads import VICRegProjectionHead

        super().__init__(spec, backbone)
        self.projector = VICRegProjectionHead(width, spec.hidden, spec.output, num_layers=3)
        self._loss = VICRegLoss(spec.invariance, spec.variance, spec.covariance)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted sum of the three terms, at least 0, and the projections."""
        projected = self.passed(nn.Sequential(self.backbone, self.projector), first, second)
        with in_fp32(first):
            return self._loss(*projected), torch.cat(projected).detach()
