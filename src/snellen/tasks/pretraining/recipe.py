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

_EVALUATIONS = 10  # by k-NN in a run, unless evaluation.every is set


class RepresentationSpec(EvaluationTransformSpec):
    """How, how often and on which images the features are evaluated."""

    every: int | None = Field(
        None,
        ge=1,
        description="Epochs between two evaluations; the last epoch is always evaluated. null: 1, and with `data` a "
        "tenth of the epochs, because k-NN with many labelled images takes a large part of an epoch's time.",
    )
    data: str | None = Field(
        None,
        description="A labelled set, in any layout that train takes, for k-NN and linear probe: they learn from its "
        "training images and are scored on its validation images. null: neither is computed.",
    )
    known: int | None = Field(None, ge=2, description="Use at most this many labelled images. null: all.")
    neighbours: int = Field(20, ge=1, description="k of k-NN.")
    temperature: float = Field(0.07, gt=0, description="Neighbours vote with weight exp(cosine / temperature).")
    probe: Literal["never", "last", "always"] = Field(
        "last", description="When a linear probe is fitted: never, after the last epoch, or at every evaluation."
    )
    collapse: Literal["stop", "warn"] = Field(
        "stop", description="What to do if all projections come to point the same way."
    )

    @property
    def choose(self) -> Literal["last"]:
        """The last backbone is kept: choosing it by k-NN would make its score too optimistic."""
        return "last"


class PretrainingRecipe(CommonRecipe):
    """Everything that determines what a pretraining run computes, except the images themselves."""

    whole_batch: ClassVar[bool] = True

    task: Literal["pretraining"] = Field(
        "pretraining", description="The task: features learnt from images without labels."
    )
    data: UnlabelledSpec = Field(default_factory=UnlabelledSpec, description="How images are found and kept.")
    augmentation: AugmentationSpec = Field(
        default_factory=AugmentationSpec, description="Transforms of a training image, drawn for each image."
    )
    method: AnyMethodSpec = Field(
        default_factory=ByolSpec, description="The method of self-supervised learning, by its name."
    )
    evaluation: RepresentationSpec = Field(
        default_factory=RepresentationSpec, description="How, how often and on which images the features are evaluated."
    )
    labelled: DataSpec = Field(
        default_factory=DataSpec, description="How images and labels of evaluation.data are found and split."
    )
    model: BackboneSpec = Field(default_factory=BackboneSpec, description="The backbone and its initial weights.")

    @property
    def accumulation(self) -> int:
        """1: losses over views need the whole batch, which is never split."""
        return 1

    @property
    def ema(self) -> None:
        """None: methods that use a moving average have their own."""
        return None

    @property
    def drop_last(self) -> bool:
        """True: on a smaller batch the loss would be a different one."""
        return True

    def scored_epochs(self) -> set[int]:
        """With labels also those of the snapshots, since their features cost as much as an evaluation."""
        if self.evaluation.data is None:
            return super().scored_epochs()
        every = self.evaluation.every or max(1, self.epochs // _EVALUATIONS)
        return {*range(every, self.epochs + 1, every), self.epochs} | self.snapshots.due(self.epochs)

    def network(self) -> dict[str, Any]:
        """The backbone's fields and the method's."""
        return {"model": super().network(), "method": self.method.model_dump(mode="json")}

    def identity(self) -> dict[str, Any]:
        """Without the path of the labelled images, which are identified by their fingerprint."""
        fields = super().identity()
        return fields | {"evaluation": fields["evaluation"] | {"data": None}}

    def scored_on(self, source: str) -> PretrainingRecipe:
        """With k-NN and linear probe on these images, unless they are labelled by masks."""
        from snellen.data.masks.sources import is_masked

        return self.with_part("evaluation", data=None if is_masked(source) else source)
