"""Counts with their nouns, and durations, as people write them."""

from __future__ import annotations

import doctest

import pytest

from snellen import words
from snellen.words import counted, did_you_mean, duration, kind_of, time_axis


def test_counts_have_their_nouns() -> None:
    assert counted(1, "epoch") == "1 epoch"
    assert counted(0, "epoch") == "0 epochs"
    assert counted(3000, "epoch") == "3,000 epochs"
    assert counted(1, "class", "classes") == "1 class"
    assert counted(2, "class", "classes") == "2 classes"


@pytest.mark.parametrize(("seconds", "text"), [
    (0.0, "0 s"), (0.0213, "0.021 s"), (1, "1 s"), (2.5, "2.5 s"), (59.6, "60 s"), (99, "99 s"),
    (120, "2 min"), (5900, "98 min"), (6120, "1.7 h"),
])  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_axes_of_short_runs_are_in_seconds() -> None:
    assert time_axis(4.2) == (1.0, "seconds")
    assert time_axis(600) == (60.0, "minutes")


def test_kinds_of_values() -> None:
    assert [kind_of(value) for value in (None, 5, True, [], {})] == ["None", "the number 5", "True", "a list", "a dict"]


def test_the_nearest_choice_is_named() -> None:
    assert did_you_mean("adamv", ["sgd", "adamw"]) == " Did you mean 'adamw'?"
    assert did_you_mean("lion", ["sgd", "adamw"]) == ""
    assert did_you_mean("lion", []) == ""
    assert did_you_mean("lion", ["dandelion"], cutoff=0.9) == ""


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(words).attempted >= 2
    assert doctest.testmod(words).failed == 0
