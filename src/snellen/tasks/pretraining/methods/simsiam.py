"""SimSiam: one network predicts its own projection of another view, through a stop-gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snellen import ranks
from snellen.tasks.pretraining.methods.method import Method, in_fp32
from snellen.tasks.pretraining.methods.spec import SimsiamSpec


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
        projected = self.forward_views(nn.Sequential(self.backbone, self.projector), first, second)
        predicted = self.forward_views(self.predictor, *projected)
        with in_fp32(first):
            (p0, p1), (z0, z1) = map(ranks.joined, predicted), map(ranks.joined, (z.detach() for z in projected))
            loss = self._loss(p0, z1) + self._loss(p1, z0)
        return loss / 2, torch.cat(projected).detach()
