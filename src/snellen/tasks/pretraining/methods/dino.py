"""DINO: the student learns the centred and sharpened distribution of a momentum teacher."""

from __future__ import annotations

import math
import warnings
from typing import Any, cast

import torch
from torch import Tensor, nn

from snellen import ranks
from snellen.tasks.pretraining.methods.method import Method, follow, in_fp32, target_of
from snellen.tasks.pretraining.methods.spec import DinoSpec


class Dino(Method):
    """Student and teacher, each a backbone and a projector."""

    def __init__(self, spec: DinoSpec, backbone: nn.Module, width: int) -> None:
        from lightly.loss import DINOLoss

        super().__init__(spec, backbone)
        self._momentum = spec.momentum
        self.projector = _head(spec, width)
        self.teacher_backbone = target_of(backbone)
        self.teacher_projector = target_of(self.projector)
        self.loss = DINOLoss(
            spec.output,
            teacher_temp=spec.teacher_temperature,
            student_temp=spec.student_temperature,
            center_momentum=spec.center_momentum,
        )

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy in nats, the mean over both directions (eq. 3), and the student's outputs."""
        student = self.forward_views(nn.Sequential(self.backbone, self.projector), first, second)
        with torch.no_grad():
            teacher = self.forward_views(nn.Sequential(self.teacher_backbone, self.teacher_projector), first, second)
        with in_fp32(first):
            loss = self.loss([*map(ranks.joined, teacher)], [*map(ranks.joined, student)])
        return loss, torch.cat(student).detach()

    def after_step(self, step: int, total: int) -> None:
        """Updates the teacher."""
        momentum = 1 - (1 - self._momentum) * (math.cos(math.pi * step / total) + 1) / 2
        follow(self.teacher_backbone, self.backbone, momentum)
        follow(self.teacher_projector, self.projector, momentum)


def _head(spec: DinoSpec, width: int) -> nn.Module:
    """lightly's head, its last layer's weight norm (lengths fixed at 1) in the form that can be copied and saved."""
    from lightly.models.modules.heads import DINOProjectionHead

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the old weight norm
        head: Any = DINOProjectionHead(width, spec.hidden, spec.bottleneck, spec.output, batch_norm=spec.batch_norm)
        nn.utils.remove_weight_norm(head.last_layer)
    head.last_layer = nn.utils.parametrizations.weight_norm(head.last_layer)
    nn.init.ones_(head.last_layer.parametrizations.weight.original0).requires_grad_(False)
    return cast("nn.Module", head)
