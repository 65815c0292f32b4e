"""VICReg: views agree, while each output keeps its variance and outputs stay uncorrelated."""

from __future__ import annotations

from torch import nn

from snellen.tasks.pretraining.methods.method import ProjectionMethod
from snellen.tasks.pretraining.methods.spec import VicregSpec


class Vicreg(ProjectionMethod):
    """Backbone and projector; the loss is eq. 6, the weighted sum of three terms, at least 0."""

    def __init__(self, spec: VicregSpec, backbone: nn.Module, width: int) -> None:
        from lightly.loss import VICRegLoss
        from lightly.models.modules.heads import VICRegProjectionHead

        projector = VICRegProjectionHead(width, spec.hidden, spec.output, num_layers=3)
        super().__init__(spec, backbone, projector, VICRegLoss(spec.invariance, spec.variance, spec.covariance))
