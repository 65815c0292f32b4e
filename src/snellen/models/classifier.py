"""A backbone with a head on its pooled features."""

from __future__ import annotations

import copy
import dataclasses
from typing import cast

import torch
from torch import Tensor, nn

from snellen.errors import UserError
from snellen.models.backbones import OnBackbone, build_backbone, own_normalization, published_size
from snellen.models.spec import BackboneSpec, HeadSpec, ModelSpec
from snellen.models.weights import WeightsReport, fit_weights, load_trained_weights, locate_weights, read_weights
from snellen.randomness import derive
from snellen.run.directory import RunDirectory
from snellen.words import first_line


class Classifier(OnBackbone):
    """backbone: images (B, 3, H, W) to pooled features (B, D); head: features to logits (B, C)."""

    def __init__(self, backbone: nn.Module, head: nn.Module, frozen: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        if frozen:
            self.freeze()

    def features(self, images: Tensor) -> Tensor:
        """(B, D) pooled features, the inputs of the head; features extracted before are returned unchanged."""
        if images.ndim == 2:
            return images
        return cast("Tensor", self.backbone(images))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C) logits."""
        return cast("Tensor", self.head(self.features(images)))


class _Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def build_classifier(spec: ModelSpec, classes: int, size: int, seed: int) -> tuple[Classifier, WeightsReport]:
    """The network of a recipe, on the CPU, in training mode.

    classes: C. size: side of the images in pixels. The head's initial weights depend only on `seed` and its widths, so
    that runs with different backbones or weights are comparable. Raises UserError if building or loading fails.
    """
    with torch.random.fork_rng(devices=[]):
        backbone, width, report = start_backbone(spec, size, seed)
        torch.manual_seed(derive(seed, "head"))
        head = _build_head(spec.head, width, classes)
    return Classifier(backbone, head, spec.freeze).train(), report


def start_backbone(spec: BackboneSpec, size: int, seed: int) -> tuple[nn.Module, int, WeightsReport]:
    """A backbone with its initial weights, and the width D of its pooled features. Uses torch's global generator.

    size: side of the images in pixels. Raises UserError if building or loading fails.
    """
    backbone, report = initial_backbone(spec, size, seed)
    return backbone, _feature_width(spec, backbone, size), report


def initial_backbone(spec: BackboneSpec, size: int, seed: int) -> tuple[nn.Module, WeightsReport]:
    """Like `start_backbone`, for callers that do not need the width of the features."""
    torch.manual_seed(derive(seed, "backbone"))
    backbone = build_backbone(spec, size, download=spec.weights == "imagenet")
    return backbone, _load(spec, backbone)


def load_trained(run: RunDirectory, spec: ModelSpec, size: int, which: str = "best") -> Classifier:
    """The trained network of a run, on the CPU, in evaluation mode. spec, size: from its recipe, see build_classifier.

    which: "best" (the chosen epoch) or "last".
    """
    model, _ = build_classifier(spec.model_copy(update={"weights": None}), len(run.classes), size, seed=0)
    load_trained_weights(model, run, which)
    return model.eval()


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, including frozen ones."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, height: int, width: int) -> int:
    """Multiply-accumulates for one image of (3, height, width), as counted by torch for the operators it knows."""
    from torch.utils.flop_counter import FlopCounterMode

    device = next(model.parameters()).device
    counted = copy.deepcopy(model).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        counted(torch.zeros(1, 3, height, width, device=device))
    return int(counter.get_total_flops()) // 2


def _build_head(spec: HeadSpec, width: int, classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for hidden in spec.hidden:
        layers += [nn.Dropout(spec.dropout), nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    layers += [nn.Dropout(spec.last_dropout), nn.Linear(width, classes)]
    if spec.scale != 1:
        layers.append(_Scaled(spec.scale))
    return nn.Sequential(*layers)


def _load(spec: BackboneSpec, backbone: nn.Module) -> WeightsReport:
    if spec.weights is None:
        return WeightsReport("from scratch")
    normalization = own_normalization(spec)
    if spec.weights == "imagenet":
        return WeightsReport(f"ImageNet weights of {spec.backbone}", normalization, len(backbone.state_dict()))
    path, run_normalization = locate_weights(spec.weights)
    report = fit_weights(backbone, read_weights(path), spec.weights, spec.partial)
    return dataclasses.replace(report, normalization=run_normalization or normalization)


def check_evaluation_size(backbone: nn.Module, spec: BackboneSpec, size: int) -> None:
    """Raises UserError if the backbone cannot take images of `evaluation.size` pixels."""
    _feature_width(spec, backbone, size, "evaluation.size")


def _feature_width(spec: BackboneSpec, backbone: nn.Module, size: int, field: str = "augmentation.size") -> int:
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            features = backbone(torch.zeros(1, 3, size, size))
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        reason = first_line(error)
        problem = f"it cannot take images of {size} px ({reason})"
        published = published_size(spec.backbone)
        hint = "" if published in {None, size} else f"; its published size is {published} px"
        raise UserError(f"model.backbone={spec.backbone}: {problem}. Choose another {field}{hint}.") from error
    backbone.train(was_training)
    if features.ndim != 2:
        raise UserError(f"model.backbone={spec.backbone}: its features are not pooled, {tuple(features.shape)}.")
    return int(features.shape[1])
