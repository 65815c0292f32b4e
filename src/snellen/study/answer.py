"""The answer of a study in words that its numbers support."""

from __future__ import annotations

from collections.abc import Sequence

from snellen.insight.seeds import Needed, OverSeeds
from snellen.insight.sentence import listed, p_text, points, rounded
from snellen.reporting.runs import WHAT_TO_TRY
from snellen.spec import Spec
from snellen.study.results import Cell, Pair, Results
from snellen.words import counted


def answer(results: Results) -> list[str]:
    """A paragraph for each share of the labels: which setting, by how much, how sure, what would make it surer."""
    return [_paragraph(results, fraction) + _worth(results, fraction) for fraction in results.fractions]


def not_learnt(results: Results) -> list[str]:
    """A warning for each setting with runs that are not above an answer that needs no image."""
    return [
        f"{cell.setting}{_part(results, cell)} has not learnt in {len(cell.not_learnt)} of "
        f"{counted(len(cell.runs), 'run')}: "
        f"{cell.not_learnt[0]}. {WHAT_TO_TRY}"
        for cell in results.cells
        if cell.not_learnt
    ]


def _part(results: Results, cell: Cell) -> str:
    return "" if results.fractions == [1.0] else f", with {100 * cell.fraction:g}% of the labels,"


def verdict(pair: Pair) -> str:
    """One sentence or two on a pair: which is better by how much, or what would show it."""
    if pair.not_learnt:
        return f"{pair.a.setting} and {pair.b.setting} are not compared: {listed(pair.not_learnt)} " + (
            "has not learnt." if len(pair.not_learnt) == 1 else "have not learnt."
        )
    return _gap(pair) if pair.better is not None else f"{_gap(pair)} {surer(pair.over, pair.needed)}"


def _gap(pair: Pair) -> str:
    a, b, over = pair.a.setting, pair.b.setting, pair.over
    low, high = 100 * over.interval.low, 100 * over.interval.high
    seeds = f"{counted(over.seeds, 'seed')} each"
    if pair.better is not None:
        other = b if pair.better is pair.a else a
        near, far = sorted((abs(low), abs(high)))
        return (
            f"{pair.better.setting} beats {other} by {points(over.mean)}, 95% interval {near:.1f} to {far:.1f} "
            f"(p {p_text(pair.p_holm)}, {seeds})."
        )
    return (
        f"{a} and {b} cannot be told apart: difference {_signed(100 * over.mean)} points, 95% interval "
        f"{_signed(low)} to {_signed(high)} (p {p_text(pair.p_holm)}, {seeds})."
    )


def surer(over: OverSeeds, more: Needed) -> str:
    """What would show a difference as large as the one seen."""
    if more.smallest >= 1:
        return "So few seeds and images could not have shown any difference; more seeds would say most."
    found = f"a true difference of {points(more.smallest)} would have been found four times in five"
    if over.mean == 0:
        return f"{found[0].upper()}{found[1:]}."
    ways = []
    if more.images is not None and more.images > over.images:
        ways.append(f"about {rounded(more.images)} images")
    if more.seeds is not None and more.seeds > over.seeds:
        ways.append(f"about {more.seeds} seeds")
    if ways:
        return f"If the difference is real, {' or '.join(ways)} would show it; {found}."
    if over.seeds == 1:
        return f"More seeds would say how much of it is luck; {found}."
    return f"Neither more seeds nor more images alone would show a difference this small; {found}."


def _paragraph(results: Results, fraction: float) -> str:
    aside = [cell.setting for cell in results.at(fraction) if cell.not_learnt]
    cells = [cell for cell in results.at(fraction) if not cell.not_learnt]
    if not cells:
        return f"{listed(aside)}: not learnt, so there is nothing to compare."
    best = max(cells, key=lambda cell: cell.over.mean)
    interval, images = best.interval, best.images
    bounds = f"no interval: {best.no_interval}"
    if interval is not None:
        bounds = f"95% interval {100 * interval.low:.1f} to {100 * interval.high:.1f}"
    share = "" if results.fractions == [1.0] else f"With {100 * fraction:g}% of the labels ({_labelled(best)}), "
    seeds = counted(len(best.runs), "seed")
    text = (
        f"{share}{best.setting} has the highest {best.measure}, {best.over.mean:.1%} over {seeds} on "
        f"{counted(images, 'image')} "
        f"({bounds})."
    )
    own = [pair for pair in results.pairs if best in (pair.a, pair.b) and pair.a in cells and pair.b in cells]
    beaten = [_other(pair, best) for pair in own if pair.better is best]
    level = [pair for pair in own if pair.better is None]
    if beaten:
        text += f" It beats {listed([cell.setting for cell in beaten])}{_by(own, beaten, best)}."
    if level:
        text += f" It cannot be told apart from {listed([_other(pair, best).setting for pair in level])}."
        closest = min(level, key=lambda pair: abs(pair.over.mean))
        more = surer(closest.over, closest.needed)
        near = f"The closest is {_other(closest, best).setting}: {more[0].lower()}{more[1:]}"
        text += f" {near if len(level) > 1 else more}"
    if aside:
        text += f" Not learnt, and so not compared: {listed(aside)}."
    return text


def _worth(results: Results, fraction: float) -> str:
    """What learning without labels changed: the same network, as much of it trained, from it and from scratch."""
    starts = {setting.name: setting.start for setting in results.study.spec.all_settings}
    text = ""
    for pair in results.pairs:
        known = {starts[pair.a.setting], starts[pair.b.setting]} == {"scratch", "self-supervised"}
        if pair.a.fraction == fraction and not pair.not_learnt and known and _network(pair.a) == _network(pair.b):
            text += f" What self-supervised pretraining was worth: {_gap(pair)}"
    return text


def _network(cell: Cell) -> Spec:
    model: Spec = cell.first.recipe.model
    return model.model_copy(update={"weights": None})


def _by(pairs: Sequence[Pair], beaten: Sequence[Cell], best: Cell) -> str:
    """By how much, where one setting was beaten, or the smallest of several differences."""
    gaps = [(abs(pair.over.mean), pair) for pair in pairs if _other(pair, best) in beaten]
    size, pair = min(gaps, key=lambda gap: gap[0])
    near, far = sorted((abs(100 * pair.over.interval.low), abs(100 * pair.over.interval.high)))
    least = "at least " if len(beaten) > 1 else ""
    return f" by {least}{points(size)} (95% interval {near:.1f} to {far:.1f}, p {p_text(pair.p_holm)})"


def _other(pair: Pair, cell: Cell) -> Cell:
    return pair.b if pair.a is cell else pair.a


def _labelled(cell: Cell) -> str:
    return counted(cell.first.data["counts"]["train"], "image")


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")
