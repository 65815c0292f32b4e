"""The runs of a page: their figures, how they compare, and the answer in a sentence or a few."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Self

import numpy as np

from snellen.insight.differences import Difference
from snellen.insight.paired import PairedTest
from snellen.insight.segmentation import PairedMasks
from snellen.insight.without_leaked import WithoutLeaked
from snellen.reporting.comparisons import Comparison, comparison_numbers, comparisons, summary
from snellen.reporting.runs import AnyView, RunView, differing, labels_of, left_aside, typeset
from snellen.run.directory import RunDirectory


@dataclass(frozen=True)
class Collected(Generic[AnyView]):
    """Everything that a report shows.

    same_images: whether the runs were scored on the same images. clean: two runs' labels, and their difference without
    leaked images, if there are some.
    """

    runs: list[AnyView]
    comparisons: list[Comparison]
    differing: list[Difference]
    same_images: bool
    clean: list[tuple[str, str, WithoutLeaked]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        runs: list[AnyView],
        same_images: bool,
        test: Callable[[AnyView, AnyView], PairedTest | PairedMasks],
        without_leaked: Callable[[AnyView, AnyView], WithoutLeaked | None],
    ) -> Self:
        """Runs with the tests of their pairs, if they were scored on the same images.

        without_leaked: the difference of two runs without the leaked images, None if there are none.
        """
        pairs = itertools.combinations([run for run in runs if run.scored and not run.not_learnt], 2)
        differences = [(a.label, b.label, without_leaked(a, b)) for a, b in pairs] if same_images else []
        clean = [(a, b, difference) for a, b, difference in differences if difference is not None]
        return cls(runs, comparisons(runs, test) if same_images else [], differing(runs), same_images, clean)

    @property
    def measure(self) -> str:
        """What is compared."""
        return self.runs[0].measure

    @property
    def scored(self) -> list[AnyView]:
        """The runs that have figures."""
        return [run for run in self.runs if run.scored]

    @property
    def headline(self) -> list[str]:
        """The answer, in one sentence or a few."""
        learnt = [run for run in self.scored if not run.not_learnt]
        rest = [*self._leaks, *left_aside(self.runs)]
        if len(self.comparisons) > 1:
            values = {run.label: run.compared[0] for run in learnt}
            return [*summary(values, self.comparisons, self.measure), *rest]
        if self.comparisons:
            return [self.comparisons[0].sentence, *rest]
        return [*(run.sentence for run in learnt), *rest]

    @property
    def _leaks(self) -> list[str]:
        """The difference without leaked images if it is of two runs, else a sentence on each run that has some."""
        if len(self.clean) == 1:
            return [typeset(difference.of_difference(a, b)) for a, b, difference in self.clean]
        return [sentence for run in self.scored for sentence in run.leaks]

    def numbers(self, of_run: Callable[[AnyView], dict[str, Any]], of_test: Sequence[str]) -> dict[str, Any]:
        """All numbers of the page, for JSON. of_run: those of a run. of_test: fields of the comparisons' tests."""
        return {
            "headline": self.headline,
            "runs": [of_run(run) for run in self.runs],
            "comparisons": [
                comparison_numbers(c) | {key: getattr(c.test, key) for key in of_test} for c in self.comparisons
            ],
            "without_leaked": [{"a": a, "b": b, **asdict(difference)} for a, b, difference in self.clean],
            "differing": [asdict(row) for row in self.differing],
        }


def views(runs: Sequence[RunDirectory], view: Callable[[str, RunDirectory, int], AnyView]) -> list[AnyView]:
    """The figures of each run, under a label that no other has."""
    labels = labels_of([view("", run, 0).recipe.name for run in runs], runs)
    return [view(label, run, number) for number, (label, run) in enumerate(zip(labels, runs, strict=True))]


def reasons_not_learnt(runs: Sequence[RunView]) -> tuple[str, ...]:
    """Why, for each of the runs that has not learnt."""
    return tuple(run.why_not_learnt for run in runs if run.why_not_learnt is not None)


def mean_of_kept(runs: Sequence[RunView]) -> float | None:
    """The mean of the kept weights' own scores, if epochs were chosen by them; else None."""
    if not any(run.of_kept for run in runs):
        return None
    return float(np.mean([run.kept_score for run in runs if run.kept_score is not None]))
