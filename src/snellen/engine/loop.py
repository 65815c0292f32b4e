"""The training loop, in the order in which things happen."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snellen.engine.checkpoint import Checkpoint, Progress
from snellen.engine.device import synchronise
from snellen.engine.display import Display
from snellen.engine.ema import build_ema
from snellen.engine.interrupt import StopRequest
from snellen.engine.journal import Journal
from snellen.engine.optimizer import build_optimizer
from snellen.engine.schedule import factor
from snellen.randomness import derive

if TYPE_CHECKING:
    import numpy as np
    from lightning_fabric import Fabric
    from numpy.typing import NDArray
    from timm.utils import ModelEmaV3

    from snellen.data.feed import Batch, Feed
    from snellen.engine.precision import Mode
    from snellen.models.classifier import Classifier
    from snellen.recipe.schema import Recipe

Autocast = Callable[[], AbstractContextManager[Any]]


class Evaluation(Protocol):
    """What a task says of the validation images after an epoch."""

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(N,) which images were right."""

    def row(self) -> dict[str, float]:
        """The validation columns of epochs.csv."""


class Task(Protocol):
    """What a task must offer to be trained."""

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The scalar to minimise, and how many of the batch were right."""

    def evaluate(self, model: Classifier, autocast: Autocast, limit: int | None = None) -> Evaluation:
        """Scores on the validation images, or on the first `limit` of them."""

    @property
    def validation_images(self) -> int:
        """How many images are scored."""

    def keep(self, model: Classifier, evaluation: Any, epoch: int) -> None:
        """Writes weights and predictions of the epoch that is now the chosen one."""

    def snapshot(self, model: Classifier, autocast: Autocast, epoch: int) -> None:
        """Writes the features of chosen validation images."""


@dataclass(frozen=True)
class Job:
    """All that a run trains with. optimizer's groups carry `scale`: their learning rate over the recipe's."""

    path: Path
    recipe: Recipe
    task: Task
    feed: Feed
    model: Classifier
    optimizer: Optimizer
    ema: ModelEmaV3 | None
    fabric: Fabric
    mode: Mode

    @property
    def scored(self) -> Classifier:
        """The network that is scored and kept: the moving average, where there is one."""
        return self.ema.module if self.ema else self.model

    def on(self, model: Classifier) -> Job:
        """The same job on another network, with an optimiser and an average of its own."""
        optimizer = build_optimizer(self.recipe.optimizer, model)
        ema = build_ema(self.recipe.ema, model) if self.recipe.ema else None
        return dataclasses.replace(self, model=model, optimizer=optimizer, ema=ema)

    def setup(self) -> tuple[nn.Module, Optimizer]:
        """Network and optimiser as Fabric runs them."""
        runner = torch.compile(self.model) if self.mode.compiled else self.model
        trained, optimizer = self.fabric.setup(cast("nn.Module", runner), self.optimizer)
        return trained, optimizer

    def begin(self) -> tuple[Checkpoint, Progress]:
        """The checkpoint of the run, and where it stands: what was saved, or the very start."""
        checkpoint = Checkpoint(self.path, self.model, self.optimizer, self.ema)
        return checkpoint, checkpoint.restore(self.feed.device) or Progress()


def train(job: Job, display: Display, stop: StopRequest, checkpoint: Checkpoint, progress: Progress) -> bool:
    """Trains from `progress` to the recipe's last epoch. False when it was asked to stop before.

    All randomness is derived from the seed, the epoch and the step: where a run was stopped makes no difference.
    """
    recipe, steps = job.recipe, job.feed.steps
    trained, optimizer = job.setup()
    due = recipe.snapshots.due(recipe.epochs)
    with Journal(job.path, progress) as journal:
        while progress.epoch <= recipe.epochs:
            epoch = progress.epoch
            job.model.train()
            started, before = time.perf_counter(), progress.seconds_training
            for batch in job.feed.train(epoch, start=progress.step_in_epoch):
                loss, correct, rate, norm = one_step(job, trained, optimizer, batch, progress.step)
                progress.step += 1
                progress.step_in_epoch += 1
                progress.seconds_training = before + time.perf_counter() - started
                if journal.step(loss, correct, len(batch.target), rate, norm, progress.seconds_training):
                    _show(display, progress)
                if stop.requested or (checkpoint.due and progress.step_in_epoch < steps):
                    _save(checkpoint, journal, progress)
                    if stop.requested:
                        return False
                    started, before = time.perf_counter(), progress.seconds_training
            journal.flush()
            synchronise(job.feed.device)
            progress.seconds_training = before + time.perf_counter() - started

            started = time.perf_counter()
            evaluation = None
            if epoch % recipe.evaluation.every == 0 or epoch == recipe.epochs:
                evaluation = job.task.evaluate(job.scored, job.fabric.autocast)
                right = int(evaluation.correct.sum())
                if right > progress.chosen_correct or recipe.evaluation.choose == "last":
                    progress.chosen_epoch, progress.chosen_correct = epoch, right
                    job.task.keep(job.scored, evaluation, epoch)
            if epoch in due:
                job.task.snapshot(job.scored, job.fabric.autocast, epoch)
            progress.seconds_evaluating += time.perf_counter() - started

            _write_epoch(journal, display, progress, evaluation, _set_rate(job, progress.step - 1))
            progress.begin_epoch(epoch + 1)
            if checkpoint.due or stop.requested or epoch == recipe.epochs:
                _save(checkpoint, journal, progress)
            if stop.requested and epoch < recipe.epochs:
                return False
    return True


def one_step(
    job: Job, trained: nn.Module, optimizer: Optimizer, batch: Batch, step: int
) -> tuple[Tensor, Tensor, float, Tensor | None]:
    """One optimiser step, the `step`-th of the run counted from 0.

    Returns the batch's mean loss, how many of its images were right, the learning rate, the gradient's norm if clipped.
    """
    torch.manual_seed(derive(job.recipe.seed, "step", step))  # dropout
    rate = _set_rate(job, step)
    loss, correct = _gradient(job, trained, batch)
    norm = None
    if job.recipe.optimizer.clip_norm is not None:
        limit = job.recipe.optimizer.clip_norm
        norm = job.fabric.clip_gradients(trained, optimizer, max_norm=limit, error_if_nonfinite=False)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if job.ema and job.recipe.ema and (step + 1) % job.recipe.ema.every == 0:
        job.ema.update(job.model, step + 1)
    return loss, correct, rate, norm


def _set_rate(job: Job, step: int) -> float:
    spec = job.recipe.optimizer
    rate = spec.lr * factor(job.recipe.schedule, step, job.feed.steps * job.recipe.epochs)
    for group in job.optimizer.param_groups:
        group["lr"] = rate * group["scale"]
    return rate


def _gradient(job: Job, trained: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Adds up the gradient over the parts of a batch. Returns its mean loss and how many images were right."""
    parts = batch.split(job.recipe.accumulation) if job.recipe.accumulation > 1 else [batch]
    total, right = [], []
    for part in parts:
        loss, correct = job.task.loss(trained, part)
        share = len(part.target) / len(batch.target)
        job.fabric.backward(loss * share if len(parts) > 1 else loss)
        total.append(loss.detach() * share)
        right.append(correct)
    return torch.stack(total).sum(), torch.stack(right).sum()


