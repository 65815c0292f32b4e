"""The report of a study: one HTML file from its runs, with the same numbers as JSON and CSV next to it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from snellen.engine.few_steps import few_steps_notes
from snellen.insight.decision import RULE
from snellen.insight.differences import Difference
from snellen.insight.power import FEWEST_SEEDS_FOR_POWER
from snellen.reporting import charts
from snellen.reporting.charts import Entry, Series
from snellen.reporting.runs import RunView, class_names, differing, ends
from snellen.reporting.shared import Cost, Gallery, cost
from snellen.reporting.template import Page, check_name, variables_of
from snellen.runs import Run
from snellen.study.answer import Answer, answer, not_learnt, verdict
from snellen.study.directory import StudyDirectory
from snellen.study.leaks import WithoutLeaks, without_leaks
from snellen.study.results import Cell, Pair, Results, read_results
from snellen.tasks.kind import Sections
from snellen.words import counted, time_axis

_PICTURES = 8
_MOST_FEATURES = 6  # settings whose features are drawn


@dataclass(frozen=True)
class StudyPage:
    """What study.html.j2 uses, besides the variables of the kind's `sections`.

    seeds: how many, in words. unpaired: whether some pairs are not paired by seed. key_colours and descriptions: by
    setting. difference_charts: (share of the labels, chart). leaks: results without leaked images, if there are some.
    curves: (caption, chart). names: of the classes. views: a run for each setting. moderated: whether settings borrow
    from others.
    """

    results: Results
    sections: Sections
    answers: list[Answer]
    seeds: str
    one_seed: bool
    few_seeds: bool
    kinds: list[str]
    unpaired: bool
    not_learnt: list[str]
    key_colours: dict[str, str]
    descriptions: dict[str, str]
    means_chart: Markup
    difference_charts: list[tuple[str, Markup]]
    verdicts: list[str]
    leaks: WithoutLeaks | None
    moderated: bool
    curves: list[tuple[str, Markup]]
    names: list[str]
    galleries: list[Gallery]
    differing: list[Difference]
    views: list[RunView]
    notices: list[str]
    cost: list[Cost]
    pretraining: RunView | None
    pretrained_once: bool


def build_study_report(study: StudyDirectory, out: Path) -> Path:
    """Writes the report of a study, finished or not, and returns its path.

    The same numbers are written next to `out`: .json with all of them, .csv with a row per setting and share of the
    labels. Raises UserError if no run is finished, or if `out` is not an .html file.
    """
    check_name(out)
    return _page(read_results(study)).write(out)


def _page(results: Results) -> Page:
    spec = results.study.spec
    views, leaks = _representatives(results), without_leaks(results)
    sections = results.cells[0].first.kind.study.sections(views, _MOST_FEATURES)
    context = StudyPage(
        results=results,
        sections=sections,
        answers=answer(results),
        seeds=_seeds(results),
        one_seed=all(len(cell.runs) == 1 for cell in results.cells),
        few_seeds=any(1 < len(cell.runs) < FEWEST_SEEDS_FOR_POWER for cell in results.cells),
        kinds=list(dict.fromkeys(cell.kind for cell in results.cells)),
        unpaired=any(not pair.is_paired for pair in results.pairs),
        not_learnt=not_learnt(results),
        key_colours={run.label: run.colour for run in views},
        descriptions={setting.name: setting.description for setting in spec.all_settings},
        means_chart=_means(results),
        difference_charts=_difference_charts(results),
        verdicts=[verdict(pair) for pair in results.pairs],
        leaks=leaks,
        moderated=any(cell.expected.degrees for cell in results.cells),
        curves=_curves(results),
        names=class_names(views),
        galleries=_galleries(results),
        differing=differing(views),
        views=views,
        notices=_few_steps(results) + _switches(results.study),
        cost=[cost(run) for run in views],
        pretraining=_pretraining(results.study),
        pretrained_once=any(setting.start == "self-supervised" for setting in spec.chosen),
    )
    return Page(
        template="study.html.j2",
        styles=("report.css", *sections.styles),
        scripts=("report.js", *sections.scripts),
        variables=variables_of(context) | sections.variables,
        numbers=_numbers(results) | {"without_leaked": None if leaks is None else leaks.as_dict()},
        rows=[cell.as_dict() for cell in results.cells],
    )


def _representatives(results: Results) -> list[RunView]:
    """One run for each setting: the first seed, with the most labels."""
    cells: dict[str, Cell] = {}
    for cell in results.cells:
        if cell.setting not in cells or cell.fraction > cells[cell.setting].fraction:
            cells[cell.setting] = cell
    view = results.cells[0].first.kind.report.view
    return [view(name, cell.first, number) for number, (name, cell) in enumerate(cells.items())]


def _seeds(results: Results) -> str:
    """The number of seeds of the settings, in words: '3 seeds', '3 or 5 seeds'."""
    numbers = sorted({len(cell.runs) for cell in results.cells})
    return " or ".join([*map(str, numbers[:-1]), counted(numbers[-1], "seed")])


def _colour(results: Results, setting: str) -> str:
    return f"run{results.settings.index(setting) % 8}"


def _means(results: Results) -> Markup:
    """Means with intervals: a row for each setting, or for each share of the labels if there are several."""
    rows = []
    for fraction in results.fractions:
        cells = results.at(fraction)
        entries = [
            Entry(
                _colour(results, cell.setting),
                cell.over.mean,
                cell.interval,
                cell.setting,
                cell.by_seed if len(cell.runs) > 1 else (),
            )
            for cell in cells
        ]
        if len(results.fractions) == 1:
            rows += [(cell.setting, [entry]) for cell, entry in zip(cells, entries, strict=True)]
        else:
            rows.append((f"{100 * fraction:g}% · {cells[0].labelled_images:,}", entries))
    return Markup(charts.forest(rows, f"Mean {results.measure} with 95% intervals"))


def _difference_charts(results: Results) -> list[tuple[str, Markup]]:
    """(share of the labels, chart) of all pairs; empty if there is nothing to compare."""
    charts_by_share = []
    for fraction in results.fractions:
        rows = []
        for pair in results.pairs:
            if pair.a.fraction == fraction:
                colour = "none" if pair.better is None else _colour(results, pair.better.setting)
                entry = Entry(colour, pair.over.mean, pair.over.interval, verdict(pair))
                rows.append((f"{pair.a.setting} − {pair.b.setting}", [entry]))
        if rows:
            chart = charts.forest(rows, f"Differences of {results.measure} with 95% intervals", zero=True)
            charts_by_share.append((f"{100 * fraction:g}% of the labels", Markup(chart)))
    return charts_by_share


def _curves(results: Results) -> list[tuple[str, Markup]]:
    """(caption, chart): the measure by epoch and by time, the mean over the seeds, for each share."""
    charts_by_axis = []
    name = results.measure
    scored = "validation_miou" if name == "mIoU" else "validation_top1"
    time = time_axis(max(cell.seconds for cell in results.cells))
    for fraction, (column, unit, caption) in itertools.product(
        results.fractions, (("epoch", 1.0, "epoch"), ("seconds", *time))
    ):
        series = []
        for cell in results.at(fraction):
            tables = [run.metrics()[["epoch", "seconds", scored]] for run in cell.runs.values()]
            mean = pd.concat(tables).apply(pd.to_numeric).groupby("epoch", as_index=False).mean().dropna()
            x, y = (mean[column] / unit).tolist(), mean[scored].tolist()
            series.append(Series(cell.setting, _colour(results, cell.setting), x, y))
        share = "" if len(results.fractions) == 1 else f", {100 * fraction:g}% of the labels"
        chart = charts.line_chart(series, caption, name, True, f"{name} against {caption}{share}")
        charts_by_axis.append((f"by {caption}{share}", Markup(chart)))
    return charts_by_axis


def _galleries(results: Results) -> list[Gallery]:
    """The best setting against each of the others, with the most labels: what only one of the two gets right."""
    cells = results.at(results.fractions[-1])
    if len(cells) < 2 or any(cell.judged.correct is None for cell in cells):
        return []
    best = max(cells, key=lambda cell: cell.over.mean)
    picture = best.first.kind.study.mistake
    galleries = []
    for other in sorted((c for c in cells if c is not best), key=lambda cell: -cell.over.mean):
        for winner, loser in ((best, other), (other, best)):
            rows = _only(winner, loser)
            galleries.append(
                Gallery(
                    name=f"{winner.setting} right, {loser.setting} wrong",
                    colour=_colour(results, winner.setting),
                    count=len(rows),
                    pictures=[picture(list(loser.runs.values()), int(row)) for row in rows[:_PICTURES]],
                )
            )
    return galleries


def _only(winner: Cell, loser: Cell) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Images that most seeds of winner get right and most of loser wrong: the clearest first, ties at random."""
    assert winner.judged.correct is not None
    assert loser.judged.correct is not None
    share_right, share_right_of_loser = winner.judged.correct.mean(0), loser.judged.correct.mean(0)
    rows = np.random.default_rng(0).permutation(np.flatnonzero((share_right > 0.5) & (share_right_of_loser < 0.5)))
    return rows[np.argsort(-(share_right - share_right_of_loser)[rows], kind="stable")]


