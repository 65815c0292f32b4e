"""The one table of kinds, and how to find that of a recipe or run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from snellen.engine.recipe import CommonRecipe
from snellen.errors import UserError
from snellen.recipe.load import RecipeSource, apply_overrides, not_one_of, read_fields, validate
from snellen.tasks.kind import FILES, Kind

AnyKind = Kind[Any, Any]


@dataclass(frozen=True)
class TaskFolder(Kind[Any, Any]):
    """A kind whose files are those of tasks/TASK/, each imported when it is used. See tasks.kind.Kind."""

    task: str
    command: Literal["train", "pretrain"]
    measure: str
    recipe_type: str
    is_comparable: bool = True

    def __getattr__(self, name: str) -> Any:
        if name not in (*FILES, "recipe"):
            raise AttributeError(f"a kind of task has no '{name}'")
        file = import_module(f"snellen.tasks.{self.task}.{name}")
        return getattr(file, self.recipe_type) if name == "recipe" else file


DEFAULT: AnyKind = TaskFolder("classification", "train", "top-1", "Recipe")  # of a recipe that names no task
KINDS: dict[str, AnyKind] = {
    kind.task: kind
    for kind in (
        DEFAULT,
        TaskFolder("pretraining", "pretrain", "k-NN top-1", "PretrainingRecipe", is_comparable=False),
        TaskFolder("segmentation", "train", "mIoU", "SegmentationRecipe"),
    )
}


def load_recipe(source: RecipeSource, overrides: Mapping[str, Any] | None = None) -> CommonRecipe:
    """A recipe by its shipped name, from a YAML file, from a dictionary of its fields, or another recipe, changed.

    overrides: values by dotted key, {"optimizer.lr": 0.01}; they win over the file.
    Raises UserError that names the file and the key for anything that does not fit.
    """
    fields, label = read_fields(source)
    return validated(apply_overrides(fields, overrides or {}), label)


def load_for(command: str, source: RecipeSource, overrides: Mapping[str, Any] | None) -> tuple[AnyKind, CommonRecipe]:
    """A recipe that a command must be able to train, "train" or "pretrain", and its kind.

    Raises UserError for any other recipe, with the command that takes it.
    """
    recipe = load_recipe(source, overrides)
    kind = kind_of(recipe)
    if kind.command != command:
        raise UserError(
            f"recipe '{recipe.name}' is for {recipe.task}. To use it: snellen {kind.command} {recipe.name} DATA"
        )
    return kind, recipe


def kind_of(recipe: CommonRecipe) -> AnyKind:
    """The kind of a recipe."""
    return KINDS[recipe.task]


def kinds_of(command: str) -> list[AnyKind]:
    """The kinds that a command trains."""
    return [kind for kind in KINDS.values() if kind.command == command]


def kind_of_data(data: Any, fields: Mapping[str, Any] | None = None) -> AnyKind:
    """The kind of labelled images, found without reading them, or from a field that only one kind has."""
    kinds = kinds_of("train")
    named = [kind for kind in kinds if kind.check.FIELDS & (fields or {}).keys()]
    return next(iter(named or [kind for kind in kinds if kind.data.recognises(data)]), DEFAULT)


def recipe_types() -> list[type[CommonRecipe]]:
    """The types of all recipes."""
    return [kind.recipe for kind in KINDS.values()]


def validated(fields: Mapping[str, Any], label: str) -> CommonRecipe:
    """Fields as a recipe of the kind that they name. Raises UserError for what does not fit."""
    model: type[CommonRecipe] = kind_named(fields, label).recipe
    return validate(model, fields, label)


def kind_named(fields: Mapping[str, Any], label: str) -> AnyKind:
    """The kind that a recipe's fields name. label: their name in messages. Raises UserError if it is not known."""
    task = fields.get("task", DEFAULT.task)
    if not isinstance(task, str) or task not in KINDS:
        raise UserError(f"{label}, task: {not_one_of(str(task), list(KINDS))}")
    return KINDS[task]
