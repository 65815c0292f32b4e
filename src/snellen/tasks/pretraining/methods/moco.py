"""MoCo v2: a view is told from a long queue of other images' projections by a slowly following key network."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from snellen.tasks.pretraining.methods.method import Method, MethodSpec, follow, in_fp32, target_of


class MocoSpec(MethodSpec):
    """Momentum contrast: He et al. 2019, arXiv 1911.05722; version 2: Chen et al. 2020, arXiv 2003.04297."""

    name: Literal["moco"] = Field("moco", description="moco.")
    hidden: int = Field(2048, ge=1, description="Width of the projector's hidden layer.")
    output: int = Field(128, ge=2, description="Width of the projections.")
    temperature: float = Field(0.2, gt=0, description="Divides the cosines.")
    momentum: float = Field(0.999, ge=0, lt=1, description="Share of the key network that a step keeps.")
    queue: int = Field(65536, ge=1, description="Projections of earlier images that are kept as negatives.")

    @field_validator("views_together")
    @classmethod
    def _one_view_a_network(cls, together: bool) -> bool:
        if together:
            raise ValueError("moco sends one view through each of its networks, nothing can be joined: false")
        return together


class Moco(Method):
    """Query network, key network, queue. Keys are shuffled over no devices: there is one."""

    def __init__(self, spec: MocoSpec, backbone: nn.Module, width: int) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models.modules.heads import MoCoProjectionHead

        super().__init__(spec, backbone)
        self._momentum = spec.momentum
        self.projector = MoCoProjectionHead(width, spec.hidden, spec.output)
        self.key_backbone = target_of(backbone)
        self.key_projector = target_of(self.projector)
        self.loss = NTXentLoss(spec.temperature, memory_bank_size=(spec.queue, spec.output))
        queue = self.loss.memory_bank
        for name, buffer in list(queue.named_buffers()):  # lightly leaves them out of checkpoints
            queue.register_buffer(name, buffer, persistent=True)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """InfoNCE in nats of the first view against the second and the queue, and the projections of the first."""
        query = self.projector(self.backbone(first)).float()
        with torch.no_grad():
            key = self.key_projector(self.key_backbone(second)).float()
        with in_fp32(first):
            return self.loss(query, key), query.detach()

    def after_step(self, done: int, total: int) -> None:
        """Moves the key network."""
        follow(self.key_backbone, self.backbone, self._momentum)
        follow(self.key_projector, self.projector, self._momentum)
