"""DINO: the student takes over a centred and sharpened distribution of a slowly following teacher."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.tasks.pretraining.methods.method import Method, MethodSpec, follow, in_fp32, target_of


class DinoSpec(MethodSpec):
    """Self-distillation with no labels: Caron et al. 2021, arXiv 2104.14294; with the two global views only.

    The last layer is trained from the first step, and the teacher's temperature is constant: the paper freezes the one
    in the first epoch and raises the other over the first 30.
    """

    name: Literal["dino"] = Field("dino", description="dino.")
    hidden: int = Field(2048, ge=1, description="Width of the projector's hidden layers.")
    bottleneck: int = Field(256, ge=1, description="Width before the last layer.")
    batch_norm: bool = Field(True, description="Batch-norm in the projector. The paper has none on ViTs: false.")
    output: int = Field(4096, ge=2, description="Prototypes (65536 in the paper, for ImageNet).")
    student_temperature: float = Field(0.1, gt=0, description="Temperature of the student's softmax.")
    teacher_temperature: float = Field(0.04, gt=0, description="Temperature of the teacher's softmax.")
    center_momentum: float = Field(0.9, ge=0, lt=1, description="Share of the centre that a step keeps.")
    momentum: float = Field(0.996, ge=0, lt=1, description="Share of the teacher kept by a step; a cosine up to 1.")


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
        student = self.passed(nn.Sequential(self.backbone, self.projector), first, second)
        with torch.no_grad():
            teacher = self.passed(nn.Sequential(self.teacher_backbone, self.teacher_projector), first, second)
        with in_fp32(first):
            return self.loss(list(teacher), list(student)), torch.cat(student).detach()

    def after_step(self, done: int, total: int) -> None:
        """Moves the teacher."""
        momentum = 1 - (1 - self._momentum) * (math.cos(math.pi * done / total) + 1) / 2
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
