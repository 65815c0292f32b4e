"""MoCo v2: a view is contrasted with a long queue of other images' projections by a momentum key network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snellen import ranks
from snellen.tasks.pretraining.methods.method import Method, follow, in_fp32, target_of
from snellen.tasks.pretraining.methods.spec import MocoSpec


class Moco(Method):
    """Query network, key network, queue. Batch-norm is over all processes, so keys need no shuffling between them."""

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
            return self.loss(ranks.joined(query), ranks.joined(key)), query.detach()

    def after_step(self, step: int, total: int) -> None:
        """Updates the key network."""
        follow(self.key_backbone, self.backbone, self._momentum)
        follow(self.key_projector, self.projector, self._momentum)
