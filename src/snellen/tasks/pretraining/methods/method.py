"""The common part of all methods of self-supervised learning: a backbone, heads, a loss over two views."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snellen import ranks
from snellen.tasks.pretraining.methods.spec import MethodSpec

Module = TypeVar("Module", bound=nn.Module)


class Method(nn.Module):
    """A backbone and the heads that exist only during pretraining.

    backbone: images (B, 3, S, S) to pooled features (B, D); the network that is trained by gradient and kept.
    projector: features to the projections that the loss compares. With several processes, each computes the loss of the
    whole batch, from what all of them project.
    """

    projector: nn.Module

    def __init__(self, spec: MethodSpec, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self._together = spec.views_together

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, and the detached projections (2B, E) of two views (B, 3, S, S) of the same images."""
        raise NotImplementedError

    def after_step(self, step: int, total: int) -> None:
        """Called after each optimiser step: the `step`-th, counted from 1, of `total`. Most methods do nothing."""

    def forward_views(self, network: nn.Module, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Both views through a network, together or one after the other as the recipe says; outputs in fp32."""
        if self._together:
            both = network(torch.cat([first, second])).float()
            return both[: len(first)], both[len(first) :]
        return network(first).float(), network(second).float()


class ProjectionMethod(Method):
    """A method whose loss compares the projections of the two views, and needs nothing else."""

    def __init__(self, spec: MethodSpec, backbone: nn.Module, projector: nn.Module, loss: nn.Module) -> None:
        super().__init__(spec, backbone)
        self.projector = projector
        self._loss = loss

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and the projections."""
        projected = self.forward_views(nn.Sequential(self.backbone, self.projector), first, second)
        with in_fp32(first):
            return self._loss(*map(ranks.joined, projected)), torch.cat(projected).detach()


def in_fp32(tensor: Tensor) -> AbstractContextManager[None]:
    """Turns autocast off on the device of `tensor`: matrix products of a loss need more precision than bf16."""
    return torch.autocast(tensor.device.type, enabled=False)


def target_of(network: Module) -> Module:
    """A copy without gradients, to be updated by `follow`."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """target = momentum * target + (1 - momentum) * online, over the parameters (Grill et al. 2020, eq. 1).

    The target keeps batch-norm statistics of its own, from the views that it sees.
    """
    online_parameters = [parameter.detach() for parameter in online.parameters()]
    torch._foreach_lerp_(list(target.parameters()), online_parameters, 1 - momentum)


def projection_deviation(projections: Tensor) -> Tensor:
    """How spread out projections are: 1 if they point in all directions, 0 if all point the same way.

    projections: (N, E) float. Returns a scalar in [0, 1]: the root of the summed variance of the projections scaled
    to length 1. Chen & He 2020, arXiv 2011.10566, fig. 2, plot the deviation of one output, which is this over sqrt(E).
    """
    unit = F.normalize(projections.float(), dim=1)
    return (1 - unit.mean(0).square().sum()).clamp(min=0).sqrt()
