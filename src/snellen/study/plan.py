"""The runs of a study: each setting with each share of the labels and each seed."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from pathlib import Path

from snellen.data.fingerprint import content_hashes
from snellen.engine.recipe import CommonRecipe
from snellen.engine.relevance import result_key
from snellen.errors import UserError
from snellen.insight.differences import flattened
from snellen.recipe.load import apply_overrides, read_fields
from snellen.study.spec import SettingSpec, StudySpec
from snellen.tasks.kinds import kind_named, load_for, load_recipe
from snellen.tasks.setup import absolute


@dataclass(frozen=True)
class PlannedRun:
    """One run. key: a hash of what determines its result: the recipe, the images, the weights that it starts from.

    path: the run's folder, with the key in its name, so that a finished run is recognised.
    """

    setting: str
    fraction: float
    seed: int
    recipe: CommonRecipe
    key: str
    path: Path


@dataclass(frozen=True)
class PlannedPretraining:
    """The pretraining that comes first. source: its images, None for the study's own. path: the folder of its run."""

    recipe: CommonRecipe
    source: str | None
    path: Path


@dataclass(frozen=True)
class Plan:
    """Runs in the order in which they are trained: all settings with the first seed, then with the second, …"""

    pretraining: PlannedPretraining | None
    runs: tuple[PlannedRun, ...]


@dataclass(frozen=True)
class PlannedData:
    """The labelled images: their location, a hash of them, and the number to train on."""

    source: str
    fingerprint: str
    training_images: int


def make_plan(study: StudySpec, data: PlannedData, out: Path) -> Plan:
    """The runs of a study, their recipes validated.

    out: the study's folder; nothing is written to it.
    Raises UserError for invalid recipes, missing weights, and two settings that are the same run.
    """
    pretraining = _pretraining(study, data, out)
    starts = {setting.name: _weights(study, setting, pretraining) for setting in study.chosen}
    seeds = {setting.name: _seeds(study, setting, starts[setting.name], data, out) for setting in study.chosen}
    runs: dict[str, PlannedRun] = {}
    all_seeds = dict.fromkeys(seed for of_setting in seeds.values() for seed in of_setting)
    for seed, fraction, setting in itertools.product(all_seeds, study.fractions, study.chosen):
        if seed not in seeds[setting.name]:
            continue
        run = _run(study, setting, fraction, seed, starts[setting.name], data, out)
        if run.key in runs:
            raise UserError(
                f"study '{study.name}': settings '{runs[run.key].setting}' and '{setting.name}' are the same "
                "run; their recipes do not differ. Change one, or leave it out with only=[…]."
            )
        runs[run.key] = run
    tasks = {run.recipe.task: run.setting for run in runs.values()}
    if len(tasks) > 1:
        one, other = tasks.values()
        raise UserError(
            f"study '{study.name}': settings '{one}' and '{other}' are for different tasks ({', '.join(tasks)})."
        )
    return Plan(pretraining, tuple(runs.values()))


@dataclass(frozen=True)
class _Weights:
    """value: for model.weights. identity: what represents them in a run's key, whatever the path."""

    value: str | None
    identity: str


def _weights(study: StudySpec, setting: SettingSpec, pretraining: PlannedPretraining | None) -> _Weights | None:
    """The weights that a setting starts from; None: those of its recipe."""
    if setting.start is None:
        return None
    if setting.start == "scratch":
        return _Weights(None, "scratch")
    label = f"study '{study.name}', setting '{setting.name}'"
    if setting.start == "supervised":
        if study.supervised is None:
            raise UserError(f"{label}: it starts from supervised weights. Give supervised=imagenet, or a file or run.")
        return _existing(study.supervised, f"{label}: supervised")
    if study.self_supervised is not None:
        return _existing(study.self_supervised, f"{label}: self_supervised")
    if pretraining is None:
        raise UserError(
            f"{label}: it starts from self-supervised weights, and there are none. Give self_supervised=RUN, a run of "
            "`snellen pretrain`, or let the study pretrain: pretraining.recipe=simclr-small"
        )
    return _Weights(str(pretraining.path), pretraining.path.name)


