"""The training loop, in the order in which things happen."""

from __future__ import annotations

import copy
import dataclasses
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snellen import ranks
from snellen.engine.checkpoint import Checkpoint, Progress
from snellen.engine.device import synchronise
from snellen.engine.display import Display, metric_text
from snellen.engine.ema import build_ema
from snellen.engine.interrupt import StopRequest
from snellen.engine.journal import Journal
from snellen.engine.optimizer import build_optimizer, set_momentum
from snellen.engine.recipe import CommonRecipe
from snellen.engine.schedule import factor, momentum
from snellen.engine.sharding import gathered, is_sharded, unsynchronised
from snellen.engine.task import Evaluation, Examples, Source, Task
from snellen.errors import DivergedError, UserError
from snellen.models.synced_norm import synchronise_norms
from snellen.randomness import derive
from snellen.run.writer import RunWriter

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from timm.utils import ModelEmaV3

    from snellen.engine.mode import Mode


@dataclass(frozen=True)
class Job:
    """Everything a run trains with. The optimizer's groups carry `scale`: their learning rate over the recipe's."""

    writer: RunWriter
    recipe: CommonRecipe
    task: Task
    feed: Source
    model: nn.Module
    optimizer: Optimizer
    ema: ModelEmaV3 | None
    fabric: Fabric
    mode: Mode

    @property
    def path(self) -> Path:
        """The run's directory."""
        return self.writer.path

    @property
    def scored(self) -> nn.Module:
        """The network that is scored and kept: the moving average, if there is one."""
        return self.ema.module if self.ema else self.model

    def on(self, model: nn.Module) -> Job:
        """The same job on another network, with an optimiser, an average and a task's state of its own."""
        optimizer = build_optimizer(self.recipe.optimizer, model)
        ema = build_ema(self.recipe.ema, model) if self.recipe.ema else None
        return dataclasses.replace(self, task=copy.copy(self.task), model=model, optimizer=optimizer, ema=ema)

    def setup(self) -> tuple[nn.Module, Optimizer]:
        """Network and optimiser as Fabric runs them."""
        if ranks.size() > 1:
            synchronise_norms(self.model)
        runner = torch.compile(self.model) if self.mode.compiled else self.model
        trained, optimizer = self.fabric.setup(cast("nn.Module", runner), self.optimizer)
        return trained, optimizer

    def begin(self) -> tuple[Checkpoint, Progress]:
        """The checkpoint of the run, and its progress: as saved, or zero."""
        checkpoint = Checkpoint(self.writer, self.model, self.optimizer, self.ema)
        return checkpoint, checkpoint.restore(self.feed.device) or Progress()


def train(job: Job, display: Display, stop: StopRequest, checkpoint: Checkpoint, progress: Progress) -> bool:
    """Trains from `progress` to the recipe's last epoch, and writes the last weights. False if it was stopped earlier.

    All randomness is derived from the seed, the epoch and the step, so it does not matter where a run was stopped.
    """
    finished = _train(job, display, stop, checkpoint, progress)
    network = job.task.weights(job.scored)
    job.writer.weights("checkpoints/last.safetensors", network, {"epoch": str(progress.epoch - 1)})
    return finished


def _train(job: Job, display: Display, stop: StopRequest, checkpoint: Checkpoint, progress: Progress) -> bool:
    recipe, steps = job.recipe, job.feed.steps
    trained, optimizer = job.setup()
    snapshot_epochs, scored_epochs = recipe.snapshots.due(recipe.epochs), recipe.scored_epochs()
    with Journal(job.writer, progress, job.task.train_metric, job.task.columns, job.task.records) as journal:
        while progress.epoch <= recipe.epochs:
            epoch = progress.epoch
            job.model.train()
            started, before = time.perf_counter(), progress.seconds_training
            for batch in job.feed.train(epoch, start=progress.step_in_epoch):
                loss, metric_sum, rate, norm = one_step(job, trained, optimizer, batch, progress.step)
                progress.step += 1
                progress.step_in_epoch += 1
                progress.seconds_training = before + time.perf_counter() - started
                journal.step(loss, metric_sum, batch.whole or len(batch), rate, norm, progress.seconds_training)
                # Clocks and signals differ between processes: the first one's count.
                stopping, saving, reading = ranks.agreed([stop.requested, checkpoint.due, journal.due])
                if reading:
                    journal.flush()
                    _show(job, display, progress)
                if stopping or (saving and progress.step_in_epoch < steps):
                    _save(job, checkpoint, journal, progress)
                    if stopping:
                        return False
                    # The time of the save is not training time.
                    started, before = time.perf_counter(), progress.seconds_training
            journal.flush()
            synchronise(job.feed.device)
            progress.seconds_training = before + time.perf_counter() - started

            started = time.perf_counter()
            evaluation = None
            if epoch in scored_epochs:
                _check_weights(job, progress)
                with gathered(job.scored):
                    evaluation = job.task.evaluate(job.scored, job.fabric.autocast)
                if not evaluation.finite:  # argmax would call every image the first class, and score it
                    raise DivergedError(
                        f"the network's outputs for the scored images are not finite after epoch {epoch}"
                    )
                if evaluation.quality > progress.chosen_quality or recipe.evaluation.choose == "last":
                    progress.chosen_epoch, progress.chosen_quality = epoch, evaluation.quality
                    job.task.keep(job.scored, evaluation, epoch)
            if epoch in snapshot_epochs:
                with gathered(job.scored):
                    if ranks.is_first():
                        job.task.snapshot(job.scored, job.fabric.autocast, epoch)
            progress.seconds_evaluating += time.perf_counter() - started

            _write_epoch(job, journal, display, progress, evaluation)
            # Before a checkpoint is saved, so that it resumes at the next epoch.
            progress.begin_epoch(epoch + 1)
            if evaluation is not None and evaluation.fatal:  # before it replaces a good checkpoint
                raise UserError(evaluation.fatal)
            stopping, saving = ranks.agreed([stop.requested, checkpoint.due])
            if saving or stopping or epoch == recipe.epochs:
                _save(job, checkpoint, journal, progress)
            if stopping and epoch < recipe.epochs:
                return False
    return True


