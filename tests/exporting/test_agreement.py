"""Whether an exported file gives a run's answers, on cases worked by hand; and what int8 may change."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from snellen import UserError
from snellen.data.spread import spread
from snellen.exporting.agreement import agreement, mask_agreement
from snellen.exporting.publishing import refuse_disagreement
from snellen.exporting.quantization import LOSS, Int8Change, refuse_loss
from snellen.insight.paired import images_to_exclude, mcnemar
from snellen.insight.power import images_to_exclude_by_interval
from snellen.insight.proportions import Interval
from snellen.insight.segmentation import paired_masks

RUN = np.array([[0.7, 0.2, 0.1], [0.5, 0.499, 0.001], [0.1, 0.3, 0.6], [0.3, 0.4, 0.3]], np.float32)


def test_ties_are_counted_apart() -> None:
    file = RUN.copy()
    file[1] = [0.4995, 0.4995 + 2e-4, 0.0008]  # another first class, but the two were within 0.002
    found = agreement(RUN, file, odd=1)
    assert (found.images, found.odd, found.different, found.ties, found.ties_changed) == (3, 1, 0, 1, 1)
    assert found.largest == pytest.approx(7e-4, abs=1e-7)
    assert found.holds
    refuse_disagreement(Path("a.onnx"), found)


@pytest.mark.parametrize(("row", "values"), [(0, [0.2, 0.7, 0.1]), (2, [0.1, 0.302, 0.598]), (3, [np.nan, 0, 0])])
def test_what_does_not_agree_is_refused(row: int, values: list[float]) -> None:
    file = RUN.copy()
    file[row] = values
    with pytest.raises(UserError, match=r"a\.onnx: not written.*largest difference of a probability"):
        refuse_disagreement(Path("a.onnx"), agreement(RUN, file, odd=0))


def test_masks_may_differ_in_one_pixel_of_ten_thousand() -> None:
    masks = [np.zeros((100, 150), np.uint8), np.zeros((50, 100), np.uint8)]
    changed = [mask.copy() for mask in masks]
    changed[1][:2, 0] = 1
    found = mask_agreement(zip(masks, changed, strict=True), odd=1)
    assert (found.images, found.odd, found.pixels, found.different, found.worst) == (1, 1, 20_000, 2, 2 / 5000)
    refuse_disagreement(Path("a.onnx"), found)
    changed[0][99, 149] = 1
    with pytest.raises(UserError, match=r"another class in 3 of 20,000 pixels; at most 0\.04% of an image.*0\.01%"):
        refuse_disagreement(Path("a.onnx"), mask_agreement(zip(masks, changed, strict=True), odd=1))


def test_evenly_spread() -> None:
    assert list(spread(range(10), 4)) == [0, 3, 6, 9]
    assert list(spread(range(3), 4)) == [0, 1, 2]
    assert list(spread([], 4)) == []


def correct(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a, b


@pytest.mark.parametrize("counts", [(160, 2, 2, 36), (90, 0, 0, 10), (450, 0, 2, 48)])
def test_the_images_that_could_exclude_a_loss_do(counts: tuple[int, int, int, int]) -> None:
    pair = correct(*counts)
    assert mcnemar(*pair).interval.low < -0.01
    needed = images_to_exclude(*pair, 0.01)
    assert needed is not None
    shares = np.array(counts) / sum(counts)
    for images, excludes in ((needed * 1.3, True), (needed * 0.75, False)):
        scaled = [round(share * images) for share in shares]
        assert (mcnemar(*correct(*scaled)).interval.low > -0.01) == excludes


def test_no_number_of_images_excludes_a_loss_that_is_there() -> None:
    assert images_to_exclude(*correct(80, 0, 2, 18), 0.01) is None


def test_int8_is_refused_only_beyond_doubt() -> None:
    for counts, refused, words in (
        ((800, 0, 60, 140), True, "no number of images would"),
        ((800, 0, 12, 188), False, "cannot exclude a loss of 1 point; no number of images would"),
        ((400, 3, 3, 94), False, r"cannot exclude a loss of 1 point; about [\d,]+ images could"),
        ((9000, 3, 3, 994), False, r"changes top-1 by \+0.00 points \(95% interval -0.0\d to \+0.0\d; 10,000"),
    ):
        pair = correct(*counts)
        change = Int8Change(mcnemar(*pair), "top-1", (200.0, 100.0), images_to_exclude(*pair, LOSS))
        assert change.is_too_large == refused
        assert re.search(words, str(change)), str(change)
        assert "0.50 times the time" in str(change)
        if refused:
            with pytest.raises(UserError, match=r"more than 1 point.*--force"):
                refuse_loss(Path("a.onnx"), change, force=False)
        refuse_loss(Path("a.onnx"), change, force=refused)


@pytest.mark.parametrize(("difference", "half"), [(0.0, 0.03), (-0.004, 0.02), (0.01, 0.05)])
def test_the_images_that_could_exclude_a_loss_of_miou_do(difference: float, half: float) -> None:
    """A mean's interval shrinks with the root of the number of images."""
    interval = Interval(difference - half, difference + half)
    needed = images_to_exclude_by_interval(difference, interval, 101, 0.01)
    assert needed is not None
    for images, excludes in ((needed, True), (needed - 2, False)):
        assert (difference - half * (101 / images) ** 0.5 >= -0.01) == excludes
    assert images_to_exclude_by_interval(-0.01, interval, 101, 0.01) is None


def test_int8_of_masks_without_an_interval_says_so() -> None:
    counts = np.array([[[50, 5, 5], [40, 5, 5]]] * 2)
    change = Int8Change(paired_masks(counts, counts), "mIoU", (2.0, 1.0), None)
    assert not change.is_too_large
    assert re.search(
        r"int8 changes mIoU by [+]0.00 points \(no interval: .*; 2 validation images\).*These 2 images cannot exclude "
        r"a loss of 1 point; without an interval it is not known how many could[.]$",
        str(change),
    ), str(change)
