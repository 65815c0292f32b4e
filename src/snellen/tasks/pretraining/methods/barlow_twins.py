"""Barlow Twins: the correlation of the two views' projections is pulled towards the identity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snellen.tasks.pretraining.methods.method import Method, in_fp32
from snellen.tasks.pretraining.methods.spec import BarlowTwinsSpec


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
        projected = self.forward_views(nn.Sequential(self.backbone, self.projector), first, second)
        with in_fp32(first):
            return self._loss(*projected), torch.cat(projected).detach()
