"""Recipe fields of a segmenter's network."""

from __future__ import annotations

from pydantic import Field

from snellen.spec import Spec


class SegmenterSpec(Spec):
    """The network that classifies every pixel, and the source of its weights."""

    architecture: str = Field(
        "unet/resnet34",
        description="DECODER/ENCODER: one of segmentation-models-pytorch's decoders (unet, fpn, deeplabv3plus, "
        "segformer, …) on any encoder of timm, or mit_b0 to mit_b5; fcn32s, fcn16s or fcn8s on a VGG of timm "
        "or torchvision (fcn32s/torchvision/vgg16); or torchvision/deeplabv3_resnet50 or 101.",
    )
    weights: str | None = Field(
        None,
        description="null: from scratch. imagenet: the encoder's, from its hub. coco: of torchvision's DeepLabV3. Else "
        "a file or a run directory: of the encoder (a classifier or a pretraining run), of such a segmenter, or of one "
        "with another decoder, whose encoder is used. The layers that output the classes always start from scratch.",
    )
    partial: bool = Field(False, description="Continue if some layers of `weights` do not fit.")
    freeze: bool = Field(False, description="Do not train the encoder; its batch-norm statistics are kept too.")
    width: int = Field(512, ge=1, description="Channels of the two convolutions that fcn adds to VGG.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout rate after each of these two.")
    drop_path: float = Field(
        0.0, ge=0, lt=1, description="Rate of stochastic depth, for timm encoders that support it."
    )
