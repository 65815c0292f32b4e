"""Decoders of segmentation-models-pytorch on timm's encoders, and on the few encoders that only smp has."""

from __future__ import annotations

import difflib
import math
import warnings
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from snellen.errors import UserError
from snellen.models.hubs import hugging_face
from snellen.models.segmenters.segmenter import Segmenter
from snellen.words import first_line

_DPT_STRIDE = 32  # of dpt's coarsest feature map
_PATCH = 16  # of the vision transformers that dpt was designed for


class SmpSegmenter(Segmenter):
    """smp's network with smp's layer names, except that its encoder is called backbone, as elsewhere.

    dpt on an encoder whose patch size is not a power of two, such as DINOv2's 14 px: the encoder gets images resized by
    patch / 16, so that a patch covers 16 px of the image.
    """

    new = ("segmentation_head.",)

    def __init__(self, network: Any, encoder_name: str | None) -> None:
        super().__init__()
        self.encoder_name = encoder_name
        self.backbone = network.encoder
        self.decoder: nn.Module = network.decoder
        self.segmentation_head: nn.Module = network.segmentation_head
        self.stride = int(getattr(network.encoder, "output_stride", 32))
        self.enlarge = 1.0  # factor of the encoder's input size
        if hasattr(network.encoder, "output_strides"):  # plain vision transformers, whose patch grid dpt halves
            patch = max(network.encoder.output_strides)
            if _DPT_STRIDE % patch and patch % _DPT_STRIDE:
                self.enlarge = patch / _PATCH
                patch = _PATCH
            self.stride = math.lcm(_DPT_STRIDE, 2 * patch)

    def heads(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.enlarge != 1:
            height, width = (round(side * self.enlarge) for side in images.shape[-2:])
            images = F.interpolate(images, (height, width), mode="bilinear", align_corners=False, antialias=True)
        features = self.backbone(images)
        decoded = self.decoder(*features) if isinstance(features, tuple) else self.decoder(features)
        return self.segmentation_head(decoded), None


def architectures() -> list[str]:
    """Names of smp's decoders."""
    from segmentation_models_pytorch import MODEL_ARCHITECTURES_MAPPING

    return sorted(MODEL_ARCHITECTURES_MAPPING)


def build_smp(architecture: str, classes: int, drop_path: float, download: bool) -> SmpSegmenter:
    """DECODER/ENCODER from scratch. Uses torch's global generator.

    Encoders come from timm if it has them, so that weights of classifiers fit; others, such as mit_b0, come from smp.
    download: with ImageNet weights from smp's hub, only for encoders of smp. Raises UserError for an unknown encoder or
    one that this decoder cannot use.
    """
    import segmentation_models_pytorch as smp
    import timm

    decoder, _, encoder = architecture.partition("/")
    is_timm = timm.is_model(encoder)
    if not is_timm and encoder not in smp.encoders.encoders:
        known = sorted({*timm.list_models(), *smp.encoders.encoders})
        close = difflib.get_close_matches(encoder, known, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(close)}?" if close else "See timm.list_models()."
        raise UserError(f"model.architecture={architecture}: no such encoder. {hint}")
    if drop_path and not is_timm:
        raise UserError(f"model.drop_path: {encoder} has no such option; a timm encoder has.")
    name = f"tu-{encoder}" if is_timm else encoder
    weights = "imagenet" if download and not is_timm else None
    options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    options |= _any_size(decoder, encoder) if is_timm else {}
    try:
        with warnings.catch_warnings(), hugging_face() if weights else nullcontext():
            warnings.simplefilter("ignore")  # smp's warnings about options that are not used here
            network = smp.create_model(decoder, name, weights, classes=classes, **options)
    except Exception as error:  # smp's and timm's builders raise many kinds of errors
        reason = first_line(error)
        if weights is not None:
            raise UserError(
                f"model.weights=imagenet: the weights of {encoder} could not be downloaded ({reason}). Check the "
                "connection, or use a local file with model.weights=FILE, or train from scratch with null."
            ) from error
        raise UserError(
            f"model.architecture={architecture}: this decoder does not work with this encoder ({reason}). "
            "Choose another decoder or encoder."
        ) from error
    if decoder == "dpt":
        _for_patches_of_16(network)
    return SmpSegmenter(network, encoder if is_timm else None)


def _for_patches_of_16(network: Any) -> None:
    """Replaces dpt's decoder if its factors, patch / 4 … patch / 32, are not integers and would be truncated."""
    patch = max(network.encoder.output_strides)
    if not (_DPT_STRIDE % patch and patch % _DPT_STRIDE):
        return
    from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder

    strides = [_PATCH] * len(network.encoder.output_strides)
    network.decoder = DPTDecoder(
        network.encoder.out_channels, strides, encoder_has_prefix_tokens=network.encoder.has_prefix_tokens
    )
    network.initialize()


def _any_size(decoder: str, encoder: str) -> dict[str, Any]:
    """Options that let an encoder built for one image size take others."""
    import timm

    if decoder == "dpt":
        return {"dynamic_img_size": True}
    config = timm.get_pretrained_cfg(encoder)
    if config is not None and config.fixed_input_size and encoder.startswith("swin"):
        return {"strict_img_size": False}
    return {}
