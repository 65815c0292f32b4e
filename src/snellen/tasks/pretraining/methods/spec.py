"""The recipe fields of each method."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from snellen.spec import Spec


class MethodSpec(Spec):
    """The fields that all methods have in common."""

    views_together: bool = Field(
        False,
        description="Send both views through a network in one pass, so that batch-norm computes its statistics over "
        "both. false: one pass for each view, as in the papers.",
    )


class ByolSpec(MethodSpec):
    """Bootstrap your own latent: Grill et al. 2020, arXiv 2006.07733."""

    name: Literal["byol"] = Field("byol", description="byol.")
    hidden: int = Field(4096, ge=1, description="Width of the hidden layer of projector and predictor.")
    output: int = Field(256, ge=2, description="Width of projections and predictions.")
    momentum: float = Field(0.99, ge=0, lt=1, description="Share of the target kept at each step, at the start.")
    momentum_schedule: Literal["constant", "cosine"] = Field(
        "constant", description="constant, or cosine: rising from `momentum` to 1 over the run, as in the paper."
    )


class SimclrSpec(MethodSpec):
    """A simple framework for contrastive learning: Chen et al. 2020, arXiv 2002.05709."""

    name: Literal["simclr"] = Field("simclr", description="simclr.")
    hidden: int = Field(2048, ge=1, description="Width of the projector's hidden layer.")
    output: int = Field(128, ge=2, description="Width of the projections.")
    temperature: float = Field(
        0.5, gt=0, description="Divides the cosines; lower values put more weight on similar images."
    )


class SimsiamSpec(MethodSpec):
    """Simple Siamese representation learning: Chen & He 2020, arXiv 2011.10566."""

    name: Literal["simsiam"] = Field("simsiam", description="simsiam.")
    hidden: int = Field(2048, ge=1, description="Width of the projector's hidden layers.")
    output: int = Field(2048, ge=2, description="Width of projections and predictions.")
    bottleneck: int = Field(512, ge=1, description="Width of the predictor's hidden layer.")


class MocoSpec(MethodSpec):
    """Momentum contrast: He et al. 2019, arXiv 1911.05722; version 2: Chen et al. 2020, arXiv 2003.04297."""

    name: Literal["moco"] = Field("moco", description="moco.")
    hidden: int = Field(2048, ge=1, description="Width of the projector's hidden layer.")
    output: int = Field(128, ge=2, description="Width of the projections.")
    temperature: float = Field(0.2, gt=0, description="Divides the cosines.")
    momentum: float = Field(0.999, ge=0, lt=1, description="Share of the key network kept at each step.")
    queue: int = Field(65536, ge=1, description="Number of earlier projections kept as negatives.")

    @field_validator("views_together")
    @classmethod
    def _one_view_per_network(cls, together: bool) -> bool:
        if together:
            raise ValueError("moco sends one view through each of its networks, so views cannot be joined: false")
        return together


class BarlowTwinsSpec(MethodSpec):
    """Redundancy reduction: Zbontar et al. 2021, arXiv 2103.03230."""

    name: Literal["barlow_twins"] = Field("barlow_twins", description="barlow_twins.")
    hidden: int = Field(2048, ge=1, description="Width of the projector's hidden layers (8192 in the paper).")
    output: int = Field(2048, ge=2, description="Width of the projections (8192 in the paper).")
    redundancy: float = Field(0.005, gt=0, description="Weight of the correlations between different outputs.")


class VicregSpec(MethodSpec):
    """Variance, invariance, covariance: Bardes et al. 2021, arXiv 2105.04906."""

    name: Literal["vicreg"] = Field(
        "vicreg",
        description="vicreg. Its covariance term is of fourth order in the projections: with optimizer.name=sgd, set "
        "optimizer.clip_norm=1, or a rate of about 0.02 (the paper uses LARS at 0.2 x batch_size / 256).",
    )
    hidden: int = Field(2048, ge=1, description="Width of the projector's hidden layers (8192 in the paper).")
    output: int = Field(2048, ge=2, description="Width of the projections (8192 in the paper).")
    invariance: float = Field(25.0, gt=0, description="Weight of the distance between the views.")
    variance: float = Field(25.0, gt=0, description="Weight of the hinge that keeps each output's deviation at 1.")
    covariance: float = Field(1.0, gt=0, description="Weight of the covariances between different outputs.")


class DinoSpec(MethodSpec):
    """Self-distillation with no labels: Caron et al. 2021, arXiv 2104.14294; with the two global views only.

    The last layer is trained from the first step, and the teacher's temperature is constant; the paper freezes the
    layer in the first epoch and raises the temperature over the first 30.
    """

    name: Literal["dino"] = Field("dino", description="dino.")
    hidden: int = Field(2048, ge=1, description="Width of the projector's hidden layers.")
    bottleneck: int = Field(256, ge=1, description="Width before the last layer.")
    batch_norm: bool = Field(True, description="Batch-norm in the projector. The paper uses none with ViTs: false.")
    output: int = Field(4096, ge=2, description="Prototypes (65536 in the paper, for ImageNet).")
    student_temperature: float = Field(0.1, gt=0, description="Temperature of the student's softmax.")
    teacher_temperature: float = Field(0.04, gt=0, description="Temperature of the teacher's softmax.")
    center_momentum: float = Field(0.9, ge=0, lt=1, description="Share of the centre kept at each step.")
    momentum: float = Field(
        0.996, ge=0, lt=1, description="Share of the teacher kept at each step; rises to 1 along a cosine."
    )


AnyMethodSpec = Annotated[
    ByolSpec | SimclrSpec | SimsiamSpec | MocoSpec | BarlowTwinsSpec | VicregSpec | DinoSpec,
    Field(discriminator="name"),
]
