"""Decoders of segmentation-models-pytorch on encoders of timm, and on the few encoders that only smp has."""

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

_DPT_STRIDE = 32  # of dpt's coarsest map
_PATCH = 16  # of the vision transformers that dpt was made for


class SmpSegmenter(Segmenter):
    """smp's network under smp's names of layers, but that its encoder is called backbone here as elsewhere.

    dpt on an encoder whose patches are no power of two, such as DINOv2's of 14 px: the encoder is given images resized
    by patch / 16, so that a patch covers 16 px of the image.
    """

    new = ("segmentation_head.",)

    def __init__(self, network: Any, encoder_name: str | None) -> None:
        super().__init__()
        self.encoder_name = encoder_name
        self.backbone = network.encoder
        self.decoder: nn.Module = network.decoder
        self.segmentation_head: nn.Module = network.segmentation_head
        self.stride = int(getattr(network.encoder, "output_stride", 32))
        self.enlarge = 1.0  # of the images that the encoder sees
        if hasattr(network.encoder, "output_strides"):  # plain vision transformers, whose grid of patches dpt halves
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
    """smp's decoders by name."""
    from segmentation_models_pytorch import MODEL_ARCHITECTURES_MAPPING

    return sorted(MODEL_ARCHITECTURES_MAPPING)


def build_smp(architecture: str, classes: int, drop_path: float, download: bool) -> SmpSegmenter:
    """DECODER/ENCODER from scratch. Draws from torch's own generator.

    An encoder that timm knows is timm's, so that classifiers' weights fit; others are smp's own, such as mit_b0.
    download: with the ImageNet weights of smp's hub, for an encoder of smp's own only. Raises UserError for an encoder
    that nobody knows or that this decoder cannot use.
    """
    import segmentation_models_pytorch as smp
    import timm

    decoder, _, encoder = architecture.partition("/")
    by_timm = timm.is_model(encoder)
    if not by_timm and encoder not in smp.encoders.encoders:
        known = sorted({*timm.list_models(), *smp.encoders.encoders})
        close = difflib.get_close_matches(encoder, known, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(close)}?" if close else "See timm.list_models()."
        raise UserError(f"model.architecture={architecture}: no such encoder. {hint}")
    if drop_path and not by_timm:
        raise UserError(f"model.drop_path: {encoder} has no such option; a timm encoder has.")
    name = f"tu-{encoder}" if by_timm else encoder
    weights = "imagenet" if download and not by_timm else None
    options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    options |= _any_size(decoder, encoder) if by_timm else {}
    try:
        with warnings.catch_warnings(), hugging_face() if weights else nullcontext():
            warnings.simplefilter("ignore")  # smp's advice on options that are not ours
            network = smp.create_model(decoder, name, weights, classes=classes, **options)
    except Exception as error:  # smp and timm raise what their many builders raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if weights is not None:
            raise UserError(
                f"model.weights=imagenet: the weights of {encoder} could not be fetched ({reason}). Check the "
                "connection, or give a local file with model.weights=FILE, or train from scratch with null."
            ) from error
        raise UserError(
            f"model.architecture={architecture}: this decoder cannot be put on this encoder ({reason}). "
            "Choose another of the two."
        ) from error
    if decoder == "dpt":
        _for_patches_of_16(network)
    return SmpSegmenter(network, encoder if by_timm else None)


def _for_patches_of_16(network: Any) -> None:
    """Replaces dpt's decoder where its factors, patch / 4 … patch / 32, are no whole numbers and would be cut."""
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
    """Options by which an encoder that is made for one size of images takes others."""
    import timm

    if decoder == "dpt":
        return {"dynamic_img_size": True}
    config = timm.get_pretrained_cfg(encoder)
    if config is not None and config.fixed_input_size and encoder.startswith("swin"):
        return {"strict_img_size": False}
    return {}
