"""Whether a run with few optimiser steps gets a note, and whether the recommended settings help."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.data.feed import steps_in_epoch
from snellen.engine.few_steps import few_steps_note, few_steps_notes
from snellen.tasks.kinds import load_recipe
from snellen.tasks.pretraining.recipe import PretrainingRecipe


def advised_fields(note: str) -> dict[str, Any]:
    pairs = note.partition(" would make")[0].rpartition(". ")[2].split()
    return {key.removeprefix("changes."): yaml.safe_load(value) for key, _, value in (p.partition("=") for p in pairs)}


def test_a_worked_case() -> None:
    """Of 170 images five whole batches of 32 (drop_last), so 400 / 5 = 80 epochs; the rate goes with the batch."""
    recipe = load_recipe("airnet-scratch", {"epochs": 3, "batch_size": 1024, "optimizer.lr": 0.64})
    assert few_steps_note(recipe, 170) == (
        "3 epochs of 1 step, since batch_size=1,024 takes all 170 training images at once: too few to learn much. "
        "batch_size=32 optimizer.lr=0.02 epochs=80 would make 400 steps."
    )


@pytest.mark.parametrize(("epochs", "batch", "images", "has_note"), [
    (1, 32, 64, True), (14, 32, 64, True), (15, 32, 64, False), (3, 32, 320, False), (2, 32, 352, True),
    (500, 100_000, 102, True), (99, 128, 102, True), (2, 8, 120, False), (1, 8, 232, True), (1, 8, 240, False),
])  # fmt: skip
def test_fewer_than_thirty_steps_or_one_per_epoch(epochs: int, batch: int, images: int, has_note: bool) -> None:
    recipe = load_recipe({"epochs": epochs, "batch_size": batch})
    assert (few_steps_note(recipe, images) is not None) == has_note


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from(["airnet-scratch", "resnet152-mixup", "segment-lite", "linear-probe", "simclr-small"]),
    st.integers(2, 3000),
    st.integers(1, 60),
    st.integers(2, 5000),
)  # fmt: skip
def test_what_is_advised_is_a_recipe_of_enough_steps(name: str, images: int, epochs: int, batch: int) -> None:
    recipe = load_recipe(name, {"epochs": epochs, "batch_size": batch})
    note = few_steps_note(recipe, images)
    if note is None:
        return
    improved = load_recipe(recipe, advised_fields(note))
    drop_last = not isinstance(improved, PretrainingRecipe) and improved.drop_last
    steps = improved.epochs * steps_in_epoch(images, improved.batch_size, drop_last)
    promised_steps = int(re.search(r"would make ([\d,]+) steps", note)[1].replace(",", ""))  # type: ignore[index]
    if name != "simclr-small":  # whose batches are whole ones
        assert steps == promised_steps
    assert promised_steps >= 400
    second_note = few_steps_note(improved, images)
    assert second_note is None


def test_a_budget_sets_the_number_of_epochs() -> None:
    note = few_steps_note(load_recipe("airnet-scratch", {"epochs": 3, "budget": "10s"}), 170)
    assert note is not None
    assert "epochs=" not in note
    assert "would make 15 steps; or allow more time than budget=10s." in note
    note = few_steps_note(load_recipe({"epochs": 3, "budget": "10s", "batch_size": 32}), 170)
    assert note == "3 epochs of 6 steps: too few to learn much. Allow more time than budget=10s."


def test_a_study_says_it_once() -> None:
    few = load_recipe({"epochs": 2, "batch_size": 64})
    long_recipe = load_recipe({"epochs": 200, "batch_size": 64})
    recipes = [(name, recipe, 100) for name in ("A", "B") for recipe in (few, few)] + [("C", long_recipe, 50)]
    notes = few_steps_notes(recipes, deliberate=True)
    assert len(notes) == 1
    assert notes[0].startswith("A, B: 2 epochs of 2 steps")
    assert "changes.epochs=200" in notes[0]
    assert len(few_steps_notes(recipes, deliberate=False)) == 2, "C has one step an epoch"


def test_a_shipped_rate_is_one_for_the_shipped_batch() -> None:
    shipped = load_recipe("airnet-scratch")
    note = few_steps_note(load_recipe("airnet-scratch", {"batch_size": 100_000}), 107)
    assert note is not None
    rate = shipped.optimizer.lr * advised_fields(note)["batch_size"] / shipped.batch_size
    assert advised_fields(note)["optimizer.lr"] == pytest.approx(rate, rel=0.05)
