"""A study without the scored images that are copies of images its runs were trained on: scores, and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from snellen.insight.proportions import percents
from snellen.insight.sentence import points
from snellen.insight.without_leaked import WithoutLeaked
from snellen.reporting.headline import leaked_of
from snellen.reporting.runs import ends
from snellen.study.results import Bools, Cell, Pair, Results, judged_without
from snellen.words import counted


@dataclass(frozen=True)
class CleanScore:
    """A setting without the leaked images. cell: judged on the other images. without: its mean, and what it changes."""

    cell: Cell
    without: WithoutLeaked


@dataclass(frozen=True)
class CleanPair:
    """A pair of settings on all images, and without the leaked ones."""

    before: Pair
    after: Pair

    @property
    def is_changed(self) -> bool:
        """Whether the verdict is another one."""
        return self.before.verdict != self.after.verdict


@dataclass(frozen=True)
class WithoutLeaks:
    """What a study says without leaked images, one set of them for each share of the labels.

    all_leaked: shares of the labels with no other images; nothing is said of these. one_share: whether the study has
    one share of the labels.
    """

    scores: list[CleanScore]
    pairs: list[CleanPair]
    all_leaked: list[float]
    one_share: bool

    @cached_property
    def changed(self) -> list[CleanPair]:
        """The pairs with another verdict."""
        return [pair for pair in self.pairs if pair.is_changed]

    @property
    def headline(self) -> str:
        """The best setting's score without them, and how many verdicts change; with the most labels."""
        if not self.scores:
            return "All scored images are copies of images that the runs were trained on."
        most = max(score.cell.fraction for score in self.scores)
        learnt = [s for s in self.scores if not s.cell.judged.not_learnt] or self.scores
        best = max(learnt, key=lambda score: (score.cell.fraction == most, score.without.value))
        without = best.without
        share = "" if self.one_share else f" with {100 * best.cell.fraction:g}% of the labels"
        bounds = "" if without.interval is None else f" (95% interval {percents(without.interval)})"
        return (
            f"Without the {counted(without.leaked, 'leaked image')}, copies of images that the runs were trained on, "
            f"{best.cell.setting}{share} has {best.cell.measure} {without.value:.1%}{bounds}, "
            f"{points(without.change)} {'less' if without.change <= 0 else 'more'}{self._verdicts}."
        )

    @property
    def _verdicts(self) -> str:
        compared = sum(not pair.before.not_learnt for pair in self.pairs)
        if not compared:
            return ""
        if compared == 1:
            return f", and the verdict {'changes' if self.changed else 'stays the same'}"
        if not self.changed:
            return f", and none of {compared} verdicts changes"
        return f", and {len(self.changed)} of {compared} verdicts {'change' if self.changed[1:] else 'changes'}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        scores = [
            {"setting": score.cell.setting, "fraction": score.cell.fraction, "over_classes": over}
            | asdict(score.without)
            for score in self.scores
            for over in [score.cell.judged.over_classes]
        ]
        pairs = [
            {
                "a": pair.after.a.setting,
                "b": pair.after.b.setting,
                "fraction": pair.after.a.fraction,
                "difference": pair.after.over.mean,
                "interval": ends(pair.after.over.interval),
                "p_value": pair.after.over.p_value,
                "p_holm": pair.after.p_holm,
                "verdict": pair.after.verdict,
                "verdict_on_all_images": pair.before.verdict,
            }
            for pair in self.pairs
        ]
        return {"sentence": self.headline, "settings": scores, "pairs": pairs}


def without_leaks(results: Results) -> WithoutLeaks | None:
    """None if no scored image is known to be a copy of an image that a run was trained on, or that chose its epoch.

    An image that is leaked in one run of a share of the labels is left out of all of them, so that pairs stay pairs.
    """
    leaked = {fraction: _leaked(results.at(fraction)) for fraction in results.fractions}
    if not any(rows.any() for rows in leaked.values()):
        return None
    judged = [cell for cell in results.cells if not leaked[cell.fraction].all()]
    clean = judged_without(results.study, judged, leaked)
    scores = []
    for cell in clean.cells:
        runs, study = [*cell.runs.values()], cell.first.kind.study
        without = study.score_without_leaked(runs, leaked[cell.fraction], cell.interval)
        if without is not None:
            scores.append(CleanScore(cell, without))
    before = {_names(pair): pair for pair in results.pairs}
    return WithoutLeaks(
        scores=scores,
        pairs=[CleanPair(before[_names(pair)], pair) for pair in clean.pairs if leaked[pair.a.fraction].any()],
        all_leaked=[fraction for fraction, rows in leaked.items() if rows.all()],
        one_share=len(results.fractions) == 1,
    )


def _leaked(cells: Sequence[Cell]) -> Bools:
    return np.asarray(np.any([leaked_of(run) for cell in cells for run in cell.runs.values()], axis=0))


def _names(pair: Pair) -> tuple[str, str, float]:
    return pair.a.setting, pair.b.setting, pair.a.fraction
