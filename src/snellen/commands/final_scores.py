"""Results written once after training: predictions as tables, and scores of the test part of the data."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from snellen.errors import UserError
from snellen.run.writer import RunWriter
from snellen.runs import Run
from snellen.tasks.setup import say, say_notes
from snellen.words import counted


def write_predictions(run: Run, writer: RunWriter, part: str) -> None:
    """predictions/PART.csv: the contents of predictions/PART.npz as a table; writes nothing if that does not exist.

    part: validation or test.
    """
    if not (run.path / "predictions" / f"{part}.npz").is_file():
        return  # nothing is scored, or the run was stopped before the first evaluation
    table = run.kind.record.prediction_table(run, part)
    writer.text(f"predictions/{part}.csv", table.to_csv(index=False))


def score_test_part(run: Run, writer: RunWriter, console: Console) -> None:
    """Scores the weights of the chosen epoch on the test images, if there are any, unless this was done before.

    Images that can no longer be read are left out, with a note. Writes predictions/test.npz and test.csv.
    """
    samples = run.part("test")
    if samples.empty or run.has_test or not run.status.chosen_epoch:
        return
    say(console, f"scoring {counted(len(samples), 'test image')}, once")
    try:
        arrays, failed = run.kind.evaluate.score_test(run, samples, console)
    except UserError as error:  # the training itself is complete and must not be lost
        say_notes(console, [f"the test part is not scored: {error}"])
        return
    if failed:
        note = f"{counted(len(failed), 'test image')} left out: {failed[0]}"
        say_notes(console, [note if len(failed) == 1 else f"{note}, …"])
    if not len(arrays["rows"]):
        return
    epoch = np.array(run.status.chosen_epoch, np.int64)
    writer.arrays("predictions/test.npz", {**arrays, "epoch": epoch})
    write_predictions(run, writer, "test")
