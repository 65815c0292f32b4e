"""What the kinds' table has of segmentation: each file is imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from snellen.data.masks.sources import MaskedSet
    from snellen.tasks import kind
    from snellen.tasks.segmentation.recipe import SegmentationRecipe


class Segmentation:
    """See tasks.kind.Kind."""

    task = "segmentation"
    command: Literal["train", "pretrain"] = "train"
    measure = "mIoU"
    is_comparable = True

    @property
    def recipe(self) -> type[SegmentationRecipe]:
        from snellen.tasks.segmentation.recipe import SegmentationRecipe

        return SegmentationRecipe

    @property
    def data(self) -> kind.Data[SegmentationRecipe, MaskedSet]:
        from snellen.tasks.segmentation import data

        return data

    @property
    def prepare(self) -> kind.Prepare[SegmentationRecipe, MaskedSet]:
        from snellen.tasks.segmentation import prepare

        return prepare

    @property
    def record(self) -> kind.Record[SegmentationRecipe]:
        from snellen.tasks.segmentation import record

        return record

    @property
    def evaluate(self) -> kind.Evaluate:
        from snellen.tasks.segmentation import evaluate

        return evaluate

    @property
    def predict(self) -> kind.Predict:
        from snellen.tasks.segmentation import predict

        return predict

    @property
    def check(self) -> kind.Check:
        from snellen.tasks.segmentation import check

        return check

    @property
    def report(self) -> kind.Report:
        from snellen.tasks.segmentation import report

        return report

    @property
    def study(self) -> kind.Study[SegmentationRecipe, MaskedSet]:
        from snellen.tasks.segmentation import study

        return study
