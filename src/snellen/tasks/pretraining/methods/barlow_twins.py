"""Barlow Twins: the correlation of the two views' projections is pulled to the identity."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.tasks.pretraining.methods.method import Method, MethodSpec, in_fp32


class BarlowTwinsSpec(MethodSpec):
    """Redundancy reduction: Zbontar et al. 2021, arXiv 2103.03230."""

    name: Literal["barlow_twins"] = Field("barlow_twins", description="barlow_twins.")
    hidden: int = Field(2048, ge=1, description="Width of the projector's hidden layers (8192 in the paper).")
    output: int = Field(2048, ge=2, description="Width of the projections (8192 in the paper).")
    redundancy: float = Field(0.005, gt=0, description="Weight of the correlations between different outputs.")


class BarlowTwins(Method):
    """Backbone and projector; the loss is eq. 1, its batch statistics eq. 2."""

    def __init__(self, spec: BarlowTwinsSpec, backbone: nn.Module, width: int) -> None:
        from lightly.loss import BarlowTwinsLoss
        from lightly.models.modules.heads import BarlowTwinsProjectionHead

        super().__init__(spec, backbone)
        self.projector = BarlowTwinsProjectionHead(width, spec.hidden, spec.output)
        self._loss = BarlowTwinsLoss(spec.redundancy)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, at least 0, summed over outputs, and the projections."""
        projected = self.passed(nn.Sequential(self.backbone, self.projector), first, second)
        with in_fp32(first):
            return self._loss(*projected), torch.cat(projected).detach()