def _existing(source: str, label: str) -> _Weights:
    if source == "imagenet":
        return _Weights(source, source)
    path = Path(source)
    file = path / "checkpoints" / "best.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{label}={source}: no such weights. Give imagenet, a .safetensors file, or a finished run.")
    return _Weights(str(path.resolve()), content_hashes([file])[0])


def _run(
    study: StudySpec,
    setting: SettingSpec,
    fraction: float,
    seed: int,
    weights: _Weights | None,
    data: PlannedData,
    out: Path,
) -> PlannedRun:
    source = setting.recipe if setting.recipe is not None else study.recipe
    assert source is not None  # StudySpec ensures it
    changes = flattened(study.changes) | flattened(setting.changes)
    changes |= {"name": setting.name, "seed": seed, "data.fraction": fraction}
    if weights is not None:
        changes["model.weights"] = weights.value
    try:
        fields, label = read_fields(source)
        kind = kind_named(fields, label)
        if not kind.is_comparable:
            raise UserError(f"{label} is for {kind.task}; a study compares classifiers, or segmenters.")
        recipe = load_recipe(fields, changes)
        recipe = _with_steps(recipe, study.fewest_steps, round(fraction * data.training_images))
    except UserError as error:
        raise UserError(f"study '{study.name}', setting '{setting.name}': {error}") from error
    identity = weights.identity if weights is not None else str(recipe.model.weights)
    key = _key(recipe, identity, data.fingerprint)
    share = f"-{100 * fraction:g}pct" if len(study.fractions) > 1 or fraction != 1 else ""
    name = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', setting.name)}{share}-seed{seed}-{key}"
    return PlannedRun(setting.name, fraction, seed, recipe, key, out / "runs" / name)


def _seeds(
    study: StudySpec, setting: SettingSpec, weights: _Weights | None, data: PlannedData, out: Path
) -> tuple[int, ...]:
    """Those of the study; if it gives none, five for a head on features extracted once, which takes seconds."""
    if study.seeds is not None:
        return study.seeds
    recipe = _run(study, setting, study.fractions[0], 0, weights, data, out).recipe
    return tuple(range(5 if recipe.trains_on_features else 3))


def _with_steps(recipe: CommonRecipe, fewest: int, images: int) -> CommonRecipe:
    """With enough epochs for at least `fewest` steps, and the same number of scores."""
    epochs = math.ceil(fewest / max(1, math.ceil(images / recipe.batch_size)))
    if epochs <= recipe.epochs or recipe.budget or images == 0:
        return recipe
    every = round((recipe.evaluation.every or 1) * epochs / recipe.epochs)
    return recipe.with_part("evaluation", every=every).model_copy(update={"epochs": epochs})


def _pretraining(study: StudySpec, data: PlannedData, out: Path) -> PlannedPretraining | None:
    step = study.pretraining
    is_needed = any(setting.start == "self-supervised" for setting in study.chosen)
    if not is_needed or study.self_supervised is not None or step is None:
        return None
    try:
        changes = flattened(step.changes)
        _, recipe = load_for("pretrain", step.recipe, changes)
        if "evaluation.data" not in changes:
            recipe = recipe.scored_on(data.source)
    except UserError as error:
        raise UserError(f"study '{study.name}', pretraining: {error}") from error
    identity = "the study's own images" if step.data is None else absolute(step.data)
    key = _key(recipe, identity, data.fingerprint)
    return PlannedPretraining(recipe, step.data, out / f"pretraining-{key}")


def _key(recipe: CommonRecipe, weights: str, fingerprint: str) -> str:
    return result_key(apply_overrides(recipe.identity(), {"model.weights": weights}), fingerprint)
