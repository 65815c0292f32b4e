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
    from snellen.recipe.load import load_recipe
    from snellen.run.directory import Run, load
    from snellen.study.directory import Study
    from snellen.tasks.classification.recipe import Recipe
    from snellen.tasks.pretraining.recipe import PretrainingRecipe
    from snellen.tasks.segmentation.recipe import SegmentationRecipe

_HOMES = {
    "check": "snellen.commands.check",
    "compare": "snellen.commands.compare",
    "demo": "snellen.commands.demo",
    "evaluate": "snellen.commands.evaluate",
    "predict": "snellen.commands.predict",
    "pretrain": "snellen.commands.pretrain",
    "report": "snellen.commands.report",
    "resume": "snellen.commands.train",
    "train": "snellen.commands.train",
    "Run": "snellen.run.directory",
    "load": "snellen.run.directory",
    "Study": "snellen.study.directory",
    "UserError": "snellen.errors",
    "load_recipe": "snellen.recipe.load",
    "PretrainingRecipe": "snellen.recipe.schema",
    "Recipe": "snellen.recipe.schema",
    "SegmentationRecipe": "snellen.recipe.schema",
}

__all__ = [
    "PretrainingRecipe",
    "Recipe",
    "Run",
    "SegmentationRecipe",
    "Study",
    "UserError",
    "check",
    "compare",
    "demo",
    "evaluate",
    "load",
    "load_recipe",
    "predict",
    "pretrain",
    "report",
    "resume",
    "train",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("snellen")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'snellen' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
