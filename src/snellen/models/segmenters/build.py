"""From a recipe's architecture name to a network with its initial weights."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from snellen.data.normalization import Normalization
from snellen.errors import UserError
from snellen.models.backbones import build_backbone, own_normalization, published_size
from snellen.models.classifier import initial_backbone
from snellen.models.segmenters import deeplabv3, smp
from snellen.models.segmenters.deeplabv3 import DeepLabV3
from snellen.models.segmenters.fcn import Fcn
from snellen.models.segmenters.segmenter import Segmenter
from snellen.models.spec import BackboneSpec, SegmenterSpec
from snellen.models.weights import WeightsReport, fit_weights, load_trained_weights, locate_weights, read_weights
from snellen.randomness import derive
from snellen.run.directory import RunDirectory
from snellen.words import counted, first_line

_FCN_STEPS = {"fcn32s": 32, "fcn16s": 16, "fcn8s": 8}
_TORCHVISION = "torchvision/"
_IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "ImageNet's")
_WRAPPERS = ("", "module.", "model.", "_orig_mod.")


def build_segmenter(spec: SegmenterSpec, classes: int, seed: int) -> tuple[Segmenter, WeightsReport]:
    """The network of a recipe, on the CPU, in training mode.

    classes: C. Initial weights that are not loaded depend only on `seed` and the architecture, so that runs with
    different weights are comparable. Raises UserError, naming the layers, if building or loading fails.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "segmenter"))
        segmenter = _from_scratch(spec, classes)
        report = _load(spec, segmenter, seed)
    if spec.freeze:
        segmenter.freeze()
    return segmenter.train(), report


def check_sizes(segmenter: Segmenter, architecture: str, sizes: Iterable[tuple[int, int]]) -> None:
    """Raises UserError if the network cannot take images of one of the sizes (height, width); computes nothing."""
    hollow = copy.deepcopy(segmenter).to("meta").eval()
    for height, width in sizes:
        try:
            with torch.no_grad():
                hollow(torch.empty(2, 3, height, width, device="meta"))
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = first_line(error)
            raise UserError(
                f"model.architecture={architecture}: it cannot take images of {height} x {width} px ({reason}). Choose "
                "another augmentation.size and evaluation.resize, or another architecture."
            ) from error


def load_trained_segmenter(run: RunDirectory, spec: SegmenterSpec, which: str = "best") -> Segmenter:
    """The trained network of a run, on the CPU, in evaluation mode. spec: of its recipe.

    which: "best" (the chosen epoch) or "last".
    """
    segmenter, _ = build_segmenter(spec.model_copy(update={"weights": None}), len(run.classes), seed=0)
    load_trained_weights(segmenter, run, which)
    return segmenter.eval()


def _from_scratch(spec: SegmenterSpec, classes: int) -> Segmenter:
    family, _, encoder = spec.architecture.partition("/")
    if family in _FCN_STEPS and encoder:
        return Fcn(encoder, _vgg(encoder), _FCN_STEPS[family], classes, spec.width, spec.dropout)
    if spec.architecture.removeprefix(_TORCHVISION) in deeplabv3.NAMES and family == "torchvision":
        return DeepLabV3(encoder, classes)
    if family in smp.architectures() and encoder:
        return smp.build_smp(spec.architecture, classes, spec.drop_path, spec.weights == "imagenet")
    families = [*_FCN_STEPS, *smp.architectures()]
    known = [f"{_TORCHVISION}{name}" for name in deeplabv3.NAMES]
    close = difflib.get_close_matches(spec.architecture, known, n=1) or [
        f"{name}/{encoder or 'resnet34'}" for name in difflib.get_close_matches(family, families, n=1)
    ]
    hint = f" Did you mean {close[0]}?" if close else ""
    raise UserError(
        f"model.architecture={spec.architecture}: expected DECODER/ENCODER, such as unet/resnet34, with one of "
        f"{', '.join(families)}; or {' or '.join(known)}.{hint}"
    )


def _vgg(name: str) -> nn.Sequential:
    backbone = build_backbone(BackboneSpec(backbone=name), 224, download=False)
    features = getattr(backbone, "features", None)
    pools = [] if features is None else [layer for layer in features if isinstance(layer, nn.MaxPool2d)]
    if not isinstance(features, nn.Sequential) or len(pools) != 5:
        raise UserError(
            f"model.architecture: fcn needs a VGG, which {name} is not. Use torchvision/vgg16, vgg16_bn or "
            "another of torchvision or timm."
        )
    return features


def _load(spec: SegmenterSpec, segmenter: Segmenter, seed: int) -> WeightsReport:
    if spec.weights is None:
        return WeightsReport("from scratch")
    if spec.weights == "coco":
        return _load_coco(spec, segmenter)
    if spec.weights == "imagenet":
        return _load_encoder(spec, segmenter, seed, None)
    path, run_normalization = locate_weights(spec.weights)
    tensors = _with_our_names(read_weights(path), segmenter)
    if _is_segmenter(tensors, segmenter):
        report = fit_weights(segmenter, tensors, spec.weights, spec.partial, segmenter.new)
    elif encoder := _encoder_tensors(tensors, segmenter):
        report = fit_weights(segmenter.backbone, encoder, spec.weights, spec.partial)
    else:
        return _load_encoder(spec, segmenter, seed, tensors)
    return dataclasses.replace(report, normalization=run_normalization or _published_normalization(segmenter))


