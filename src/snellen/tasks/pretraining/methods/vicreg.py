"""VICReg: views agree, while each output keeps its variance and outputs stay uncorrelated."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snellen.tasks.pretraining.methods.method import Method, in_fp32
from snellen.tasks.pretraining.methods.spec import VicregSpec


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
        projected = self.forward_views(nn.Sequential(self.backbone, self.projector), first, second)
        with in_fp32(first):
            return self._loss(*projected), torch.cat(projected).detach()
