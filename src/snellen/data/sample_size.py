"""What so few validation images cannot say, told before anything is trained."""

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
    """Notes where the validation images say little: of all, of classes with one or two, of one class that prevails.

    train, validation: the class of each image. groups: of the validation images. share: data.validation_share where the
    split was drawn by it, else None. The width named is that of Wilson's 95% interval at half of the images right.
    """
    if not validation:
        return []
    name, most = Counter(validation).most_common(1)[0]
    baseline = f"always answering '{name}' would be right for {most / len(validation):.0%} of them"
    units, what = len(validation), counted(len(validation), "validation image")
    if all(group is not None for group in groups):
        units = len(set(groups))
        what = f"{counted(units, 'group')} among the {counted(len(validation), 'validation image')}"
    interval = wilson((units + 1) // 2, units)
    notes = []
    if units < FEWEST and units < len(validation):
        notes.append(
            f"{what}: no interval can be given, and no test, from fewer than {FEWEST} groups. {_remedy(share)}"
        )
    elif interval.high - interval.low > _WIDEST:
        points = 100 * (interval.high - interval.low)
        notes.append(
            f"{what}: an accuracy near 50% has a 95% interval {points:.0f} points wide, so smaller "
            f"differences cannot be told; {baseline}. {_remedy(share)}"
        )
    elif most / len(validation) >= max(0.5, 1.5 / len(set(validation))):
        notes.append(f"of the validation images one class prevails: {baseline}; look at balanced accuracy as well")
    notes += _few("validation", validation, 2, "nothing can be said of one alone; means over classes hang on them")
    return notes + _few("training", train, 1, "hardly anything can be learnt of it")


def few_masks_notes(images: int) -> list[str]:
    """A note where so few validation images with masks give no interval."""
    if images >= FEWEST_IMAGES:
        return []
    what = "one validation image with a mask" if images == 1 else f"{images} validation images with masks"
    return [
        f"{what} only: with fewer than {FEWEST_IMAGES} no interval is given and no runs are compared. Add labelled "
        "images."
    ]


def _remedy(share: float | None) -> str:
    if share is None:
        return "More validation images would mend it."
    larger = f", or data.validation_share={min(0.5, 2 * share):.2g} (now {share:.2g})" if share < 0.5 else ""
    return f"More images would mend it{larger}."


def _few(part: str, labels: Sequence[str], most: int, why: str) -> list[str]:
    counts = Counter(labels)
    few = sorted(label for label, count in counts.items() if count <= most)
    if not few:
        return []
    number = "one image" if most == 1 else "one or two images"
    return [f"{named_classes(few)} only {number} in {part}: {why}"]


def named_classes(labels: Sequence[str]) -> str:
    """The classes as the subject of a sentence, with its verb: "class 'a' has", "7 classes ('a', 'b', …) have"."""
    listed = ", ".join(f"'{label}'" for label in labels[:_MOST_NAMED])
    more = f" and {len(labels) - _MOST_NAMED} more" if len(labels) > _MOST_NAMED else ""
    return f"class {listed} has" if len(labels) == 1 else f"{len(labels)} classes ({listed}{more}) have"
