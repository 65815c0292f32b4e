"""Batch-norm over the images of all processes; torch's own needs a GPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snellen import ranks


def synchronise_norms(model: nn.Module) -> None:
    """Lets every batch-norm of `model` take the mean and the variance over the images of all processes, in place."""
    for module in list(model.modules()):
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, _Synchronised):
            # A class of its own for each kind of batch-norm, with the same parameters, buffers and activation.
            kind = type(module)
            module.__class__ = type(f"Synchronised{kind.__name__}", (_Synchronised, kind), {})


class _Synchronised(nn.modules.batchnorm._BatchNorm):
    """A batch-norm that takes its statistics over all processes in training; in evaluation it is as before."""

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training or self.running_mean is None):
            return super().forward(x)
        out = _normalised(x, self)
        for name in ("drop", "act"):  # timm's batch-norm with an activation
            if isinstance(after := getattr(self, name, None), nn.Module):
                out = after(out)
        return out


def _normalised(x: Tensor, norm: nn.modules.batchnorm._BatchNorm) -> Tensor:
    """(B, C, …) normalised by the mean and the variance of each channel over all processes, and the running ones moved.

    Source: Ioffe & Szegedy 2015, arXiv 1502.03167, algorithm 1; the running variance is the unbiased one, as in torch.
    """
    axes = [axis for axis in range(x.dim()) if axis != 1]
    broadcast = [1, -1] + [1] * (x.dim() - 2)
    values = x.float()
    count = ranks.total(torch.tensor(float(values.numel() // values.shape[1]), device=x.device))
    mean = ranks.total(values.sum(axes)) / count
    centred = values - mean.view(broadcast)
    variance = ranks.total(centred.square().sum(axes)) / count
    if norm.training and norm.running_mean is not None and norm.running_var is not None:
        with torch.no_grad():
            share = norm.momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.add_(1)
                share = 1 / float(norm.num_batches_tracked) if share is None else share
            norm.running_mean.lerp_(mean.detach(), float(share or 0))
            norm.running_var.lerp_(variance.detach() * (count / (count - 1)), float(share or 0))
    out: Tensor = centred * torch.rsqrt(variance + norm.eps).view(broadcast)
    if norm.weight is not None:
        out = out * norm.weight.view(broadcast) + norm.bias.view(broadcast)
    return out.to(x.dtype)