def one_step(
    job: Job, trained: nn.Module, optimizer: Optimizer, batch: Examples, step: int
) -> tuple[Tensor, Tensor, float, Tensor | None]:
    """One optimiser step, the `step`-th of the run counted from 0.

    Returns the batch's mean loss, the sum of the training metric over its images, the learning rate, and the gradient's
    norm if it is clipped.
    """
    own = [ranks.rank()] if ranks.rank() else []
    torch.manual_seed(derive(job.recipe.seed, "step", step, *own))  # dropout
    rate = _set_rate(job, step)
    loss, metric_sum = _gradient(job, trained, batch)
    norm = None
    if job.recipe.optimizer.clip_norm is not None:
        limit = job.recipe.optimizer.clip_norm
        norm = job.fabric.clip_gradients(trained, optimizer, max_norm=limit, error_if_nonfinite=False)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if job.ema and job.recipe.ema and (step + 1) % job.recipe.ema.every == 0:
        job.ema.update(job.model, step + 1)
    job.task.after_step(job.model, step + 1, job.feed.steps * job.recipe.epochs)
    return loss, metric_sum, rate, norm


def _set_rate(job: Job, step: int) -> float:
    spec = job.recipe.optimizer
    rate = spec.lr * factor(job.recipe.schedule, step, job.feed.steps * job.recipe.epochs)
    for group in job.optimizer.param_groups:
        group["lr"] = rate * group["scale"]
    scheduled = momentum(job.recipe.schedule, step, job.feed.steps * job.recipe.epochs)
    if scheduled is not None:
        set_momentum(job.optimizer, scheduled)
    return rate


def _gradient(job: Job, trained: nn.Module, batch: Examples) -> tuple[Tensor, Tensor]:
    """Accumulates the gradient over the parts of a batch, which may lie in several processes.

    Returns the mean loss of the whole batch and the sum of the training metric over its images.
    """
    parts = batch.split(job.recipe.accumulation) if job.recipe.accumulation > 1 else [batch]
    processes = ranks.size()
    if len(parts) * processes == 1:
        loss, metric_sum = job.task.loss(trained, batch)
        job.fabric.backward(loss)
        return loss.detach(), metric_sum
    whole = torch.as_tensor(job.task.weight(batch), dtype=torch.float32, device=job.feed.device)
    whole = ranks.total(whole).clamp(min=1e-9)
    losses, metric_sums = [], []
    for number, part in enumerate(parts, start=1):
        with _unsynchronised(job, trained, number < len(parts)):
            loss, metric_sum = job.task.loss(trained, part)
            share = job.task.weight(part) / whole
            # The gradients of the processes are averaged, so each gives as many times its share.
            job.fabric.backward(loss * (share * processes))
        losses.append(loss.detach() * share)
        metric_sums.append(metric_sum)
    return ranks.total(torch.stack(losses).sum()), ranks.total(torch.stack(metric_sums).sum())


def _unsynchronised(job: Job, trained: nn.Module, wanted: bool) -> AbstractContextManager[Any]:
    """Gradients stay in their process until the last part of a batch."""
    if ranks.size() == 1 or not wanted:
        return nullcontext()
    if is_sharded(job.model):
        return unsynchronised(job.model)
    return job.fabric.no_backward_sync(cast("Any", trained))


def _save(job: Job, checkpoint: Checkpoint, journal: Journal, progress: Progress) -> None:
    journal.flush()  # a loss or weight that is not finite must stop the run before a good checkpoint is replaced
    _check_weights(job, progress)
    progress.file_sizes = journal.sizes()
    checkpoint.save(progress)


def weights_are_finite(job: Job) -> bool:
    """Whether all weights are finite, those of the average included."""
    weights = [*job.model.parameters(), *job.scored.parameters()]
    return bool(ranks.whole(torch.stack([tensor.detach().isfinite().all() for tensor in weights]).all()))


def _check_weights(job: Job, progress: Progress) -> None:
    if not weights_are_finite(job):
        raise DivergedError(f"weights are not finite after step {progress.step} (epoch {progress.epoch})")


def _show(job: Job, display: Display, progress: Progress) -> None:
    seen = max(1, progress.seen)
    speed = progress.seen / max(1e-9, progress.seconds_training - progress.epoch_started)
    metric = metric_text(job.task.train_metric, progress.measured / seen)
    display.step(progress.epoch, progress.step, progress.loss_sum / seen, metric, speed)


def _write_epoch(
    job: Job, journal: Journal, display: Display, progress: Progress, evaluation: Evaluation | None
) -> None:
    speed = progress.seen / max(1e-9, progress.seconds_training - progress.epoch_started)
    loss, metric = progress.loss_sum / progress.seen, progress.measured / progress.seen
    row = {
        "epoch": progress.epoch,
        "step": progress.step,
        "learning_rate": _set_rate(job, progress.step - 1),
        "train_loss": loss,
        f"train_{job.task.train_metric}": metric,
        "seconds": round(progress.seconds_training + progress.seconds_evaluating, 3),
        "images_per_second": round(speed, 1),
    }
    text = ""
    if evaluation is not None:
        row |= evaluation.row()
        text = f"  {evaluation.text()}"
    journal.epoch(row, () if evaluation is None else evaluation.per_image)
    display.epoch(progress.epoch, loss, metric_text(job.task.train_metric, metric), text, speed)