def _pretraining(study: StudyDirectory) -> RunView | None:
    run = study.pretraining
    return None if run is None else run.kind.report.view("", run, 0)


def _few_steps(results: Results) -> list[str]:
    """Notes on settings with few optimiser steps."""
    runs = [
        (cell.setting, cell.recipe, int(run.data["counts"]["train"]))
        for cell in results.cells
        for run in cell.runs.values()
    ]
    return few_steps_notes(runs, deliberate=results.study.spec.fewest_steps > 0)


def _switches(study: StudyDirectory) -> list[str]:
    """Notes on runs that changed their precision during training."""
    runs = [Run(run.path) for run in study.runs if (run.path / "environment.json").is_file()]
    return [f"{run.name}: {sentence}." for run in runs for sentence in run.switches]


def _numbers(results: Results) -> dict[str, Any]:
    return {
        "study": results.study.spec.name,
        "headlines": [text.headline for text in answer(results)],
        "answer": [text.text for text in answer(results)],
        "not_learnt": not_learnt(results),
        "rule": RULE,
        "settings": [cell.as_dict() | {"by_seed": cell.by_seed} for cell in results.cells],
        "pairs": [_pair_numbers(pair) for pair in results.pairs],
        "missing": results.missing,
    }


def _pair_numbers(pair: Pair) -> dict[str, Any]:
    return {
        "a": pair.a.setting,
        "b": pair.b.setting,
        "fraction": pair.a.fraction,
        "difference": pair.over.mean,
        "interval": ends(pair.over.interval),
        "p_value": pair.over.p_value,
        "p_holm": pair.p_holm,
        "seeds": pair.over.seeds,
        "paired_by_seed": pair.is_paired,
        "no_interval": pair.a.no_interval,
        "images": pair.over.images,
        "better": None if pair.better is None else pair.better.setting,
        "images_needed": pair.needed.images,
        "seeds_needed": pair.needed.seeds,
        "smallest_difference": pair.needed.smallest,
        "sentence": verdict(pair),
    }
