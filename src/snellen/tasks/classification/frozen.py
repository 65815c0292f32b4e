"""A head on a backbone that does not change: features are extracted once, and learning rates are cheap to try."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from snellen.data.feed import Batch, Feed, order, steps_in_epoch
from snellen.data.fingerprint import text_hash
from snellen.data.split import validation_rows
from snellen.engine.loop import Autocast, Job, one_step
from snellen.errors import UserError
from snellen.models.classifier import Classifier
from snellen.randomness import derive

_HELD_OUT = 0.2


@dataclass(frozen=True)
class FeatureFeed:
    """Batches of pooled features in place of images, which `Classifier.features` passes through.

    features: (N, D) float32, targets: (N,) int64, both on the training device. seed: of the order.
    """

    features: Tensor
    targets: Tensor
    batch_size: int
    drop_last: bool
    seed: int

    @property
    def count(self) -> int:
        """How many images they come from."""
        return len(self.targets)

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.features.device

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return steps_in_epoch(self.count, self.batch_size, self.drop_last)

    def train(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch (counted from 1), from step `start` (counted from 0) on."""
        shuffled = order(self.seed, epoch, self.count).to(self.device)
        for step in range(start, self.steps):
            yield self._batch(shuffled[step * self.batch_size : (step + 1) * self.batch_size])

    def evaluate(self, rows: NDArray[np.int64] | None = None) -> Iterator[Batch]:
        """Batches of all, or of those in `rows`, in order."""
        every = torch.arange(self.count) if rows is None else torch.from_numpy(rows)
        every = every.to(self.device)
        for start in range(0, len(every), self.batch_size):
            yield self._batch(every[start : start + self.batch_size])

    def of(self, rows: Tensor) -> FeatureFeed:
        """The features of some rows, (n,) int64."""
        rows = rows.to(self.device)
        return dataclasses.replace(self, features=self.features[rows], targets=self.targets[rows])

    def _batch(self, rows: Tensor) -> Batch:
        return Batch(self.features[rows], self.targets[rows])


@torch.inference_mode()
def extracted(model: Classifier, feed: Feed, autocast: Autocast, console: Console) -> FeatureFeed:
    """Pooled features of all images of `feed`, shown as they are scored; with a progress bar."""
    model.eval()
    features, targets = [], []
    batches = feed.evaluate()
    total = -(-feed.count // feed.batch_size)
    quiet = not console.is_terminal
    for batch in track(batches, "extracting features", total, console=console, transient=True, disable=quiet):
        with autocast():
            features.append(model.features(batch.images).float())
        targets.append(batch.target)
    model.train()
    # Clones: what was made in inference mode cannot be part of a graph.
    return FeatureFeed(
        torch.cat(features).clone(), torch.cat(targets).clone(), feed.batch_size, feed.drop_last, feed.seed
    )


def best_rate(
    job: Job, feed: FeatureFeed, groups: Sequence[str | None], rates: Sequence[float], console: Console
) -> float:
    """The learning rate that does best on a fifth of the training images; the scored images have no say.

    Each is tried from the same start, for all epochs, on the other four fifths; the fifth holds all classes in
    proportion, or whole groups. groups: of each image. Of equals, the smallest. Raises UserError where there are too
    few images to hold any out.
    """
    fit, held_out = split_off_fifth(feed.targets, groups, job.recipe.seed)
    if not len(held_out):
        what = "groups of training images" if any(group is not None for group in groups) else "training images"
        raise UserError(f"sweep: every class needs at least two {what}, to hold one out. Give one rate.")
    scores = {}
    for rate in sorted(rates):
        network = copy.deepcopy(job.model)
        spec = job.recipe.optimizer.model_copy(update={"lr": rate})
        recipe = job.recipe.model_copy(update={"optimizer": spec})
        trial = dataclasses.replace(job, recipe=recipe, feed=feed.of(fit)).on(network)
        _train(trial)
        with torch.inference_mode():
            logits = trial.scored.eval()(feed.features[held_out.to(feed.device)])
        scores[rate] = float((logits.argmax(1).cpu() == feed.targets.cpu()[held_out]).float().mean())
    best = max(scores, key=lambda rate: scores[rate])
    tried = ", ".join(f"{rate:g} {score:.1%}" for rate, score in scores.items())
    console.print(f"optimizer.lr={best:g}, the best on a held-out fifth of the training images ({tried})")
    return best


def _train(job: Job) -> None:
    trained, optimizer = job.setup()
    job.model.train()
    step = 0
    for epoch in range(1, job.recipe.epochs + 1):
        for batch in job.feed.train(epoch):
            one_step(job, trained, optimizer, batch, step)
            step += 1


def split_off_fifth(targets: Tensor, groups: Sequence[str | None], seed: int) -> tuple[Tensor, Tensor]:
    """Rows to fit on and rows held out: of each class the nearest number to a fifth, at least one of two or more.

    Where images have groups, these stay whole, and are drawn as validation images are. targets: (N,) int64; groups: N.
    """
    if any(group is not None for group in groups):
        return _groups_held_out(targets, groups, seed)
    generator = torch.Generator().manual_seed(derive(seed, "sweep"))
    targets = targets.cpu()
    held_out = []
    for label in sorted(set(targets.tolist())):
        rows = torch.nonzero(targets == label)[:, 0]
        count = max(1, round(_HELD_OUT * len(rows))) if len(rows) > 1 else 0
        held_out.append(rows[torch.randperm(len(rows), generator=generator)[:count]])
    chosen = torch.cat(held_out)
    rest = torch.ones(len(targets), dtype=torch.bool)
    rest[chosen] = False
    return torch.nonzero(rest)[:, 0], chosen


def _groups_held_out(targets: Tensor, groups: Sequence[str | None], seed: int) -> tuple[Tensor, Tensor]:
    salt = derive(seed, "sweep")
    named = [None if group is None else f"{salt} {group}" for group in groups]
    hashes = [text_hash(f"{salt} {row}") for row in range(len(groups))]
    chosen, _ = validation_rows([str(target) for target in targets.tolist()], hashes, named, _HELD_OUT)
    rest = [row for row in range(len(groups)) if row not in chosen]
    return torch.tensor(rest, dtype=torch.int64), torch.tensor(sorted(chosen), dtype=torch.int64)
