"""Barlow Twins: the correlation of the two views' projections is pulled towards the identity."""

from __future__ import annotations

from torch import nn

from snellen.tasks.pretraining.methods.method import ProjectionMethod
from snellen.tasks.pretraining.methods.spec import BarlowTwinsSpec


class BarlowTwins(ProjectionMethod):
    """Backbone and projector; the loss is eq. 1, at least 0, summed over outputs; its batch statistics are eq. 2."""

    def __init__(self, spec: BarlowTwinsSpec, backbone: nn.Module, width: int) -> None:
        from lightly.loss import BarlowTwinsLoss
        from lightly.models.modules.heads import BarlowTwinsProjectionHead

        projector = BarlowTwinsProjectionHead(width, spec.hidden, spec.output)
        super().__init__(spec, backbone, projector, BarlowTwinsLoss(spec.redundancy))
