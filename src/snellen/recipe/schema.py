"""The recipe: its parts put together. Each part's own type lives beside the code that reads it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from snellen.data.augment.mixing import MixSpec
from snellen.data.augment.pipeline import AugmentationSpec
from snellen.data.masks.augment import MaskAugmentationSpec
from snellen.data.masks.sources import MaskDataSpec
from snellen.data.normalization import NormalizationSpec
from snellen.data.sources import DataSpec
from snellen.data.unlabelled import UnlabelledSpec
from snellen.engine.device import HardwareSpec
from snellen.engine.ema import EmaSpec
from snellen.engine.optimizer import MOMENTUM, OptimizerSpec
from snellen.engine.schedule import ScheduleSpec, choice_of_epoch
from snellen.models.classifier import BackboneSpec, ModelSpec
from snellen.models.segmenters.build import SegmenterSpec
from snellen.spec import Spec
from snellen.tasks.classification.losses import LossSpec
from snellen.tasks.classification.task import EvaluationSpec, SnapshotSpec
from snellen.tasks.pretraining.evaluation import RepresentationSpec
from snellen.tasks.pretraining.methods.build import AnyMethodSpec
from snellen.tasks.pretraining.methods.byol import ByolSpec
from snellen.tasks.segmentation.losses import SegmentationLossSpec
from snellen.tasks.segmentation.task import MaskSnapshotSpec, SegmentationEvaluationSpec

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(duration: str) -> float:
    """Seconds in a duration such as '90s', '20m', '1.5h', '1h30m'. Raises ValueError for anything else."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smh])", duration)
    if not parts or re.sub(r"(\d+(?:\.\d+)?)\s*([smh])", "", duration).strip():
        raise ValueError("wanted a duration such as 90s, 20m or 1h30m")
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if total <= 0:
        raise ValueError("wanted a duration above zero")
    return total


def _check_duration(value: str) -> str:
    seconds(value)
    return value


_LOOKS = 10  # by k-NN, at the features of a pretraining, unless evaluation.every is given
Duration = Annotated[str, AfterValidator(_check_duration)]


class CommonRecipe(Spec):
    """What every kind of training has."""

    name: str = Field("custom", min_length=1, description="What the run is called in folders and reports.")
    seed: int = Field(
        0, ge=0, lt=2**31, description="Fixes initial weights, order of images, augmentation and dropout."
    )
    epochs: int = Field(
        10, ge=1, description="Passes over the training images. The schedule is laid out for exactly these."
    )
    budget: Duration | None = Field(
        None, description="Time for training and scoring (20m, 1h30m). The first steps are timed and `epochs` is set."
    )
    batch_size: int = Field(128, ge=2, description="Images in one optimiser step.")
    normalization: NormalizationSpec = Field(
        default_factory=NormalizationSpec, description="Mean and deviation that pixels are normalised by."
    )
    optimizer: OptimizerSpec = Field(default_factory=OptimizerSpec, description="How the loss is minimised.")
    schedule: ScheduleSpec = Field(default_factory=ScheduleSpec, description="The learning rate over the run.")
    hardware: HardwareSpec = Field(
        default_factory=HardwareSpec, description="Device, precision and memory layout; measured unless given."
    )
    snapshots: SnapshotSpec = Field(
        default_factory=SnapshotSpec, description="When features of validation images are kept for the report."
    )

    @model_validator(mode="after")
    def _momentum_can_cycle(self) -> CommonRecipe:
        if self.schedule.momentum is not None and self.optimizer.name not in MOMENTUM:
            raise ValueError(f"schedule.momentum works with optimizer.name={', '.join(MOMENTUM)}; else: null")
        return self


class Recipe(CommonRecipe):
    """Everything that decides what a classification run computes, except the images themselves."""

    task: Literal["classification"] = Field("classification", description="What is learnt from the images.")
    accumulation: int = Field(
        1, ge=1, description="Parts that a batch is split into to fit in memory; the gradient is that of the whole."
    )
    drop_last: bool = Field(
        False, description="Leave out the last, smaller batch of an epoch (other images each epoch, by the shuffle)."
    )
    data: DataSpec = Field(default_factory=DataSpec, description="How images and labels are found and split.")
    augmentation: AugmentationSpec = Field(
        default_factory=AugmentationSpec, description="What a training image goes through; drawn for each image."
    )
    mix: MixSpec = Field(default_factory=MixSpec, description="Mixup and CutMix: two images and their labels blended.")
    evaluation: EvaluationSpec = Field(
        default_factory=EvaluationSpec, description="How validation images are shown, how often, which epoch is kept."
    )
    model: ModelSpec = Field(default_factory=ModelSpec, description="The network and where its weights come from.")
    loss: LossSpec = Field(default_factory=LossSpec, description="What is minimised.")
    ema: EmaSpec | None = Field(None, description="Moving average of the weights; when set, it is what is scored.")

    sweep: tuple[float, ...] = Field(
        (),
        description="Learning rates of which the best on a held-out fifth of the training images becomes "
        "optimizer.lr. For model.cached, where trying is cheap.",
    )

    @model_validator(mode="after")
    def _settle_choice(self) -> Recipe:
        _settle_choice(self)
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        mixes = self.mix.mixup > 0 or self.mix.cutmix > 0
        if mixes and self.loss.name == "cross_entropy":
            raise ValueError("mix blends labels, which loss.name=cross_entropy cannot take; use loss.name=soft_target")
        if self.accumulation > self.batch_size // 2:
            raise ValueError(f"accumulation={self.accumulation} leaves parts of one image; at most batch_size / 2")
        if self.model.cached and (not self.model.freeze or mixes or self.evaluation.flip):
            raise ValueError("model.cached needs model.freeze=true, no mix, and evaluation.flip=false")
        if self.sweep and not self.model.cached:
            raise ValueError("sweep needs model.cached=true: other trainings are too long to be tried")
        if any(rate <= 0 for rate in self.sweep):
            raise ValueError("sweep: learning rates are above 0")
        return self


