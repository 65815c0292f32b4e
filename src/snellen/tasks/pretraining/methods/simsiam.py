"""SimSiam: one network predicts its own projection of another view, through a stop-gradient."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.tasks.pretraining.methods.method import Method, MethodSpec, in_fp32


class SimsiamSpec(MethodSpec):
    """Simple Siamese representation learning: Chen & He 2020, arXiv 2011.10566."""

    name: Literal["simsiam"] = Field("simsiam", description="simsiam.")
    hidden: int = Field(2048, ge=1, description="Width of the projector's hidden layers.")
    output: int = Field(2048, ge=2, description="Width of projections and predictions.")
    bottleneck: int = Field(512, ge=1, description="Width of the predictor's hidden layer.")


class Simsiam(Method):
    """Backbone, projector and predictor."""

    def __init__(self, spec: SimsiamSpec, backbone: nn.Module, width: int) -> None:
        from lightly.loss import NegativeCosineSimilarity
        from lightly.models.modules.heads import SimSiamPredictionHead, SimSiamProjectionHead

        super().__init__(spec, backbone)
        self.projector = SimSiamProjectionHead(width, spec.hidden, spec.output)
        self.predictor = SimSiamPredictionHead(spec.output, spec.bottleneck, spec.output)
        self._loss = NegativeCosineSimilarity()

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """The negative cosine, the mean over both directions, in [-1, 1] (eq. 4), and the projections."""
        projected = self.passed(nn.Sequential(self.backbone, self.projector), first, second)
        predicted = self.passed(self.predictor, *projected)
        with in_fp32(first):
            loss = self._loss(predicted[0], projected[1].detach()) + self._loss(predicted[1], projected[0].detach())
        return loss / 2, torch.cat(projected).detach()
