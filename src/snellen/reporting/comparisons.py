"""Comparisons of runs on the same images: the tests, their sentences, and their summary."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snellen.insight.decision import RULE, corrected, winner
from snellen.insight.paired import PairedTest
from snellen.insight.segmentation import PairedMasks
from snellen.insight.sentence import listed, verdict
from snellen.reporting.runs import AnyView, RunView, ends, typeset
from snellen.words import counted, duration

_LONGER = 1.2  # times the training of another run, from which on it is mentioned


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same images. p_holm: corrected for the number of comparisons, None if there is no test."""

    a: str
    b: str
    test: PairedTest | PairedMasks
    p_holm: float | None
    sentence: str

    @property
    def better(self) -> str | None:
        """The label of the better run; None if they cannot be told apart. See insight.decision."""
        return {1: self.a, -1: self.b}.get(winner(self.test.difference, self.p_holm))


def comparisons(
    runs: Sequence[AnyView], test: Callable[[AnyView, AnyView], PairedTest | PairedMasks]
) -> list[Comparison]:
    """The tests of all pairs of runs that have learnt, corrected by Holm for how many there are, each in a sentence."""
    pairs = list(itertools.combinations([run for run in runs if run.scored and not run.not_learnt], 2))
    tests = [test(a, b) for a, b in pairs]
    p_values = corrected([test.p_value for test in tests])
    count = sum(p is not None for p in p_values)
    compared = []
    for (a, b), tested, p in zip(pairs, tests, p_values, strict=True):
        sentence = verdict(a.label, b.label, tested, p, max(1, count), unlike(a, b))
        compared.append(Comparison(a.label, b.label, tested, p, typeset(sentence)))
    return compared


def unlike(a: RunView, b: RunView) -> list[str]:
    """How two runs differ other than in what is compared: training time, epochs, choice of the epoch, seed."""
    sentences = []
    times = [run.status.seconds_training for run in (a, b)]
    epochs = [run.status.epochs_done for run in (a, b)]
    long, short = (0, 1) if times[0] >= times[1] else (1, 0)
    if min(times) > 0 and times[long] > _LONGER * times[short]:
        ratio = times[long] / times[short]
        ratio_text = f"{100 * (ratio - 1):.0f}% longer" if ratio < 2 else f"{ratio:.1f} times as long"
        in_epochs = "" if epochs[0] == epochs[1] else f", {epochs[long]} epochs against {epochs[short]}"
        times_text = f"{duration(times[long])} against {duration(times[short])}"
        sentences.append(f"{(a.label, b.label)[long]} trained {ratio_text} ({times_text}{in_epochs})")
    elif epochs[0] != epochs[1]:
        sentences.append(f"{a.label} trained for {counted(epochs[0], 'epoch')}, {b.label} for {epochs[1]}")
    rules = [run.recipe.evaluation.choose for run in (a, b)]
    if len(set(rules)) > 1:
        last = a.label if rules[0] == "last" else b.label
        sentences.append(f"{last} is scored at its last epoch, the other at its best")
    if a.recipe.seed != b.recipe.seed:
        sentences.append(f"their seeds are {a.recipe.seed} and {b.recipe.seed}")
    return sentences


def summary(values: Mapping[str, float], compared: Sequence[Comparison], measure: str) -> list[str]:
    """Which of many runs is best, and which others these images can distinguish from it.

    values: the measure of each run, by its label.
    """
    best = max(values, key=lambda label: values[label])
    of_best = [c for c in compared if best in (c.a, c.b)]
    beaten = [c.b if c.a == best else c.a for c in of_best if c.better == best]
    level = [c.b if c.a == best else c.a for c in of_best if c.better is None]
    images = compared[0].test.total
    if all(c.p_holm is None for c in of_best):
        return [f"{best} has the highest {measure}, {values[best]:.1%}; whether that is chance cannot be tested here."]
    on = f"on {counted(images, 'image')}, one seed each"
    if not level:
        sentences = [f"{best} beats all the others: {measure} {values[best]:.1%} ({on})."]
    else:
        sentences = [
            f"{best} has the highest {measure}, {values[best]:.1%} ({on}). It cannot be told apart from "
            f"{listed(level)}." + (f" It beats {listed(beaten)}." if beaten else "")
        ]
    open_pairs = sum(c.better is None for c in compared)
    pairs, decided = counted(len(compared), "pair"), len(compared) - open_pairs
    sentences.append(f"Of {pairs}, {decided} can be told apart and {open_pairs} cannot. {RULE}")
    return sentences


def comparison_numbers(comparison: Comparison) -> dict[str, Any]:
    """A comparison for the JSON file."""
    test = comparison.test
    return {
        "a": comparison.a,
        "b": comparison.b,
        "difference": test.difference,
        "interval": ends(test.interval),
        "p_value": test.p_value,
        "p_holm": comparison.p_holm,
        "images": test.total,
        "method": test.method,
        "sentence": comparison.sentence,
    }
