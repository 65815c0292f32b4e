"""Labels that are probably wrong, by a probe on features."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from snellen.data.copies.found import Copies
from snellen.data.copies.split import clusters_of
from snellen.data.disk_cache import DiskCache
from snellen.data.listing import ImageSet, Sample
from snellen.errors import UserError
from snellen.insight.out_of_fold import assign_folds, comparable, out_of_fold, principal_components
from snellen.insight.wrong_labels import wrong_share
from snellen.reporting.suspects import Labelled, Suspects
from snellen.tasks.classification.features import FeatureSource, extract
from snellen.tasks.overlap import shared_images, some_of_these
from snellen.words import counted, shortened


def find_suspects(
    images: ImageSet,
    copies: Copies,
    source: FeatureSource,
    bits: int | None,
    disk: DiskCache,
    console: Console,
    seed: int = 0,
) -> Suspects:
    """The labels of all parts, the most suspect first. copies: among the images; with groups, they share a fold.

    Raises UserError if there are no two classes to tell apart.
    """
    listed = [(part, sample) for part, samples in images.parts.items() for sample in samples]
    if len({sample.label for _, sample in listed}) < 2:
        raise UserError(f"{images.root}: one class. Labels can only be suspect among two classes or more.")
    files = images.files([sample for _, sample in listed])
    rows, features = extract(source, files, bits, disk, console)
    labels = np.array([sample.label for _, sample in listed], np.int64)
    read = np.array(rows, np.int64)
    if len(np.unique(labels[read])) < 2:
        raise UserError(f"{images.root}: fewer than two classes have images that can be read.")
    if not np.isfinite(features).all():
        raise UserError(f"{source.text}: not all are finite numbers. Choose other features.")
    units = _units([listed[row][1] for row in rows], copies)
    folds = assign_folds(labels[read], units, seed)
    checked = comparable(labels[read], folds)
    if not checked.any():
        raise UserError(f"{images.root}: no class has two images that are independent, so no label can be compared.")
    unread = len(listed) - len(rows)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("comparing labels", total=None)
        probabilities = out_of_fold(
            principal_components(features),
            labels[read],
            folds,
            len(images.classes),
            seed,
            lambda n, of: bar.update(task, completed=n, total=of),
        )
    probabilities, read, units = probabilities[checked], read[checked], units[checked]
    target, each = labels[read], np.arange(len(read))
    share = wrong_share(probabilities, target, units)
    others = probabilities.copy()
    others[each, target] = -1
    likely, given = others.argmax(1), probabilities[each, target]
    best = others.max(1)
    order = np.lexsort((-best, given))  # the least probable labels first
    at_most = math.ceil(share.interval.high * len(read))
    count = min(at_most, int((best > given).sum()))
    order = np.concatenate([order[best[order] > given[order]], order[best[order] <= given[order]]])
    labelled = tuple(
        Labelled(
            path=listed[read[row]][1].path,
            part=listed[read[row]][0],
            given=images.classes[target[row]],
            likely=images.classes[likely[row]],
            probability=float(given[row]),
            likely_probability=float(best[row]),
        )
        for row in order.tolist()
    )
    is_checked = set(read.tolist())
    unchecked = [(s.path, part, images.classes[s.label]) for n, (part, s) in enumerate(listed) if n not in is_checked]
    return Suspects(
        images=labelled,
        count=count,
        source=source.text,
        share=share,
        agreeing=int((given >= best).sum()),
        notes=(*_unchecked_notes(unchecked, unread), *_notes_on_run(source, files)),
        unchecked=tuple(unchecked),
        groups={sample.path: sample.group for _, sample in listed if sample.group is not None},
    )


def _units(samples: list[Sample], copies: Copies) -> NDArray[np.int64]:
    """(n,) a number for each cluster of images that copies or a group connect."""
    pairs = [(pair.first, pair.second) for pair in copies.pairs]
    clusters = clusters_of([sample.path for sample in samples], [sample.group for sample in samples], pairs)
    return np.unique(clusters, return_inverse=True)[1].astype(np.int64)


def _unchecked_notes(unchecked: list[tuple[str, str, str]], unread: int) -> list[str]:
    lone = len(unchecked) - unread
    if not lone:
        return []
    by_class = Counter(given for _, _, given in unchecked)
    names = ", ".join(shortened([f"{name} ({count:,})" for name, count in by_class.most_common()], 5))
    which = counted(lone, "label was", "labels were")
    return [f"{which} not checked, since no other fold has an image, group or set of copies of the class: {names}"]


def _notes_on_run(source: FeatureSource, files: list[Path]) -> list[str]:
    """That a network which has learnt these labels hides those that are wrong."""
    if source.run is None or not source.learnt_labels:
        return []
    counts = shared_images(source.run, files)
    if counts is None:
        return [f"the images of the run are gone: if they are these, {_HIDES}"]
    if not counts["train"]:
        return []
    return [f"the run was trained on {some_of_these(counts['train'], len(files))} with labels of its own: {_HIDES}"]


_HIDES = (
    "features learnt from labels follow them, wrong ones included, so that fewer of those are found, and the share is "
    "too low. A backbone that has not seen these labels does not have this bias"
)
