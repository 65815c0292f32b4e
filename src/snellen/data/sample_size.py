"""Warnings, before anything is trained, about what so few validation images cannot show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from snellen.insight.groups import FEWEST
from snellen.insight.proportions import wilson
from snellen.insight.support import FEWEST_IMAGES
from snellen.words import counted

_WIDEST = 0.2  # of the 95% interval: 93 images at 50%
_MOST_NAMED = 5


def few_images_notes(
    train: Sequence[str], validation: Sequence[str], groups: Sequence[str | None], share: float | None
) -> list[str]:
    """Notes if there are few validation images, few of some class, or if one class dominates.

    train, validation: the class of each image. groups: of the validation images. share: data.validation_share if the
    split was drawn with it, else None. The stated width is that of Wilson's 95% interval with half of the images right.
    """
    if not validation:
        return []
    name, largest = Counter(validation).most_common(1)[0]
    baseline = f"always answering '{name}' would be right for {largest / len(validation):.0%} of them"
    units, sample = len(validation), counted(len(validation), "validation image")
    if all(group is not None for group in groups):
        units = len(set(groups))
        sample = f"{counted(units, 'group')} among the {counted(len(validation), 'validation image')}"
    interval = wilson((units + 1) // 2, units)
    notes = []
    if units < FEWEST and units < len(validation):
        notes.append(f"{sample}: intervals and tests need at least {FEWEST} groups. {_remedy(share)}")
    elif interval.high - interval.low > _WIDEST:
        points = 100 * (interval.high - interval.low)
        notes.append(
            f"{sample}: an accuracy near 50% has a 95% interval {points:.0f} points wide, so smaller "
            f"differences cannot be detected; {baseline}. {_remedy(share)}"
        )
    elif largest / len(validation) >= max(0.5, 1.5 / len(set(validation))):
        notes.append(f"one class dominates the validation images: {baseline}; look at balanced accuracy as well")
    notes += _few("validation", validation, 2, "no single one can be judged, and means over classes depend on them")
    return notes + _few("training", train, 1, "hardly anything can be learnt about it")


def few_masks_notes(images: int) -> list[str]:
    """A note if there are too few validation images with masks for an interval."""
    if images >= FEWEST_IMAGES:
        return []
    sample = "one validation image with a mask" if images == 1 else f"{images} validation images with masks"
    return [f"only {sample}: intervals and comparisons of runs need at least {FEWEST_IMAGES}. Add labelled images."]


def _remedy(share: float | None) -> str:
    if share is None:
        return "More validation images would help."
    larger = f", or data.validation_share={min(0.5, 2 * share):.2g} (now {share:.2g})" if share < 0.5 else ""
    return f"More images would help{larger}."


def _few(part: str, labels: Sequence[str], limit: int, consequence: str) -> list[str]:
    counts = Counter(labels)
    few = sorted(label for label, count in counts.items() if count <= limit)
    if not few:
        return []
    number = "one image" if limit == 1 else "one or two images"
    return [f"{named_classes(few)} only {number} in {part}: {consequence}"]


def named_classes(labels: Sequence[str]) -> str:
    """The classes as the subject of a sentence, with the verb: "class 'a' has", "7 classes ('a', 'b', …) have"."""
    listed = ", ".join(f"'{label}'" for label in labels[:_MOST_NAMED])
    more = f" and {len(labels) - _MOST_NAMED} more" if len(labels) > _MOST_NAMED else ""
    return f"class {listed} has" if len(labels) == 1 else f"{len(labels)} classes ({listed}{more}) have"