def _save(checkpoint: Checkpoint, journal: Journal, progress: Progress) -> None:
    journal.flush()  # a loss that is no number must stop the run before a good checkpoint is replaced
    progress.file_sizes = journal.sizes()
    checkpoint.save(progress)


def _show(display: Display, progress: Progress) -> None:
    seen = max(1, progress.seen)
    speed = progress.seen / max(1e-9, progress.seconds_training - progress.epoch_started)
    display.step(progress.epoch, progress.step, progress.loss_sum / seen, progress.correct / seen, speed)


def _write_epoch(
    journal: Journal, display: Display, progress: Progress, evaluation: Evaluation | None, rate: float
) -> None:
    speed = progress.seen / max(1e-9, progress.seconds_training - progress.epoch_started)
    row = {
        "epoch": progress.epoch,
        "step": progress.step,
        "learning_rate": rate,
        "train_loss": progress.loss_sum / progress.seen,
        "train_top1": progress.correct / progress.seen,
        "seconds": round(progress.seconds_training + progress.seconds_evaluating, 3),
        "images_per_second": round(speed, 1),
    }
    text = ""
    if evaluation is not None:
        scores = evaluation.row()
        row |= scores
        text = f"  validation loss {scores['validation_loss']:.3f}, top-1 {scores['validation_top1']:.2%}"
    journal.epoch(row, None if evaluation is None else evaluation.correct)
    display.epoch(progress.epoch, row["train_loss"], row["train_top1"], text, speed)
