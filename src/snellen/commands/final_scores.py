"""What is scored and written once, when a run has finished: tables for people, and the test part of the data."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from snellen.errors import UserError
from snellen.run.writer import RunWriter
from snellen.runs import Run
from snellen.tasks.setup import say, say_notes
from snellen.words import counted


def write_predictions(run: Run, writer: RunWriter, part: str) -> None:
    """predictions/PART.csv: what predictions/PART.npz says of each image, for people; nothing where that is not there.

    part: validation or test.
    """
    if not (run.path / "predictions" / f"{part}.npz").is_file():
        return  # nothing is scored, or it was stopped before the first evaluation
    table = run.kind.record.prediction_table(run, part)
    writer.text(f"predictions/{part}.csv", table.to_csv(index=False))


def score_test_part(run: Run, writer: RunWriter, console: Console) -> None:
    """Scores the weights of the chosen epoch on the test images, where the data have some and it was not done before.

    Images that can no longer be read are left out, and named. Writes predictions/test.npz and test.csv.
    """
    samples = run.part("test")
    if samples.empty or run.has_test or not run.status["chosen_epoch"]:
        return
    say(console, f"scoring {counted(len(samples), 'test image')}, once")
    try:
        arrays, failed = run.kind.evaluate.score_test(run, samples, console)
    except UserError as error:  # the training itself is done, and not lost
        say_notes(console, [f"the test part is not scored: {error}"])
        return
    if failed:
        lost = f"{counted(len(failed), 'test image')} left out: {failed[0]}"
        say_notes(console, [lost if len(failed) == 1 else f"{lost}, …"])
    if not len(arrays["rows"]):
        return
    epoch = np.array(run.status["chosen_epoch"], np.int64)
    writer.arrays("predictions/test.npz", {**arrays, "epoch": epoch})
    write_predictions(run, writer, "test")
