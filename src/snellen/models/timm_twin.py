"""A trained network in timm's own form, for backbones of timm with nothing but a linear layer on top."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snellen.models.backbones import from_timm, size_option
from snellen.models.classifier import Classifier
from snellen.models.spec import BackboneSpec

LARGEST = 1e-5  # difference of an output


def timm_twin(
    trained: nn.Module, spec: BackboneSpec, classes: int, size: int, scale: float = 1.0
) -> tuple[nn.Module, dict[str, Any]] | None:
    """timm's network with the same outputs, in evaluation mode, and the options that build it.

    trained: a Classifier, or with classes=0 its backbone; on the CPU, in evaluation mode. size: side in pixels of the
    images that it was built for. scale: of the head's logits. None if timm has no such network: other backbones, heads
    with hidden layers, several classifiers, or outputs for images of noise that differ by more than 1e-5.
    """
    if spec.backbone == "airnet" or spec.backbone.startswith("torchvision/"):
        return None
    network = from_timm(spec, size, download=False, classes=classes).eval()
    weights = trained.state_dict()
    if isinstance(trained, Classifier):
        named = _named_as_timm(trained, network, scale)
        if named is None:
            return None
        weights = named
    if weights.keys() != network.state_dict().keys():
        return None
    network.load_state_dict(weights)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        same = (network(images) - trained(images)).abs().max() <= LARGEST
    return (network, size_option(spec.backbone, size)) if same else None


def _named_as_timm(trained: Classifier, network: Any, scale: float) -> dict[str, Tensor] | None:
    """All weights by timm's names, the scale of the logits in the linear layer. None if timm has another layer."""
    linear = [layer for layer in trained.head.modules() if isinstance(layer, nn.Linear)]
    name = network.pretrained_cfg.get("classifier")
    if len(linear) != 1 or not isinstance(name, str):
        return None
    weights = network.state_dict()
    target = weights.get(f"{name}.weight")
    if target is None or target.numel() != linear[0].weight.numel():
        return None
    classifier = {
        f"{name}.weight": (linear[0].weight.detach() * scale).reshape(target.shape),
        f"{name}.bias": linear[0].bias.detach() * scale,
    }
    return trained.backbone.state_dict() | classifier
