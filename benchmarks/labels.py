"""How well wrong labels are found, and how well their share is estimated.

extract FOLDER FILE.npz: features of a random subset of FOLDER/train, once, for the others.
planted FILE.npz: average precision of the ranking where 5% of the labels were swapped, at random or along the usual
confusions: each class with the one that the probe confuses it with most. Beside it cleanlab's, if it is installed, on
the same probabilities.
coverage FILE.npz: how often the interval of the share of wrong labels covers the planted share.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from sklearn.metrics import average_precision_score

from snellen.data.disk_cache import DiskCache
from snellen.insight.out_of_fold import assign_folds, out_of_fold, principal_components
from snellen.insight.proportions import percents, wilson
from snellen.insight.wrong_labels import wrong_share

RATE = 0.05
KINDS = ("random", "confusions")

Labels = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Set:
    """features: (N, D), reduced. labels: (N,). classes: C names."""

    features: Floats
    labels: Labels
    classes: list[str]

    def probabilities(self, labels: Labels, seed: int) -> Floats:
        """(N, C) out of fold, for these labels."""
        folds = assign_folds(labels, np.arange(len(labels)), seed)
        return out_of_fold(self.features, labels, folds, len(self.classes), seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    extraction = commands.add_parser("extract")
    extraction.add_argument("folder", type=Path)
    extraction.add_argument("--features", default="efficientnet_lite0", help="as in snellen check")
    extraction.add_argument("--weights", help="model.weights")
    extraction.add_argument("--size", type=int, help="evaluation.size")
    for name, draws in (("planted", 5), ("coverage", 100)):
        commands.add_parser(name).add_argument("--draws", type=int, default=draws)
        commands.choices[name].add_argument("--kind", choices=KINDS, action="append", help="of swaps; by default both")
    for command in commands.choices.values():
        command.add_argument("file", type=Path)
        command.add_argument("--count", type=int, default=10_000, help="images")
    options = parser.parse_args()
    if options.command == "extract":
        fields = {"model.weights": options.weights, "evaluation.size": options.size}
        extract_subset(options.folder, options.file, options.count, options.features, fields)
        return
    arrays = np.load(options.file)
    some = slice(options.count)
    features, labels = arrays["features"][some], arrays["labels"][some].astype(np.int64)
    images = Set(principal_components(features), labels, [str(name) for name in arrays["classes"]])
    print(f"{len(labels):,} images, {features.shape[1]:,} features")
    (planted if options.command == "planted" else coverage)(images, options.draws, options.kind or KINDS)


def extract_subset(folder: Path, file: Path, count: int, features: str, fields: dict[str, object]) -> None:
    from snellen.tasks.classification.features import extract, open_features

    files = sorted((folder / "train").glob("*/*"))
    random.Random(0).shuffle(files)
    classes = sorted({path.parent.name for path in files})
    source = open_features(features, {key: value for key, value in fields.items() if value is not None})
    console = Console(stderr=True)
    console.print(source.text)
    rows, values = extract(source, files[:count], None, DiskCache(16384), console)
    labels = np.array([classes.index(files[row].parent.name) for row in rows])
    np.savez(file, features=values, labels=labels, classes=np.array(classes))


def at_random(labels: Labels, rows: Labels, classes: int, draw: np.random.Generator) -> Labels:
    """Each of these labels becomes another one, all equally likely."""
    return (labels[rows] + draw.integers(1, classes, len(rows))) % classes


def usual_confusions(images: Set) -> Labels:
    """(C,) the class that a probe confuses each class with most, on the labels as they are."""
    predicted = images.probabilities(images.labels, 0).argmax(1)
    counts = np.zeros((len(images.classes), len(images.classes)), np.int64)
    np.add.at(counts, (images.labels, predicted), 1)
    np.fill_diagonal(counts, -1)
    return counts.argmax(1)


def draws_of(images: Set, number: int, chosen: Sequence[str]) -> Iterator[tuple[str, int, Labels, NDArray[np.bool_]]]:
    """(kind, draw, labels, which were swapped)"""
    confused = usual_confusions(images)
    print(
        "usual confusions:",
        ", ".join(f"{a} > {images.classes[b]}" for a, b in zip(images.classes, confused, strict=True)),
    )
    kinds: dict[str, Callable[[Labels, np.random.Generator], Labels]] = {
        "random": lambda rows, draw: at_random(images.labels, rows, len(images.classes), draw),
        "confusions": lambda rows, draw: confused[images.labels[rows]],
    }
    for kind in chosen:
        for draw in range(number):
            generator = np.random.default_rng(draw)
            rows = generator.choice(len(images.labels), round(RATE * len(images.labels)), replace=False)
            labels = images.labels.copy()
            labels[rows] = kinds[kind](rows, generator)
            yield kind, draw, labels, labels != images.labels


def planted(images: Set, number: int, chosen: Sequence[str]) -> None:
    """Average precision."""
    results: dict[str, list[tuple[float, float]]] = {}
    for kind, draw, labels, wrong in draws_of(images, number, chosen):
        probabilities = images.probabilities(labels, draw)
        own = average_precision_score(wrong, -probabilities[np.arange(len(labels)), labels])
        results.setdefault(kind, []).append(
            (own, average_precision_score(wrong, cleanlab_suspicion(labels, probabilities)))
        )
        print(f"{kind}, draw {draw}: {own:.3f}, cleanlab {results[kind][-1][1]:.3f}", flush=True)
    for kind, values in results.items():
        own, other = np.array(values).T
        print(
            f"{kind}: average precision {own.mean():.3f} ({own.min():.3f} to {own.max():.3f}) in {len(own)} draws, "
            f"cleanlab {other.mean():.3f}"
        )


def cleanlab_suspicion(labels: Labels, probabilities: Floats) -> NDArray[np.float64]:
    """(N,) by cleanlab's defaults; NaN without cleanlab."""
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return np.zeros(len(labels))
    return -np.asarray(get_label_quality_scores(labels, probabilities))


def coverage(images: Set, number: int, chosen: Sequence[str]) -> None:
    """How often the interval covers the planted share, alone and with the share estimated without planting."""
    own = wrong_share(images.probabilities(images.labels, 0), images.labels)
    print(f"nothing planted: {own.share:.2%} ({percents(own.interval, 2)}%)")
    results: dict[str, list[tuple[float, bool, bool, float]]] = {}
    for kind, draw, labels, wrong in draws_of(images, number, chosen):
        found = wrong_share(images.probabilities(labels, draw), labels)
        rate = float(wrong.mean())
        both = rate + (1 - rate) * own.share
        low, high = found.interval.low, found.interval.high
        results.setdefault(kind, []).append((found.share, low <= rate <= high, low <= both <= high, high - low))
        print(f"{kind}, draw {draw}: {found.share:.2%} ({percents(found.interval, 2)}%)", flush=True)
    for kind, values in results.items():
        share, alone, with_own, width = np.array(values).T
        print(
            f"{kind}: estimate {share.mean():.2%} on average, interval {width.mean():.2%} wide; it covers the planted "
            f"share in {int(alone.sum())} of {len(alone)} draws "
            f"({percents(wilson(int(alone.sum()), len(alone)))}%), with the set's own in {int(with_own.sum())}"
        )


if __name__ == "__main__":
    main()
