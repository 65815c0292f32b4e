"""SimCLR: two views of an image are contrasted with the views of all other images in the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snellen.tasks.pretraining.methods.method import Method, in_fp32
from snellen.tasks.pretraining.methods.spec import SimclrSpec


class Simclr(Method):
    """Backbone and projector with NT-Xent, the paper's eq. 1."""

    def __init__(self, spec: SimclrSpec, backbone: nn.Module, width: int) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models.modules.heads import SimCLRProjectionHead

        super().__init__(spec, backbone)
        self.projector = SimCLRProjectionHead(width, spec.hidden, spec.output)
        self._loss = NTXentLoss(spec.temperature)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """NT-Xent in nats, at least 0, and the projections."""
        projected = self.forward_views(nn.Sequential(self.backbone, self.projector), first, second)
        with in_fp32(first):
            return self._loss(*projected), torch.cat(projected).detach()
