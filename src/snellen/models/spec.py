"""The fields of a classifier's network."""

from __future__ import annotations

from pydantic import Field

from snellen.spec import Spec


class BackboneSpec(Spec):
    """The backbone, and where its weights come from."""

    backbone: str = Field(
        "resnet18", description="airnet, torchvision/NAME (torchvision/vgg13), or any name that timm knows."
    )
    weights: str | None = Field(
        None, description="null: from scratch. imagenet: timm's or torchvision's hub. Else a file or a run directory."
    )
    partial: bool = Field(False, description="Go on when some layers of `weights` do not fit.")
    width: float = Field(1.0, gt=0, le=16, description="Factor of airnet's channels.")
    drop_path: float = Field(0.0, ge=0, lt=1, description="Stochastic depth, for timm backbones that have it.")


class HeadSpec(Spec):
    """From pooled features to logits: dropout, linear, ReLU for each hidden layer; then dropout, linear."""

    hidden: tuple[int, ...] = Field((), description="Widths of hidden layers.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of the inputs set to zero before each hidden layer.")
    last_dropout: float = Field(0.0, ge=0, lt=1, description="The same before the last linear layer.")
    scale: float = Field(1.0, gt=0, description="Factor of the logits; below 1 keeps early predictions cautious.")


class ModelSpec(BackboneSpec):
    """The network of a classifier."""

    freeze: bool = Field(False, description="Train the head only; the backbone keeps its batch-norm statistics too.")
    cached: bool = Field(
        False,
        description="With freeze: features are extracted once, of images shown as they are scored, and the head is "
        "trained on them. Augmentation then has no part.",
    )
    head: HeadSpec = Field(default_factory=HeadSpec, description="What turns features into classes.")
