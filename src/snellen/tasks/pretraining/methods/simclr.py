"""SimCLR: two views of an image are told from the views of all other images in the batch."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.tasks.pretraining.methods.method import Method, MethodSpec, in_fp32


class SimclrSpec(MethodSpec):
    """A simple framework for contrastive learning: Chen et al. 2020, arXiv 2002.05709."""

    name: Literal["simclr"] = Field("simclr", description="simclr.")
    hidden: int = Field(2048, ge=1, description="Width of the projector's hidden layer.")
    output: int = Field(128, ge=2, description="Width of the projections.")
    temperature: float = Field(0.5, gt=0, description="Divides the cosines; lower puts more weight on near images.")


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
        projected = self.passed(nn.Sequential(self.backbone, self.projector), first, second)
        with in_fp32(first):
            return self._loss(*projected), torch.cat(projected).detach()
