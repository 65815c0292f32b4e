"""Whether images that a run is scored on were used in its training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from snellen.data.depth import measure_depth
from snellen.data.fingerprint import content_hashes
from snellen.data.listing import SplitSet
from snellen.engine.recipe import CommonRecipe
from snellen.run.directory import RunDirectory
from snellen.tasks.setup import say_notes
from snellen.words import counted


def say_scored(
    console: Console, run: RunDirectory | None, recipe: CommonRecipe, images: SplitSet[Any, Any], source: str
) -> None:
    """Prints which images are scored, those of the validation part, with notes on them.

    run: that the network was trained in, None if it is not known. recipe: of the run, with the depth by which these
    images are read. source: their origin, as text.
    """
    paths = images.files(images.validation)
    origin = escape(f"{source}: {images.layout}; {images.split}")
    console.print(f"scoring {counted(len(paths), 'image')} of {origin}", highlight=False, soft_wrap=True)
    say_notes(console, [*images.notes, *overlap_notes(run, recipe, paths)])
    say_depth(console, paths, recipe.data.bits)


def say_depth(console: Console, paths: Sequence[Path], bits: int | None) -> None:
    """Prints a note if 16-bit images exceed the scale of a network's training images. bits: of that scale."""
    with console.status("reading the values of 16-bit images"):
        note = measure_depth(paths).note(bits)
    if note is not None:
        say_notes(console, [note])


def overlap_notes(run: RunDirectory | None, recipe: CommonRecipe, paths: Sequence[Path]) -> list[str]:
    """Notes on images that the run was trained on, or that chose its epoch, recognised by their contents.

    Only files of equal size are read. If the run's own images are gone, a note says that nothing can be compared.
    """
    if run is None:
        return ["whether the network was trained on these images is unknown: only its run can tell"]
    counts = shared_images(run, paths)
    if counts is None:
        return [f"the run's own images are no longer in {run.data['root']}: whether it was trained on these is unknown"]
    notes = []
    for part, note in (
        ("train", "the run was trained on {}: the figures are too optimistic"),
        ("validation", "the run's epoch was chosen on {}: the figures are slightly optimistic (see its report)"),
    ):
        count = counts[part]
        is_relevant = part == "train" or recipe.evaluation.choose == "best"
        if count and is_relevant:
            notes.append(note.format(some_of_these(count, len(paths))))
    return notes


def shared_images(run: RunDirectory, paths: Sequence[Path]) -> dict[str, int] | None:
    """How many of these files a run was trained on and validated on, by contents; None if its own images are gone.

    Only files of equal size are read.
    """
    samples = run.samples()
    sizes = {path: path.stat().st_size for path in paths if path.is_file()}
    scored_sizes = set(sizes.values())
    candidates: dict[str, list[Path]] = {}
    present = 0
    for part in ("train", "validation"):
        files = [run.image(name) for name in samples.loc[samples["split"] == part, "path"]]
        files = [file for file in files if file.is_file()]
        present += len(files)
        candidates[part] = [file for file in files if file.stat().st_size in scored_sizes]
    if not present:
        return None
    hashes = content_hashes(list(sizes))
    counts = {}
    for part, files in candidates.items():
        of_part = set(content_hashes(files))
        counts[part] = sum(digest in of_part for digest in hashes)
    return counts


def some_of_these(count: int, total: int) -> str:
    """How many of some images, in words."""
    if count == total:
        return "these images" if count > 1 else "this image"
    return f"{count:,} of these {total:,} images"
