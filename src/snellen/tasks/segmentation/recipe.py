"""The recipe of a segmentation run."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from snellen.data.masks.spec import MaskAugmentationSpec, MaskDataSpec, MaskEvaluationTransformSpec
from snellen.engine.ema import EmaSpec
from snellen.engine.recipe import CommonRecipe, SnapshotSpec
from snellen.models.spec import SegmenterSpec
from snellen.spec import Spec

Term = Literal["cross_entropy", "poly1", "focal", "dice", "lovasz"]


class SegmentationLossSpec(Spec):
    """The loss to minimise: a weighted sum of terms, each over the scored pixels of a batch."""

    terms: dict[Term, float] = Field(
        {"cross_entropy": 1.0},
        description="Weights of: cross_entropy. poly1: cross-entropy + epsilon * (1 - p of the true class), pixel by "
        "pixel. focal: cross-entropy * (1 - p)^gamma. dice: 1 - soft Dice, the mean over the classes in the batch. "
        "lovasz: a continuous form of 1 - IoU, the same mean.",
    )
    smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Label smoothing of cross_entropy and poly1: this share is spread over all classes.",
    )
    epsilon: float = Field(1.0, description="Weight of poly1's extra term.")
    gamma: float = Field(2.0, ge=0, description="Exponent of focal.")
    class_weights: Literal["balanced"] | dict[str, float] | None = Field(
        None,
        description="Weights of a pixel by the name of its class, 1 if not named, for cross_entropy, poly1 and "
        "focal; their mean is normalised by the sum of the weights. balanced: 1 / ln(1.02 + share of the "
        "training pixels), as Paszke et al. 2016.",
    )
    auxiliary: float = Field(0.4, ge=0, description="Weight of the same loss on the auxiliary head, if there is one.")

    @property
    def whole_batch(self) -> tuple[Term, ...]:
        """The terms whose value over a batch is not the mean of their values over its parts."""
        return tuple(term for term in ("dice", "lovasz") if self.terms.get(term))

    @field_validator("terms")
    @classmethod
    def _has_a_term(cls, terms: dict[Term, float]) -> dict[Term, float]:
        if not any(terms.values()) or min(terms.values()) < 0:
            raise ValueError(
                "expected weights of at least 0, and one of them above 0, as in {cross_entropy: 1, dice: 0.5}"
            )
        return terms

    @field_validator("class_weights")
    @classmethod
    def _positive(cls, weights: Literal["balanced"] | dict[str, float] | None) -> object:
        if isinstance(weights, dict) and min(weights.values(), default=1) < 0:
            raise ValueError("expected weights of at least 0")
        return weights


class SegmentationEvaluationSpec(MaskEvaluationTransformSpec):
    """How validation images are prepared, how often they are scored, and which epoch is kept."""

    every: int = Field(1, ge=1, description="Epochs between two evaluations; the last epoch is always scored.")
    choose: Literal["best", "last"] | None = Field(
        None,
        description="Which epoch is kept: the one with the best validation mIoU (the report then gives the "
        "cross-fitted score of that choice), or the last. null: last if the schedule ends at a tenth of its peak or "
        "below, else best; the run's recipe.yaml says which.",
    )
    flip: bool = Field(False, description="Score the mean of the logits of an image and of its mirror image.")
    tolerance: int = Field(
        3,
        ge=0,
        le=64,
        description="Pixels by which a boundary may be off and still count as matched in the boundary F-score.",
    )


class MaskSnapshotSpec(SnapshotSpec):
    """Predicted masks of the same validation images, kept after several epochs."""

    images: int = Field(24, ge=0, description="Validation images whose masks are kept, drawn once; 0 for none.")
    names: tuple[str, ...] = Field(
        (),
        description="Further validation images whose masks are kept: file names, with or without folder and extension.",
    )
    absent: Literal["error", "skip"] = Field(
        "error",
        description="What to do about `names` that match no validation image; skip leaves them out, with a note.",
    )

    @property
    def enabled(self) -> bool:
        """Whether anything is kept at all."""
        return self.images > 0 or len(self.names) > 0


class SegmentationRecipe(CommonRecipe):
    """Everything that determines what a segmentation run computes, except the images and masks themselves."""

    network_field: ClassVar[str] = "model.architecture"

    task: Literal["segmentation"] = Field("segmentation", description="The task: a class for every pixel.")
    batch_size: int = Field(8, ge=2, description="Images in one optimiser step.")
    accumulation: int = Field(
        1,
        ge=1,
        description="Parts that a batch is split into to fit in memory; the gradient is that of the whole, except "
        "for the terms dice and lovasz, which are computed over each part and averaged.",
    )
    drop_last: bool = Field(
        False, description="Leave out the last, smaller batch of an epoch (other images each epoch, by the shuffle)."
    )
    data: MaskDataSpec = Field(
        default_factory=MaskDataSpec, description="How images and masks are found, read and split."
    )
    augmentation: MaskAugmentationSpec = Field(
        default_factory=MaskAugmentationSpec,
        description="Transforms of a training image and its mask, drawn for each image.",
    )
    evaluation: SegmentationEvaluationSpec = Field(
        default_factory=SegmentationEvaluationSpec,
        description="How validation images are prepared, how often they are scored, which epoch is kept.",
    )
    model: SegmenterSpec = Field(default_factory=SegmenterSpec, description="The network and its initial weights.")
    loss: SegmentationLossSpec = Field(default_factory=SegmentationLossSpec, description="The loss to minimise.")
    ema: EmaSpec | None = Field(None, description="Moving average of the weights; if set, the average is scored.")
    snapshots: MaskSnapshotSpec = Field(
        default_factory=MaskSnapshotSpec, description="When masks of validation images are kept for the report."
    )

    @property
    def trains_head_only(self) -> bool:
        """With model.freeze."""
        return self.model.freeze
