"""snellen, the eye chart for vision models: train, compare and explain image models, with the uncertainty stated."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

    from snellen.commands.check import check
    from snellen.commands.compare import compare
    from snellen.commands.demo import demo
    from snellen.commands.evaluate import evaluate
    from snellen.commands.export import export
    from snellen.commands.predict import predict
    from snellen.commands.pretrain import pretrain
    from snellen.commands.push import push
    from snellen.commands.report import report
    from snellen.commands.serve import serve
    from snellen.commands.shard import shard
    from snellen.commands.train import resume, train
    from snellen.errors import UserError
    from snellen.runs import Run, load
    from snellen.sharing.loading import load_model
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
    "export": "commands.export",
    "predict": "commands.predict",
    "pretrain": "commands.pretrain",
    "push": "commands.push",
    "report": "commands.report",
    "resume": "commands.train",
    "serve": "commands.serve",
    "shard": "commands.shard",
    "train": "commands.train",
    "Run": "runs",
    "load": "runs",
    "load_model": "sharing.loading",
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
    if name not in _HOMES:
        raise AttributeError(f"module 'snellen' has no attribute '{name}'")
    value: object = getattr(import_module(f"snellen.{_HOMES[name]}"), name)
    _name_publicly()
    return value


def _name_publicly() -> None:
    """Makes help, tracebacks and pickles say snellen.Run instead of snellen.runs.Run, for every name loaded so far.

    For every name, not only the requested one: `train` also returns a Run and raises UserError.
    """
    from inspect import get_annotations

    for name, home in _HOMES.items():
        value: Any = getattr(sys.modules.get(f"snellen.{home}"), name, None)
        if value is None or value.__module__ == __name__:
            continue
        if isinstance(value, type) and (annotations := get_annotations(value, eval_str=True)):
            value.__annotations__ = annotations  # types in place of strings, which only the home module can resolve
        value.__module__ = __name__


def __dir__() -> list[str]:
    return __all__
