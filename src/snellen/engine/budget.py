"""From a time budget to a number of epochs, by timing real steps."""

from __future__ import annotations

import bisect
import itertools
import time

from snellen.engine.device import synchronise
from snellen.engine.loop import Job, one_step
from snellen.errors import UserError
from snellen.words import duration

_WARM_UP = 2  # the first steps allocate memory and pick algorithms
_TIMED_SECONDS = 8.0
_MOST_STEPS = 50
_MARGIN = 0.97  # a budget is kept rather than used up


class ShortBudgetError(UserError):
    """Not even one epoch fits into the budget on this machine."""


def epochs_within(budget: float, job: Job) -> int:
    """How many epochs of training and scoring fit into `budget` seconds.

    `job` is trained for a few steps, so give one on copies that are thrown away.
    Raises ShortBudgetError when not even one epoch fits.
    """
    epoch, score = step_seconds(job) * job.feed.steps, evaluation_seconds(job)

    def taken(epochs: int) -> float:
        planned = job.recipe.model_copy(update={"epochs": epochs})
        return epochs * epoch + len(planned.scored_epochs()) * score

    most = int(budget / epoch)
    epochs = bisect.bisect_right(range(1, most + 1), budget * _MARGIN, key=taken)
    if epochs < 1:
        raise ShortBudgetError(
            f"budget={job.recipe.budget}: one epoch takes about {duration(taken(1))} on this machine. "
            f"Give more time, a smaller network ({job.recipe.network_field}) or smaller images (augmentation.size)."
        )
    return epochs


def step_seconds(job: Job) -> float:
    """Mean time of a step, the making of its batch included. `job` is trained meanwhile."""
    trained, optimizer = job.setup()
    job.model.train()
    start, timed, step = 0.0, 0, 0
    for epoch in itertools.count(1):
        for batch in job.feed.train(epoch):
            one_step(job, trained, optimizer, batch, step)
            step += 1
            if step <= _WARM_UP:
                synchronise(job.feed.device)
                start = time.perf_counter()
                continue
            timed += 1
            if timed >= _MOST_STEPS or time.perf_counter() - start > _TIMED_SECONDS:
                synchronise(job.feed.device)
                return (time.perf_counter() - start) / timed
    raise AssertionError("unreachable: itertools.count does not end")


def evaluation_seconds(job: Job) -> float:
    """Time of scoring all images that are scored, from a few batches of them.

    What takes its time once, however many images there are (the rank of features, say), is counted once.
    """

    def timed(batches: int) -> tuple[int, float]:
        start = time.perf_counter()
        images = job.task.evaluate(job.scored, job.fabric.autocast, batches * job.recipe.batch_size).images
        synchronise(job.feed.device)
        return images, time.perf_counter() - start

    timed(1)  # allocates memory and picks algorithms
    (few, short), (more, long) = timed(1), timed(4)
    left = job.task.evaluated_images - more
    return long + left * max(0.0, long - short) / (more - few) if left > 0 else long
