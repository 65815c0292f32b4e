"""The recipe of a classification run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from snellen.data.augment.spec import AugmentationSpec, EvaluationTransformSpec, MixSpec
from snellen.data.listing import DataSpec
from snellen.engine.ema import EmaSpec
from snellen.engine.recipe import CommonRecipe
from snellen.models.spec import ModelSpec
from snellen.spec import Spec


class LossSpec(Spec):
    """The loss to minimise: a mean over the images of a batch."""

    name: Literal["cross_entropy", "soft_target", "poly1"] = Field(
        "cross_entropy",
        description="cross_entropy: one class per image. soft_target: cross-entropy with a distribution over classes, "
        "which mixup and CutMix need. poly1: cross-entropy + epsilon * (1 - p of the true class).",
    )
    smoothing: float = Field(
        0.0, ge=0, lt=1, description="Label smoothing: this share of each label is spread evenly over all classes."
    )
    epsilon: float = Field(1.0, description="Weight of Poly-1's extra term, for name=poly1.")


class EvaluationSpec(EvaluationTransformSpec):
    """How validation images are prepared, how often they are scored, and which epoch is kept."""

    every: int = Field(1, ge=1, description="Epochs between two evaluations; the last epoch is always scored.")
    choose: Literal["best", "last"] | None = Field(
        None,
        description="Which epoch is kept: the one with the best validation top-1 (the report then gives the "
        "cross-fitted score of that choice), or the last. null: last if the schedule ends at a tenth of its peak or "
        "below, else best; the run's recipe.yaml says which.",
    )
    flip: bool = Field(False, description="Score the mean of the logits of an image and of its mirror image.")


class Recipe(CommonRecipe):
    """Everything that determines what a classification run computes, except the images themselves."""

    task: Literal["classification"] = Field("classification", description="The task.")
    accumulation: int = Field(
        1, ge=1, description="Parts that a batch is split into to fit in memory; the gradient is that of the whole."
    )
    drop_last: bool = Field(
        False, description="Leave out the last, smaller batch of an epoch (other images each epoch, by the shuffle)."
    )
    data: DataSpec = Field(default_factory=DataSpec, description="How images and labels are found and split.")
    augmentation: AugmentationSpec = Field(
        default_factory=AugmentationSpec, description="Transforms of a training image, drawn for each image."
    )
    mix: MixSpec = Field(default_factory=MixSpec, description="Mixup and CutMix: two images and their labels blended.")
    evaluation: EvaluationSpec = Field(
        default_factory=EvaluationSpec,
        description="How validation images are prepared, how often they are scored, which epoch is kept.",
    )
    model: ModelSpec = Field(default_factory=ModelSpec, description="The network and its initial weights.")
    loss: LossSpec = Field(default_factory=LossSpec, description="The loss to minimise.")
    ema: EmaSpec | None = Field(None, description="Moving average of the weights; if set, the average is scored.")
    sweep: tuple[float, ...] = Field(
        (),
        description="Learning rates to try; the best on a held-out fifth of the training images becomes optimizer.lr. "
        "For model.cached, since trying is cheap then.",
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        mixes = self.mix.mixup > 0 or self.mix.cutmix > 0
        if mixes and self.loss.name == "cross_entropy":
            raise ValueError("mix blends labels, which loss.name=cross_entropy cannot take; use loss.name=soft_target")
        if self.model.cached and (not self.model.freeze or mixes or self.evaluation.flip):
            raise ValueError("model.cached needs model.freeze=true, no mix, and evaluation.flip=false")
        if self.sweep and not self.model.cached:
            raise ValueError("sweep needs model.cached=true: other trainings take too long to try")
        if any(rate <= 0 for rate in self.sweep):
            raise ValueError("sweep: learning rates must be above 0")
        return self

    @property
    def trains_on_features(self) -> bool:
        """With model.cached."""
        return self.model.cached

    @property
    def trains_head_only(self) -> bool:
        """With model.freeze."""
        return self.model.freeze
