"""A study: which recipe, which settings of it, how many labels, which seeds; and how it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import ErrorDetails

from snellen.errors import UserError
from snellen.recipe.fields import nearest_fields
from snellen.recipe.load import apply_overrides, explain, validate
from snellen.recipe.text import ShippedFiles, parse_yaml
from snellen.spec import Spec
from snellen.tasks.kinds import recipe_types
from snellen.words import kind_of

STUDIES = ShippedFiles(
    "study",
    "snellen.study",
    ("transfer-a-to-e", "transfer-lite", "transfer-masks", "label-efficiency", "recipes"),
    "Built in",
)
_MOST_SEEDS = 1000
Start = Literal["scratch", "supervised", "self-supervised"]


class SettingSpec(Spec):
    """One of the settings that are compared."""

    name: str = Field(min_length=1, max_length=60, description="Its name in folders, tables and sentences.")
    description: str = Field("", description="What it is, in a few words.")
    recipe: str | dict[str, Any] | None = Field(
        None, description="A recipe's name, file or fields, instead of the study's."
    )
    start: Start | None = Field(
        None,
        description="Where the backbone's weights come from: scratch, the study's `supervised` weights, or its "
        "`self_supervised` ones. null: as in the recipe.",
    )
    changes: dict[str, Any] = Field(default_factory=dict, description="Fields of the recipe that this setting changes.")


class PretrainingStep(Spec):
    """The pretraining that a study runs once, before all else, if no `self_supervised` weights are given."""

    recipe: str | dict[str, Any] = Field("simclr-small", description="A pretraining recipe's name, file or fields.")
    changes: dict[str, Any] = Field(default_factory=dict, description="Fields of that recipe to change.")
    data: str | None = Field(
        None, description="Images without labels. null: all training images of the study, their labels unused."
    )


class StudySpec(Spec):
    """Runs of one recipe along up to three axes: setting, share of the labels, seed."""

    name: str = Field("study", min_length=1, description="The name of the study.")
    description: str = Field("", description="The question it answers.")
    recipe: str | dict[str, Any] | None = Field(None, description="A recipe's name, file or fields, for all settings.")
    changes: dict[str, Any] = Field(
        default_factory=dict, description="Fields to change in the recipes of all settings."
    )
    settings: tuple[SettingSpec, ...] = Field((), description="What is compared.")
    recipes: tuple[str, ...] = Field((), description="Instead of settings: recipes, each a setting of that name.")
    only: tuple[str, ...] = Field((), description="Names of the settings to run. Empty: all.")
    fractions: tuple[float, ...] = Field((1.0,), min_length=1, description="Shares of the training images' labels.")
    fewest_steps: int = Field(
        0,
        ge=0,
        description="Minimum number of optimiser steps of each run: with few labels an epoch is short, so the recipe's "
        "epochs are increased. The number of scores stays the same.",
    )
    seeds: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        description="Seeds; each setting is run with each. A number n: 0 to n - 1. null: 0 to 4 if only "
        "a head on cached features is trained, which takes seconds, otherwise 0 to 2.",
    )
    supervised: str | None = Field(
        "imagenet", description="Weights for start=supervised: imagenet (a hub), a file or a run."
    )
    self_supervised: str | None = Field(
        None,
        description="Weights for start=self-supervised: a file or a pretraining run. null: `pretraining` trains them.",
    )
    pretraining: PretrainingStep | None = Field(None, description="How these weights are trained.")

    @field_validator("seeds", mode="before")
    @classmethod
    def _number_of_seeds(cls, seeds: Any) -> Any:
        if not isinstance(seeds, int) or isinstance(seeds, bool):
            return _listed(seeds)
        if not 1 <= seeds <= _MOST_SEEDS:
            raise ValueError(f"expected a number of seeds, from 1 to {_MOST_SEEDS:,}, or a list of seeds such as 0,1,2")
        return tuple(range(seeds))

    @field_validator("recipes", "only", "fractions", mode="before")
    @classmethod
    def _lists(cls, values: Any) -> Any:
        return _listed(values)

    @field_validator("fractions")
    @classmethod
    def _shares(cls, fractions: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < fraction <= 1 for fraction in fractions):
            raise ValueError("expected shares of the training images, above 0 and at most 1")
        return _once(fractions)

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, seeds: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if seeds is None:
            return None
        if not all(0 <= seed < 2**31 for seed in seeds):
            raise ValueError("expected whole numbers from 0 to 2,147,483,647")
        return _once(seeds)

    @model_validator(mode="after")
    def _settings_fit(self) -> StudySpec:
        if bool(self.settings) == bool(self.recipes):
            raise ValueError("a study compares either `settings` or `recipes`; give one of the two")
        names = [setting.name for setting in self.all_settings]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"two settings are called '{twice[0]}'; give each its own name")
        unknown = [name for name in self.only if name not in names]
        if unknown:
            raise ValueError(f"only: there is no setting '{unknown[0]}'. Settings: {', '.join(names)}")
        without = [s.name for s in self.all_settings if s.recipe is None and self.recipe is None]
        if without:
            raise ValueError(f"setting '{without[0]}' has no recipe, nor does the study")
        return self

    @property
    def all_settings(self) -> tuple[SettingSpec, ...]:
        """The settings, those of `recipes` included."""
        return self.settings or tuple(SettingSpec(name=_stem(recipe), recipe=recipe) for recipe in self.recipes)

    @property
    def chosen(self) -> tuple[SettingSpec, ...]:
        """The settings to run."""
        return tuple(s for s in self.all_settings if not self.only or s.name in self.only)


def _listed(values: Any) -> Any:
    """'a,b' and a single value as lists, since brackets have a special meaning in some shells."""
    if isinstance(values, str):
        return tuple(part for text in values.split(",") if (part := text.strip()))
    return (values,) if isinstance(values, int | float) and not isinstance(values, bool) else values


def _once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("each may be given only once")
    return values


def _stem(recipe: str) -> str:
    """my/recipe.yaml is called recipe."""
    return recipe.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".yaml").removesuffix(".yml")


def load_study(source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> StudySpec:
    """A study by its built-in name, from a YAML file, or from a dictionary of its fields.

    overrides: values by dotted key, {"seeds": [0, 1], "changes.epochs": 5}; they win over the file.
    Raises UserError that names the file and the key for anything invalid.
    """
    if not isinstance(source, str | Path | Mapping):
        raise UserError(f"study: expected a name, a YAML file or a dictionary of fields, got {kind_of(source)}.")
    if isinstance(source, Mapping):
        label, fields = "study", dict(source)
    else:
        text, label = STUDIES.read(source)
        fields = parse_yaml(text, label)
    return validate(StudySpec, apply_overrides(fields, overrides or {}), label, _explain)


def _explain(detail: ErrorDetails) -> str:
    """As for a recipe; if a study is given a field of a recipe, points to `changes`."""
    if detail["type"] == "extra_forbidden" and not nearest_fields(StudySpec, [str(part) for part in detail["loc"]]):
        key = ".".join(str(part) for part in detail["loc"])
        if close := [name for model in recipe_types() for name in nearest_fields(model, key.split("."))]:
            return f"{key}: no field of a study. For all recipes in it: changes.{close[0]}={detail['input']}"
    return explain(detail, StudySpec)
