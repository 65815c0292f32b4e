"""The recipe of a pretraining run."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from snellen.data.augment.spec import AugmentationSpec, EvaluationTransformSpec
from snellen.data.listing import DataSpec
from snellen.data.unlabelled import UnlabelledSpec
from snellen.engine.recipe import CommonRecipe
from snellen.models.spec import BackboneSpec
from snellen.tasks.pretraining.methods.spec import AnyMethodSpec, ByolSpec

_LOOKS = 10  # by k-NN, at the features of a pretraining, unless evaluation.every is given


class RepresentationSpec(EvaluationTransformSpec):
    """How, how often and on what the features are looked at."""

    every: int | None = Field(
        None,
        ge=1,
        description="Epochs between two looks; there is always one after the last. null: 1, and with `data` a "
        "tenth of the epochs, because k-NN with many labelled images takes a good part of an epoch's time.",
    )
    data: str | None = Field(
        None,
        description="A labelled set, in any layout that train takes, for k-NN and linear probe: its training images "
        "are the ones that are known, its validation images are scored. null: neither is computed.",
    )
    known: int | None = Field(None, ge=2, description="At most so many labelled images are known. null: all.")
    neighbours: int = Field(20, ge=1, description="k of k-NN.")
    temperature: float = Field(0.07, gt=0, description="Neighbours vote with weight exp(cosine / temperature).")
    probe: Literal["never", "last", "always"] = Field(
        "last", description="When a linear probe is fitted: never, after the last epoch, or at each look."
    )
    collapse: Literal["stop", "warn"] = Field(
        "stop", description="What to do when all projections have come to point the same way."
    )

    @property
    def choose(self) -> Literal["last"]:
        """The kept backbone is the last one: a choice by k-NN would make its score too good."""
        return "last"


class PretrainingRecipe(CommonRecipe):
    """Everything that decides what a pretraining run computes, except the images themselves."""

    whole_batch: ClassVar[bool] = True

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

    @property
    def drop_last(self) -> bool:
        """A smaller batch would be another loss: it is left out."""
        return True

    def scored_epochs(self) -> set[int]:
        """With labels also those whose features are kept, because looking at them costs as much as a score."""
        if self.evaluation.data is None:
            return super().scored_epochs()
        every = self.evaluation.every or max(1, self.epochs // _LOOKS)
        return {*range(every, self.epochs + 1, every), self.epochs} | self.snapshots.due(self.epochs)

    def network(self) -> dict[str, Any]:
        """The backbone's fields and the method's."""
        return {"model": super().network(), "method": self.method.model_dump(mode="json")}

    def identity(self) -> dict[str, Any]:
        """Without the place of the labelled images, which are known by their fingerprint."""
        fields = super().identity()
        return fields | {"evaluation": fields["evaluation"] | {"data": None}}

    def scored_on(self, source: str) -> PretrainingRecipe:
        """With k-NN and linear probe on these images; masks are no labels for them."""
        from snellen.data.masks.sources import is_masked

        evaluation = self.evaluation.model_copy(update={"data": None if is_masked(source) else source})
        return self.model_copy(update={"evaluation": evaluation})
