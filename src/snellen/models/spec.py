"""Recipe fields of networks: classifiers and segmenters."""

from __future__ import annotations

from pydantic import Field

from snellen.spec import Spec


class BackboneSpec(Spec):
    """The backbone and the source of its weights."""

    backbone: str = Field(
        "resnet18", description="airnet, torchvision/NAME (torchvision/vgg13), or any model name of timm."
    )
    weights: str | None = Field(
        None,
        description="null: from scratch. imagenet: from timm's or torchvision's hub. Else a file or a run directory.",
    )
    partial: bool = Field(False, description="Continue if some layers of `weights` do not fit.")
    width: float = Field(1.0, gt=0, le=16, description="Multiplier of airnet's channels.")
    drop_path: float = Field(
        0.0, ge=0, lt=1, description="Rate of stochastic depth, for timm backbones that support it."
    )


class HeadSpec(Spec):
    """From pooled features to logits: dropout, linear and ReLU for each hidden layer; then dropout and linear."""

    hidden: tuple[int, ...] = Field((), description="Widths of hidden layers.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout rate before each hidden layer.")
    last_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout rate before the last linear layer.")
    scale: float = Field(
        1.0, gt=0, description="Multiplier of the logits; below 1 keeps early predictions less confident."
    )


class ModelSpec(BackboneSpec):
    """The network of a classifier."""

    freeze: bool = Field(False, description="Train the head only; the backbone keeps its batch-norm statistics too.")
    cached: bool = Field(
        False,
        description="With freeze: features are extracted once, from evaluation views, and the head is trained on "
        "them, without augmentation.",
    )
    head: HeadSpec = Field(default_factory=HeadSpec, description="The layers that turn features into class scores.")


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
