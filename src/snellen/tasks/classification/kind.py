"""What the kinds' table has of classification: each file is imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from snellen.data.listing import ImageSet
    from snellen.tasks import kind
    from snellen.tasks.classification.recipe import Recipe


class Classification:
    """See tasks.kind.Kind."""

    task = "classification"
    command: Literal["train", "pretrain"] = "train"
    measure = "top-1"
    is_comparable = True

    @property
    def recipe(self) -> type[Recipe]:
        from snellen.tasks.classification.recipe import Recipe

        return Recipe

    @property
    def data(self) -> kind.Data[Recipe, ImageSet]:
        from snellen.tasks.classification import data

        return data

    @property
    def prepare(self) -> kind.Prepare[Recipe, ImageSet]:
        from snellen.tasks.classification import prepare

        return prepare

    @property
    def record(self) -> kind.Record[Recipe]:
        from snellen.tasks.classification import record

        return record

    @property
    def evaluate(self) -> kind.Evaluate:
        from snellen.tasks.classification import evaluate

        return evaluate

    @property
    def predict(self) -> kind.Predict:
        from snellen.tasks.classification import predict

        return predict

    @property
    def check(self) -> kind.Check:
        from snellen.tasks.classification import check

        return check

    @property
    def report(self) -> kind.Report:
        from snellen.tasks.classification import report

        return report

    @property
    def study(self) -> kind.Study[Recipe, ImageSet]:
        from snellen.tasks.classification import study

        return study
