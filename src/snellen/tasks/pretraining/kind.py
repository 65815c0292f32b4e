"""What the kinds' table has of pretraining: each file is imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from snellen.data.unlabelled import UnlabelledSet
    from snellen.tasks import kind
    from snellen.tasks.pretraining.recipe import PretrainingRecipe


class Pretraining:
    """See tasks.kind.Kind."""

    task = "pretraining"
    command: Literal["train", "pretrain"] = "pretrain"
    measure = "k-NN top-1"
    is_comparable = False

    @property
    def recipe(self) -> type[PretrainingRecipe]:
        from snellen.tasks.pretraining.recipe import PretrainingRecipe

        return PretrainingRecipe

    @property
    def data(self) -> kind.Data[PretrainingRecipe, UnlabelledSet]:
        from snellen.tasks.pretraining import data

        return data

    @property
    def prepare(self) -> kind.Prepare[PretrainingRecipe, UnlabelledSet]:
        from snellen.tasks.pretraining import prepare

        return prepare

    @property
    def record(self) -> kind.Record[PretrainingRecipe]:
        from snellen.tasks.pretraining import record

        return record

    @property
    def evaluate(self) -> kind.Evaluate:
        from snellen.tasks.pretraining import evaluate

        return evaluate

    @property
    def predict(self) -> kind.Predict:
        from snellen.tasks.pretraining import predict

        return predict

    @property
    def check(self) -> kind.Check:
        from snellen.tasks.pretraining import check

        return check

    @property
    def report(self) -> kind.Report:
        from snellen.tasks.pretraining import report

        return report

    @property
    def study(self) -> kind.Study[PretrainingRecipe, UnlabelledSet]:
        from snellen.tasks.pretraining import study

        return study