class PretrainingRecipe(CommonRecipe):
    """Everything that decides what a pretraining run computes, except the images themselves."""

    task: Literal["pretraining"] = Field("pretraining", description="Features are learnt from images without labels.")
    data: UnlabelledSpec = Field(default_factory=UnlabelledSpec, description="How images are found and kept.")
    augmentation: AugmentationSpec = Field(
        default_factory=AugmentationSpec, description="What a training image goes through; drawn for each image."
    )
    method: AnyMethodSpec = Field(default_factory=ByolSpec, description="How features are learnt; by its name.")
    evaluation: RepresentationSpec = Field(
        default_factory=RepresentationSpec, description="How, how often and on what the features are looked at."
    )
    labelled: DataSpec = Field(
        default_factory=DataSpec, description="How images and labels of evaluation.data are found and split."
    )
    model: BackboneSpec = Field(default_factory=BackboneSpec, description="The backbone, and its weights at the start.")

    @property
    def accumulation(self) -> int:
        """Losses over views look at the whole batch: it is never split."""
        return 1

    @property
    def ema(self) -> None:
        """Methods that want a moving average have their own."""
        return None


class SegmentationRecipe(CommonRecipe):
    """Everything that decides what a segmentation run computes, except the images and masks themselves."""

    task: Literal["segmentation"] = Field("segmentation", description="What every pixel is, is learnt from masks.")
    batch_size: int = Field(8, ge=2, description="Images in one optimiser step.")
    accumulation: int = Field(
        1,
        ge=1,
        description="Parts that a batch is split into to fit in memory; the gradient is that of the whole, but for the "
        "terms dice and lovasz, which are computed over each part and averaged.",
    )
    drop_last: bool = Field(
        False, description="Leave out the last, smaller batch of an epoch (other images each epoch, by the shuffle)."
    )
    data: MaskDataSpec = Field(
        default_factory=MaskDataSpec, description="How images and masks are found, understood and split."
    )
    augmentation: MaskAugmentationSpec = Field(
        default_factory=MaskAugmentationSpec,
        description="What a training image and its mask go through; drawn for each image.",
    )
    evaluation: SegmentationEvaluationSpec = Field(
        default_factory=SegmentationEvaluationSpec,
        description="How validation images are shown, how often, which epoch is kept.",
    )
    model: SegmenterSpec = Field(
        default_factory=SegmenterSpec, description="The network and where its weights come from."
    )
    loss: SegmentationLossSpec = Field(default_factory=SegmentationLossSpec, description="What is minimised.")
    ema: EmaSpec | None = Field(None, description="Moving average of the weights; when set, it is what is scored.")
    snapshots: MaskSnapshotSpec = Field(
        default_factory=MaskSnapshotSpec, description="When masks of validation images are kept for the report."
    )

    @model_validator(mode="after")
    def _settle_choice(self) -> SegmentationRecipe:
        _settle_choice(self)
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> SegmentationRecipe:
        if self.accumulation > self.batch_size // 2:
            raise ValueError(f"accumulation={self.accumulation} leaves parts of one image; at most batch_size / 2")
        return self


ImageRecipe = Recipe | PretrainingRecipe
AnyRecipe = Recipe | PretrainingRecipe | SegmentationRecipe


def _settle_choice(recipe: Recipe | SegmentationRecipe) -> None:
    """Which epoch is kept, where the recipe leaves it open; the recipe itself is immutable."""
    if recipe.evaluation.choose is None:
        choice = {"choose": choice_of_epoch(recipe.schedule)}
        recipe.__dict__["evaluation"] = recipe.evaluation.model_copy(update=choice)


def scored_epochs(recipe: AnyRecipe) -> set[int]:
    """The epochs, counted from 1, that end with a score: every so many, and the last.

    Of a pretraining also those whose features are kept, because looking at them costs as much as a score.
    """
    labelled = isinstance(recipe, PretrainingRecipe) and recipe.evaluation.data is not None
    every = recipe.evaluation.every or (max(1, recipe.epochs // _LOOKS) if labelled else 1)
    scored = {*range(every, recipe.epochs + 1, every), recipe.epochs}
    return scored | recipe.snapshots.due(recipe.epochs) if labelled else scored
