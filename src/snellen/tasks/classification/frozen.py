"""A head on a frozen backbone: features are extracted once, so trying several learning rates is cheap."""

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

from snellen import ranks
from snellen.data.feed import Batch, Feed, order, steps_in_epoch
from snellen.data.fingerprint import text_hash
from snellen.data.split import validation_rows
from snellen.engine.loop import Job, one_step
from snellen.engine.task import Autocast
from snellen.errors import UserError
from snellen.models.classifier import Classifier
from snellen.randomness import derive

_HELD_OUT = 0.2


@dataclass(frozen=True)
class FeatureFeed:
    """Batches of pooled features instead of images; `Classifier.features` passes them through unchanged.

    features: (N, D) float32, targets: (N,) int64, both on the training device. seed: of the order.
    """

    features: Tensor
    targets: Tensor
    batch_size: int
    drop_last: bool
    seed: int

    @property
    def count(self) -> int:
        """The number of images they come from."""
        return len(self.targets)

    @property
    def device(self) -> torch.device:
        """The device that they are on."""
        return self.features.device

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return steps_in_epoch(self.count, self.batch_size, self.drop_last)

    def train(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch (counted from 1), from step `start` (counted from 0) on."""
        shuffled = order(self.seed, epoch, self.count).to(self.device)
        for step in range(start, self.steps):
            rows = shuffled[step * self.batch_size : (step + 1) * self.batch_size]
            yield dataclasses.replace(self._batch(rows[ranks.part(len(rows))]), whole=len(rows))

    def evaluate(self, rows: NDArray[np.int64] | None = None, dealt: bool = False) -> Iterator[Batch]:
        """Batches of all, or of those in `rows`, in order. dealt: only those of this process."""
        indices = torch.arange(self.count) if rows is None else torch.from_numpy(rows)
        indices = indices.to(self.device)
        steps = -(-len(indices) // self.batch_size)
        for step in ranks.dealt(steps) if dealt else range(steps):
            yield self._batch(indices[step * self.batch_size : (step + 1) * self.batch_size])

    def subset(self, rows: Tensor) -> FeatureFeed:
        """The features of some rows, (n,) int64."""
        rows = rows.to(self.device)
        return dataclasses.replace(self, features=self.features[rows], targets=self.targets[rows])

    def _batch(self, rows: Tensor) -> Batch:
        return Batch(self.features[rows], self.targets[rows])


@torch.inference_mode()
def extract_features(model: Classifier, feed: Feed, autocast: Autocast, console: Console) -> FeatureFeed:
    """Pooled features of all images of `feed` as evaluation sees them; with a progress bar."""
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
    # Cloned because inference tensors cannot take part in autograd.
    return FeatureFeed(
        features=torch.cat(features).clone(),
        targets=torch.cat(targets).clone(),
        batch_size=feed.batch_size,
        drop_last=feed.drop_last,
        seed=feed.seed,
    )


def best_rate(
    job: Job, feed: FeatureFeed, groups: Sequence[str | None], rates: Sequence[float], console: Console
) -> float:
    """The learning rate with the best accuracy on a held-out fifth of the training images; no scored image is used.

    Each rate is trained from the same start, for all epochs, on the other four fifths; the fifth holds all classes in
    proportion, or whole groups. groups: of each image. Ties go to the smallest rate. Raises UserError if there are too
    few images to hold any out.
    """
    fit, held_out = split_off_fifth(feed.targets, groups, job.recipe.seed)
    if not len(held_out):
        units = "groups of training images" if any(group is not None for group in groups) else "training images"
        raise UserError(f"sweep: every class needs at least two {units}, to hold one out. Give a single rate.")
    scores = {}
    for rate in sorted(rates):
        network = copy.deepcopy(job.model)
        recipe = job.recipe.with_part("optimizer", lr=rate)
        trial = dataclasses.replace(job, recipe=recipe, feed=feed.subset(fit)).on(network)
        _train(trial)
        with torch.inference_mode():
            logits = trial.scored.eval()(feed.features[held_out.to(feed.device)])
        scores[rate] = float((logits.argmax(1).cpu() == feed.targets.cpu()[held_out]).float().mean())
    best = max(scores, key=lambda rate: scores[rate])
    accuracies = ", ".join(f"{rate:g} {score:.1%}" for rate, score in scores.items())
    console.print(f"optimizer.lr={best:g}, the best on a held-out fifth of the training images ({accuracies})")
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
    """Rows to fit on and held-out rows: about a fifth of each class, at least one if it has two or more.

    Groups of images stay whole, and are drawn as validation images are. targets: (N,) int64; groups: N.
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
    drawn = torch.cat(held_out)
    rest = torch.ones(len(targets), dtype=torch.bool)
    rest[drawn] = False
    return torch.nonzero(rest)[:, 0], drawn


def _groups_held_out(targets: Tensor, groups: Sequence[str | None], seed: int) -> tuple[Tensor, Tensor]:
    salt = derive(seed, "sweep")
    salted_groups = [None if group is None else f"{salt} {group}" for group in groups]
    hashes = [text_hash(f"{salt} {row}") for row in range(len(groups))]
    held_out, _ = validation_rows([str(target) for target in targets.tolist()], hashes, salted_groups, _HELD_OUT)
    rest = [row for row in range(len(groups)) if row not in held_out]
    return torch.tensor(rest, dtype=torch.int64), torch.tensor(sorted(held_out), dtype=torch.int64)
