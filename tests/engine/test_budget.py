"""From a budget to epochs, with the time of a step and of a score given."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from snellen.engine import budget
from snellen.engine.budget import epochs_within
from snellen.engine.recipe import CommonRecipe
from snellen.errors import UserError
from snellen.recipe.load import load_as
from snellen.tasks.kinds import load_recipe
from snellen.tasks.pretraining.recipe import PretrainingRecipe


def _epochs_within(monkeypatch: pytest.MonkeyPatch, recipe: CommonRecipe, seconds: float) -> int:
    """With 20 steps of half a second in an epoch, and 5 seconds of scoring."""
    monkeypatch.setattr(budget, "step_seconds", lambda job: 0.5)
    monkeypatch.setattr(budget, "evaluation_seconds", lambda job: 5.0)
    return epochs_within(
        seconds / budget._MARGIN, cast("Any", SimpleNamespace(recipe=recipe, feed=SimpleNamespace(steps=20)))
    )


def test_every_epoch_is_trained_and_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("vgg13-scratch")
    assert _epochs_within(monkeypatch, recipe, 15.5 * 4) == 4
    assert _epochs_within(monkeypatch, recipe, 15.5) == 1
    with pytest.raises(UserError, match=r"one epoch takes about 15 s on this machine"):
        _epochs_within(monkeypatch, recipe, 14.5)


def test_evaluations_with_labels_are_rarer_and_count_towards_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_as(PretrainingRecipe, "simclr-small", {"evaluation.data": "labelled"})
    # Every second epoch, and the first, the middle and the last.
    evaluated_epochs = {1, 2, 4, 6, 8, 10, 12, 13, 14, 16, 18, 20, 22, 24, 25}
    assert recipe.model_copy(update={"epochs": 25}).scored_epochs() == evaluated_epochs
    assert _epochs_within(monkeypatch, recipe, 25 * 10 + len(evaluated_epochs) * 5 + 1) == 25


def test_features_are_evaluated_as_often_as_the_recipe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    unlabelled = load_as(PretrainingRecipe, "simclr-small", {"epochs": 40})
    assert unlabelled.scored_epochs() == set(range(1, 41)), "without k-NN an evaluation costs little"
    recipe = load_as(PretrainingRecipe, "simclr-small", {"evaluation.every": 4, "epochs": 10})
    assert recipe.scored_epochs() == {4, 8, 10}
    assert _epochs_within(monkeypatch, recipe, 116) == 10
