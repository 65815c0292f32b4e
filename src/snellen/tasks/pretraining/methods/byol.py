"""BYOL: the online network predicts what a slowly following target network makes of another view."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.tasks.pretraining.methods.method import Method, MethodSpec, follow, in_fp32, target_of


class ByolSpec(MethodSpec):
    """Bootstrap your own latent: Grill et al. 2020, arXiv 2006.07733."""

    name: Literal["byol"] = Field("byol", description="byol.")
    hidden: int = Field(4096, ge=1, description="Width of the hidden layer of projector and predictor.")
    output: int = Field(256, ge=2, description="Width of projections and predictions.")
    momentum: float = Field(0.99, ge=0, lt=1, description="Share of the target that a step keeps, at the start.")
    momentum_schedule: Literal["constant", "cosine"] = Field(
        "constant", description="constant, or cosine: rising from `momentum` to 1 over the run, as in the paper."
    )


class Byol(Method):
    """Online: backbone, projector, predictor. Target: backbone and projector, without gradient."""

    def __init__(self, spec: ByolSpec, backbone: nn.Module, width: int) -> None:
        from lightly.models.modules.heads import BYOLPredictionHead, BYOLProjectionHead

        super().__init__(spec, backbone)
        self._spec = spec
        self.projector = BYOLProjectionHead(width, spec.hidden, spec.output)
        self.predictor = BYOLPredictionHead(spec.output, spec.hidden, spec.output)
        self.target_backbone = target_of(backbone)
        self.target_projector = target_of(self.projector)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """The sum over both directions of 2 - 2 * cosine(prediction, projection of the other view), in [0, 8].

        Source: Grill et al. 2020, eq. 2 and the symmetrised loss below it.
        """
        online = self.passed(nn.Sequential(self.backbone, self.projector), first, second)
        predicted = self.passed(self.predictor, *online)
        with torch.no_grad():
            target = self.passed(nn.Sequential(self.target_backbone, self.target_projector), first, second)
        with in_fp32(first):
            loss = regression(predicted[0], target[1]) + regression(predicted[1], target[0])
        return loss, torch.cat(online).detach()

    def after_step(self, done: int, total: int) -> None:
        """Moves the target."""
        momentum = target_momentum(self._spec, done, total)
        follow(self.target_backbone, self.backbone, momentum)
        follow(self.target_projector, self.projector, momentum)


def regression(predicted: Tensor, target: Tensor) -> Tensor:
    """2 - 2 * cosine, the mean over the batch: the squared distance of the two brought to length 1."""
    from lightly.loss import NegativeCosineSimilarity

    negative: Tensor = NegativeCosineSimilarity()(predicted, target)
    return 2 + 2 * negative


def target_momentum(spec: ByolSpec, done: int, total: int) -> float:
    """The target's momentum after step `done`, counted from 1, of `total`: 1 - (1 - m) * (cos(pi k / K) + 1) / 2."""
    if spec.momentum_schedule == "constant":
        return spec.momentum
    return 1 - (1 - spec.momentum) * (math.cos(math.pi * done / total) + 1) / 2
