"""snellen, the eye chart for vision models: train, compare and explain image models, with the uncertainty said."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str

    from snellen.commands.check import check
    from snellen.commands.compare import compare
    from snellen.commands.demo import demo
    from snellen.commands.evaluate import evaluate
    from snellen.commands.predict import predict
    from snellen.commands.pretrain import pretrain
    from snellen.commands.report import report
    from snellen.commands.train import resume, train
    from snellen.errors import UserError
    from snellen.runs import Run, load
    from snellen.studies import Study
    from snellen.tasks.classification.recipe import Recipe
    from snellen.tasks.kinds import load_recipe
    from snellen.tasks.pretraining.recipe import PretrainingRecipe
    from snellen.tasks.segmentation.recipe import SegmentationRecipe

_HOMES = {
    "check": "commands.check",
    "compare": "commands.compare",
    "demo": "commands.demo",
    "evaluate": "commands.evaluate",
    "predict": "commands.predict",
    "pretrain": "commands.pretrain",
    "report": "commands.report",
    "resume": "commands.train",
    "train": "commands.train",
    "Run": "runs",
    "load": "runs",
    "Study": "studies",
    "UserError": "errors",
    "load_recipe": "tasks.kinds",
    "PretrainingRecipe": "tasks.pretraining.recipe",
    "Recipe": "tasks.classification.recipe",
    "SegmentationRecipe": "tasks.segmentation.recipe",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("snellen")
    if name in _HOMES:
        return getattr(import_module(f"snellen.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'snellen' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