def _load_coco(spec: SegmenterSpec, segmenter: Segmenter) -> WeightsReport:
    if not isinstance(segmenter, DeepLabV3):
        known = " and ".join(f"{_TORCHVISION}{name}" for name in deeplabv3.NAMES)
        raise UserError(f"model.weights=coco: only {known} have such weights. Use imagenet, a file, a run or null.")
    try:
        tensors = deeplabv3.coco_weights(spec.architecture.removeprefix(_TORCHVISION))
    except Exception as error:  # whatever the connection raises
        raise UserError(
            f"model.weights=coco: the weights of {spec.architecture} could not be downloaded ({error}). Check "
            "the connection, or use a local file with model.weights=FILE, or start with imagenet or null."
        ) from error
    report = fit_weights(segmenter, tensors, spec.weights or "", spec.partial, segmenter.new)
    return dataclasses.replace(
        report,
        source=f"COCO weights of {spec.architecture}, new output layers",
        normalization=_published_normalization(segmenter),
    )


def _load_encoder(
    spec: SegmenterSpec, segmenter: Segmenter, seed: int, tensors: Mapping[str, Tensor] | None
) -> WeightsReport:
    """Loads the encoder's weights. tensors: those of spec.weights; None for imagenet."""
    if segmenter.encoder_name is None:
        if tensors is None:  # smp has downloaded them
            count = len(segmenter.backbone.state_dict())
            return WeightsReport(f"ImageNet weights of {spec.architecture.partition('/')[2]}", _IMAGENET, count)
        report = fit_weights(segmenter.backbone, tensors, str(spec.weights), spec.partial)
        return dataclasses.replace(report, normalization=_IMAGENET)
    encoder = BackboneSpec(backbone=segmenter.encoder_name, weights=spec.weights, partial=spec.partial)
    backbone, report = initial_backbone(encoder, published_size(segmenter.encoder_name) or 224, seed)
    _transfer(backbone, segmenter.backbone)
    return report


def _transfer(backbone: nn.Module, encoder: nn.Module) -> None:
    """Copies the weights of a classifier's backbone into the encoder derived from it.

    timm's and torchvision's feature extractors have a subset of its layers, under names that differ in dots and
    underscores (stages.0 is stages_0) and in a prefix.
    """
    source = {name.replace(".", "_"): tensor for name, tensor in backbone.state_dict().items()}
    target = encoder.state_dict()

    def matches(prefix: str) -> dict[str, Tensor]:
        keys = {name: name.removeprefix(prefix).replace(".", "_") for name in target}
        return {
            name: source[key] for name, key in keys.items() if key in source and source[key].shape == target[name].shape
        }

    tensors = max((matches(prefix) for prefix in ("", "model.", "model.model.")), key=len)
    missing = [name for name in target if name not in tensors and ".head." not in f".{name}"]
    if missing:
        raise UserError(
            f"model.weights: {counted(len(missing), 'layer')} of the encoder without weights, such as {missing[0]}."
        )
    encoder.load_state_dict(tensors, strict=False)


def _with_our_names(tensors: Mapping[str, Tensor], segmenter: Segmenter) -> dict[str, Tensor]:
    """Renames the encoder in smp's files to backbone."""
    if not isinstance(segmenter, smp.SmpSegmenter):
        return dict(tensors)
    return {re.sub(r"^(module\.|model\.)?encoder\.", r"\1backbone.", name): t for name, t in tensors.items()}


def _is_segmenter(tensors: Mapping[str, Tensor], segmenter: Segmenter) -> bool:
    """Whether the tensors belong to a network like this one, not just to an encoder."""
    outside = [name for name in segmenter.state_dict() if not name.startswith("backbone.")]
    matching = max(sum(f"{prefix}{name}" in tensors for name in outside) for prefix in _WRAPPERS)
    return matching > len(outside) / 2


def _encoder_tensors(tensors: Mapping[str, Tensor], segmenter: Segmenter) -> dict[str, Tensor]:
    """The encoder in the file of a segmenter with another decoder; empty if the file has no such encoder."""
    layers = {
        name: tensor
        for name, tensor in segmenter.backbone.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    for wrapper in _WRAPPERS:
        prefix = f"{wrapper}backbone."
        inside = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        if all(name in inside and inside[name].shape == tensor.shape for name, tensor in layers.items()):
            return inside
    return {}


def _published_normalization(segmenter: Segmenter) -> Normalization | None:
    if segmenter.encoder_name is None:
        return _IMAGENET
    return own_normalization(BackboneSpec(backbone=segmenter.encoder_name))
