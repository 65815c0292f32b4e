"""From a time budget to a number of epochs, by timing real steps."""

from __future__ import annotations

import bisect
import itertools
import time
from collections.abc import Iterable, Iterator

from snellen.engine.device import synchronise
from snellen.engine.loop import Job, one_step
from snellen.engine.task import Examples, Source
from snellen.errors import UserError
from snellen.words import duration

_WARM_UP = 2  # the first steps allocate memory and pick algorithms
_TIMED_SECONDS = 8.0
_MOST_STEPS = 50
_MARGIN = 0.97  # rather finish early than exceed the budget


class ShortBudgetError(UserError):
    """Not even one epoch fits into the budget on this machine."""


def epochs_within(budget: float, job: Job) -> int:
    """How many epochs of training and scoring fit into `budget` seconds.

    `job` is trained for a few steps, so pass one that works on copies.
    Raises ShortBudgetError if not even one epoch fits.
    """
    epoch_seconds, scoring_seconds = step_seconds(job) * job.feed.steps, evaluation_seconds(job)

    def run_seconds(epochs: int) -> float:
        recipe = job.recipe.model_copy(update={"epochs": epochs})
        return epochs * epoch_seconds + len(recipe.scored_epochs()) * scoring_seconds

    most_epochs = int(budget / epoch_seconds)
    epochs = bisect.bisect_right(range(1, most_epochs + 1), budget * _MARGIN, key=run_seconds)
    if epochs < 1:
        raise ShortBudgetError(
            f"budget={job.recipe.budget}: one epoch takes about {duration(run_seconds(1))} on this machine. "
            f"Allow more time, a smaller network ({job.recipe.network_field}) or smaller images (augmentation.size)."
        )
    return epochs


def step_seconds(job: Job) -> float:
    """Mean seconds of a step, including making its batch. `job` is trained in the process."""
    start = 0.0
    for step, _ in enumerate(trial_steps(job, endless(job.feed)), start=1):
        timed_steps = step - _WARM_UP
        if timed_steps <= 0:
            synchronise(job.feed.device)
            start = time.perf_counter()
        elif timed_steps >= _MOST_STEPS or time.perf_counter() - start > _TIMED_SECONDS:
            synchronise(job.feed.device)
            return (time.perf_counter() - start) / timed_steps
    raise AssertionError("unreachable: the batches do not end")


def trial_steps(job: Job, batches: Iterable[Examples]) -> Iterator[int]:
    """Trains on batches only to take the time: nothing is written. Yields the number of images of each step."""
    trained, optimizer = job.setup()
    job.model.train()
    for step, batch in enumerate(batches):
        one_step(job, trained, optimizer, batch, step)
        yield len(batch)


def endless(feed: Source) -> Iterator[Examples]:
    """The batches of one epoch after the other."""
    return itertools.chain.from_iterable(feed.train(epoch) for epoch in itertools.count(1))


def evaluation_seconds(job: Job) -> float:
    """Seconds of scoring all scored images, estimated from a few batches.

    Costs that do not grow with the number of images (such as the rank of features) are counted once.
    """

    def score_batches(batches: int) -> tuple[int, float]:
        start = time.perf_counter()
        images = job.task.evaluate(job.scored, job.fabric.autocast, batches * job.recipe.batch_size).images
        synchronise(job.feed.device)
        return images, time.perf_counter() - start

    score_batches(1)  # allocates memory and picks algorithms
    (few_images, few_seconds), (more_images, more_seconds) = score_batches(1), score_batches(4)
    remaining = job.task.evaluated_images - more_images
    if remaining <= 0:
        return more_seconds
    return more_seconds + remaining * max(0.0, more_seconds - few_seconds) / (more_images - few_images)
