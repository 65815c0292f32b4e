"""From a time budget to a number of epochs, by timing real steps."""

from __future__ import annotations

import itertools
import time

from snellen.engine.device import synchronise
from snellen.engine.loop import Job, one_step
from snellen.errors import UserError

_WARM_UP = 2  # the first steps allocate memory and pick algorithms
_TIMED_SECONDS = 8.0
_MOST_STEPS = 50
_MARGIN = 0.97  # a budget is kept rather than used up


def epochs_within(budget: float, job: Job) -> int:
    """How many epochs of training and scoring fit into `budget` seconds.

    `job` is trained for a few steps, so give one on copies that are thrown away.
    Raises UserError when not even one epoch fits.
    """
    step = _step_seconds(job)
    evaluation = _evaluation_seconds(job) / job.recipe.evaluation.every
    epoch = step * job.feed.steps + evaluation
    epochs = int(budget * _MARGIN / epoch)
    if epochs < 1:
        network = "model.architecture" if job.recipe.task == "segmentation" else "model.backbone"
        raise UserError(
            f"budget={job.recipe.budget}: one epoch takes about {epoch / 60:.1f} minutes on this machine. "
            f"Give more time, a smaller network ({network}) or smaller images (augmentation.size)."
        )
    return epochs


def _step_seconds(job: Job) -> float:
    """Mean time of a step, the making of its batch included."""
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


def _evaluation_seconds(job: Job) -> float:
    limit = 4 * job.recipe.batch_size
    start = time.perf_counter()
    images = job.task.evaluate(job.scored, job.fabric.autocast, limit).images
    synchronise(job.feed.device)
    return (time.perf_counter() - start) / images * job.task.evaluated_images if images else 0.0
