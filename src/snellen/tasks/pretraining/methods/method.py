"""What all methods of self-supervised learning have: a backbone, heads, a loss over two views of the same images."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snellen.tasks.pretraining.methods.spec import MethodSpec

Module = TypeVar("Module", bound=nn.Module)


class Method(nn.Module):
    """A backbone and the heads that are only there while it is pretrained.

    backbone: images (B, 3, S, S) to pooled features (B, D); the network that is trained by gradient and kept.
    projector: features to the projections that the loss compares.
    """

    projector: nn.Module

    def __init__(self, spec: MethodSpec, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self._together = spec.views_together

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, and the detached projections (2B, E) of two views (B, 3, S, S) of the same images."""
        raise NotImplementedError

    def after_step(self, done: int, total: int) -> None:
        """What follows an optimiser step: the `done`-th, counted from 1, of `total`. Most methods do nothing."""

    def passed(self, network: nn.Module, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Both views through a network, in fp32, together or one by one, as the recipe says."""
        if self._together:
            both = network(torch.cat([first, second])).float()
            return both[: len(first)], both[len(first) :]
        return network(first).float(), network(second).float()


def in_fp32(tensor: Tensor) -> AbstractContextManager[None]:
    """Turns autocast off where `tensor` lies: matrix products of a loss are not for bf16."""
    return torch.autocast(tensor.device.type, enabled=False)


def target_of(network: Module) -> Module:
    """A copy that no gradient reaches, to be moved by `follow`."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """target = momentum * target + (1 - momentum) * online, over the parameters (Grill et al. 2020, eq. 1).

    Batch-norm statistics are the target's own, from the views that it sees.
    """
    theirs = [parameter.detach() for parameter in online.parameters()]
    torch._foreach_lerp_(list(target.parameters()), theirs, 1 - momentum)


def projection_deviation(projections: Tensor) -> Tensor:
    """How far projections are from all being the same: 1 when they point everywhere, 0 when all point one way.

    projections: (N, E) float. Returns a scalar in [0, 1]: the root of the summed variance of the projections brought
    to length 1. Chen & He 2020, arXiv 2011.10566, fig. 2, plot the deviation of one output, which is this over sqrt(E).
    """
    unit = F.normalize(projections.float(), dim=1)
    return (1 - unit.mean(0).square().sum()).clamp(min=0).sqrt()
