"""What is scored and written once, when a run has finished: tables for people, and the test part of the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import Progress

from snellen.data.masks.sources import MaskedSample, read_masked
from snellen.errors import UserError
from snellen.files import replacing, write_text
from snellen.insight.segmentation import by_image
from snellen.recipe.load import with_data_overrides
from snellen.run.directory import Run
from snellen.tasks.classification.inference import Predictor
from snellen.tasks.segmentation.evaluate import score_pairs
from snellen.tasks.setup import say_notes
from snellen.words import counted


def write_predictions(run: Run, part: str) -> None:
    """predictions/PART.csv: what predictions/PART.npz says of each image, for people; nothing where that is not there.

    part: validation or test.
    """
    if not (run.path / "predictions" / f"{part}.npz").is_file():
        return  # nothing is scored, or it was stopped before the first evaluation
    samples = run.samples()
    samples = samples[samples["split"] == part]
    table = _of_masks(run, part, samples) if run.recipe.task == "segmentation" else _of_images(run, part, samples)
    write_text(run.path / "predictions" / f"{part}.csv", table.to_csv(index=False))


def _of_images(run: Run, part: str, samples: pd.DataFrame) -> pd.DataFrame:
    scored = run.test() if part == "test" else run.validation()
    names, chosen = np.array(run.classes), scored.probabilities.argmax(1)
    return (
        samples[["path", "class"]]
        .iloc[scored.rows]
        .assign(
            prediction=names[chosen],
            confidence=scored.probabilities.max(1).round(6),
            correct=(chosen == scored.target).astype(int),
        )
    )


def _of_masks(run: Run, part: str, samples: pd.DataFrame) -> pd.DataFrame:
    scored = run.mask_test() if part == "test" else run.mask_validation()
    figures = zip(("miou", "pixel_accuracy"), by_image(scored.confusion), strict=True)
    return samples[["path"]].iloc[scored.rows].assign(**{name: values.round(6) for name, values in figures})


def score_test_part(run: Run, console: Console) -> None:
    """Scores the weights of the chosen epoch on the test images, where the data have some and it was not done before.

    Images that can no longer be read are left out, and named. Writes predictions/test.npz and test.csv.
    """
    samples = run.samples()
    samples = samples[samples["split"] == "test"].reset_index(drop=True)
    if samples.empty or run.has_test or not run.status["chosen_epoch"]:
        return
    console.print(f"scoring {counted(len(samples), 'test image')}, once", highlight=False, soft_wrap=True)
    try:
        arrays, failed = (_scored_masks if run.recipe.task == "segmentation" else _scored_images)(run, samples, console)
    except UserError as error:  # the training itself is done, and not lost
        say_notes(console, [f"the test part is not scored: {error}"])
        return
    if failed:
        lost = f"{counted(len(failed), 'test image')} left out: {failed[0]}"
        say_notes(console, [lost if len(failed) == 1 else f"{lost}, …"])
    if not len(arrays["rows"]):
        return
    epoch = np.int64(run.status["chosen_epoch"])
    with replacing(run.path / "predictions" / "test.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays, epoch=epoch)
    write_predictions(run, "test")


def _scored_images(run: Run, samples: pd.DataFrame, console: Console) -> tuple[dict[str, Any], Sequence[str]]:
    paths = [run.image(path) for path in samples["path"]]
    probabilities, rows, failed = [], [], []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=len(paths))
        for batch in Predictor(run).predict(paths):
            if batch.rows:
                probabilities.append(batch.probabilities)
                rows += batch.rows
            failed += [f"{error.path}: {error.reason}" for error in batch.unreadable.values()]
            bar.advance(task, len(batch))
    target = samples["target"].to_numpy(np.int64)[rows]
    scored = np.concatenate(probabilities) if rows else np.empty((0, len(run.classes)), np.float32)
    return {"probabilities": scored, "target": target, "rows": np.array(rows, np.int64)}, failed


def _scored_masks(run: Run, samples: pd.DataFrame, console: Console) -> tuple[dict[str, Any], Sequence[str]]:
    recipe = with_data_overrides(run.segmentation, {"data.unreadable": "skip"}, "train")
    images = read_masked(run.data["source"], recipe.data)
    pairs = [MaskedSample(row["path"], row["mask"]) for row in samples.to_dict("records")]
    scores, rows, failed = score_pairs(run, recipe, Path(run.data["root"]), pairs, images.classes, console)
    arrays = {"confusion": scores.confusion, "boundary": scores.boundary, "rows": np.array(rows, np.int64)}
    return arrays, [f"{error.path}: {error.reason}" for error in failed]
