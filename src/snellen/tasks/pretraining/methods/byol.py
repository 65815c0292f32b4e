"""BYOL: the online network predicts a momentum target network's projection of another view."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from snellen import ranks
from snellen.tasks.pretraining.methods.method import Method, follow, in_fp32, target_of
from snellen.tasks.pretraining.methods.spec import ByolSpec


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
        online = self.forward_views(nn.Sequential(self.backbone, self.projector), first, second)
        predicted = self.forward_views(self.predictor, *online)
        with torch.no_grad():
            target = self.forward_views(nn.Sequential(self.target_backbone, self.target_projector), first, second)
        with in_fp32(first):
            (p0, p1), (t0, t1) = map(ranks.joined, predicted), map(ranks.joined, target)
            loss = regression(p0, t1) + regression(p1, t0)
        return loss, torch.cat(online).detach()

    def after_step(self, step: int, total: int) -> None:
        """Updates the target."""
        momentum = target_momentum(self._spec, step, total)
        follow(self.target_backbone, self.backbone, momentum)
        follow(self.target_projector, self.projector, momentum)


def regression(predicted: Tensor, target: Tensor) -> Tensor:
    """2 - 2 * cosine, the mean over the batch: the squared distance of the two scaled to length 1."""
    from lightly.loss import NegativeCosineSimilarity

    negative: Tensor = NegativeCosineSimilarity()(predicted, target)
    return 2 + 2 * negative


def target_momentum(spec: ByolSpec, step: int, total: int) -> float:
    """The target's momentum after `step`, counted from 1, of `total`: 1 - (1 - m) * (cos(pi k / K) + 1) / 2."""
    if spec.momentum_schedule == "constant":
        return spec.momentum
    return 1 - (1 - spec.momentum) * (math.cos(math.pi * step / total) + 1) / 2
