"""Whether images that a run is scored on had a part in its training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from snellen.data.depth import measure_depth
from snellen.data.fingerprint import content_hashes
from snellen.engine.recipe import CommonRecipe
from snellen.run.directory import RunDirectory
from snellen.tasks.setup import say_notes
from snellen.words import counted


def say_scored(
    console: Console,
    run: RunDirectory,
    recipe: CommonRecipe,
    paths: Sequence[Path],
    source: str,
    notes: Sequence[str],
    bits: int | None,
) -> None:
    """Prints which images are scored, and what should be known of them.

    source: where they are from, in words. bits: by which those of 16 bits are read.
    """
    images = counted(len(paths), "image")
    console.print(f"scoring {images} of {escape(source)}", highlight=False, soft_wrap=True)
    say_notes(console, [*notes, *overlap_notes(run, recipe, paths)])
    say_depth(console, paths, bits)


def say_depth(console: Console, paths: Sequence[Path], bits: int | None) -> None:
    """Prints what should be known of images of 16 bits that a trained network is shown. bits: of its training."""
    with console.status("reading the values of 16-bit images"):
        note = measure_depth(paths).note(bits)
    if note is not None:
        say_notes(console, [note])


def overlap_notes(run: RunDirectory, recipe: CommonRecipe, paths: Sequence[Path]) -> list[str]:
    """Notes on images that the run was trained on, or that chose its epoch, told by their contents.

    Only files of equal size are read. Where the run's own images are gone nothing can be compared, which is said.
    """
    samples = run.samples()
    sizes = {path: os.path.getsize(path) for path in paths if path.is_file()}
    wanted = set(sizes.values())
    candidates: dict[str, list[Path]] = {}
    present = 0
    for part in ("train", "validation"):
        files = [run.image(name) for name in samples.loc[samples["split"] == part, "path"]]
        files = [file for file in files if file.is_file()]
        present += len(files)
        candidates[part] = [file for file in files if file.stat().st_size in wanted]
    if not present:
        return [f"the run's own images are no longer in {run.data['root']}: whether it was trained on these is unknown"]
    hashes = content_hashes(list(sizes))
    notes = []
    for part, what in (
        ("train", "the run was trained on {}: the figures are too good"),
        (
            "validation",
            "the run's epoch was chosen on {}: the figures lean to the good side (see its report)",
        ),
    ):
        seen = set(content_hashes(candidates[part]))
        count = sum(digest in seen for digest in hashes)
        chosen = part == "train" or recipe.evaluation.choose == "best"
        if count and chosen:
            images = (
                ("these images" if count > 1 else "this image")
                if count == len(paths)
                else f"{count:,} of these {len(paths):,} images"
            )
            notes.append(what.format(images))
    return notes
