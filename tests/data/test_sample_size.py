"""Notes on small validation parts, with widths computed by hand."""

from __future__ import annotations

import math

import pytest

from snellen.data.sample_size import few_images_notes, few_masks_notes


def wilson_width(images: int, right: int) -> float:
    """Points between the ends of the interval; the formula of Wilson 1927 with z = 1.96."""
    z, p = 1.959964, right / images
    return 200 * z * math.sqrt(p * (1 - p) / images + z * z / (4 * images**2)) / (1 + z * z / images)


@pytest.mark.parametrize("images", [6, 24, 80])
def test_the_width_is_wilsons(images: int) -> None:
    notes = few_images_notes(["a", "b"] * 50, ["a", "b"] * (images // 2), [None] * images, 0.15)
    assert f"{images} validation images: " in notes[0]
    assert f"{wilson_width(images, images // 2):.0f} points wide" in notes[0]
    assert "'a' would be right for 50% of them" in notes[0]
    assert "data.validation_share=0.3 (now 0.15)" in notes[0]
    assert len(notes) == 1


def test_enough_images_and_a_given_split() -> None:
    assert few_images_notes(["a", "b"] * 50, ["a", "b"] * 47, [None] * 94, None) == []
    notes = few_images_notes(["a", "b"] * 50, ["a", "b"] * 10, [None] * 20, None)
    assert "validation_share" not in notes[0]


def test_groups_count_in_place_of_images() -> None:
    groups = [f"p{number % 4}" for number in range(400)]
    notes = few_images_notes(["a", "b"] * 50, ["a", "b"] * 200, groups, None)
    assert notes[0].startswith("4 groups among the 400 validation images")
    group_notes = few_images_notes(["a", "b"] * 50, ["a", "b"] * 200, ["p"] * 400, None)
    assert group_notes[0].startswith(
        "1 group among the 400 validation images: intervals and tests need at least 3 groups"
    )
    assert f"{wilson_width(4, 2):.0f} points wide" in notes[0]


def test_rare_classes_and_one_that_prevails() -> None:
    """20, 3 and 1 images, as a newcomer had them: four of five validation images are cats."""
    notes = few_images_notes(["cat"] * 16 + ["dog"] * 2 + ["eel"], ["cat"] * 4 + ["dog"], [None] * 5, 0.15)
    assert "'cat' would be right for 80%" in notes[0]
    assert "class 'dog' has only one or two images in validation" in notes[1]
    assert "class 'eel' has only one image in training" in notes[2]
    large = few_images_notes(["a", "b", "c"] * 99, ["a"] * 180 + ["b"] * 10 + ["c"] * 10, [None] * 200, None)
    assert len(large) == 1
    assert "'a' would be right for 90%" in large[0]


def test_few_masks() -> None:
    assert few_masks_notes(10) == []
    assert (
        "only 3 validation images with masks: intervals and comparisons of runs need at least 10"
        in few_masks_notes(3)[0]
    )
