"""SimCLR: two views of an image are contrasted with the views of all other images in the batch."""

from __future__ import annotations

from torch import nn

from snellen.tasks.pretraining.methods.method import ProjectionMethod
from snellen.tasks.pretraining.methods.spec import SimclrSpec


class Simclr(ProjectionMethod):
    """Backbone and projector with NT-Xent, the paper's eq. 1, in nats, at least 0."""

    def __init__(self, spec: SimclrSpec, backbone: nn.Module, width: int) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models.modules.heads import SimCLRProjectionHead

        projector = SimCLRProjectionHead(width, spec.hidden, spec.output)
        super().__init__(spec, backbone, projector, NTXentLoss(spec.temperature))
