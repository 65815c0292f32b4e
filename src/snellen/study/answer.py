"""The answer of a study in words that its numbers support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from snellen.insight.power import FEWEST_SEEDS_TO_PLAN, Needed
from snellen.insight.seeds import OverSeeds
from snellen.insight.sentence import interval_alone, listed, p_text, points, rounded, signed
from snellen.reporting.comparisons import Trained, unlike
from snellen.reporting.runs import WHAT_TO_TRY
from snellen.study.results import Cell, Pair, Results
from snellen.words import counted

_LONGEST = 165  # characters of a headline: two lines of the page
_SHORT_NAME = 3  # characters of a name that says nothing by itself


@dataclass(frozen=True)
class Answer:
    """headline: at most two lines. details: sentences that give the numbers, and what would make them surer."""

    headline: str
    details: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of it as one paragraph."""
        return " ".join([self.headline, *self.details])


def answer(results: Results) -> list[Answer]:
    """For each share of the labels: which setting, by how much, how sure, what would make it surer."""
    return [_answer(results, fraction) for fraction in results.fractions]


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
    settled = pair.better is not None or pair.a.no_interval is not None
    return _gap(pair) if settled else f"{_gap(pair)} {surer(pair.over, pair.needed)}".rstrip()


def _gap(pair: Pair) -> str:
    a, b, over = pair.a.setting, pair.b.setting, pair.over
    if over.interval is None or pair.p_holm is None:
        return (
            f"{a} and {b}: a difference of {signed(over.mean)} points, without an interval or a verdict "
            f"({pair.a.no_interval})."
        )
    sure = f"(p {p_text(pair.p_holm)}, {_seeds([pair.a, pair.b])})"
    if pair.better is not None:
        other = b if pair.better is pair.a else a
        return (
            f"{pair.better.setting} beats {other} by {points(over.mean)}, 95% interval "
            f"{interval_alone(over.mean, over.interval)} {sure}."
        )
    return (
        f"{a} and {b} cannot be told apart: difference {signed(over.mean)} points, 95% interval "
        f"{signed(over.interval.low)} to {signed(over.interval.high)} {sure}."
    )


def _seeds(cells: Sequence[Cell]) -> str:
    numbers = sorted({len(cell.runs) for cell in cells})
    if numbers == [1]:
        return "one seed each"
    return f"{' or '.join(map(str, numbers))} seeds each"


def surer(over: OverSeeds, more: Needed) -> str:
    """What would show a difference as large as the one seen; nothing that so few seeds cannot say."""
    if 1 < over.seeds < FEWEST_SEEDS_TO_PLAN:
        return "2 seeds are too few to say how many images or seeds would show a difference."
    if more.smallest is not None and more.smallest >= 1:
        return "So few seeds and images could not have shown any difference; more seeds would say most."
    found = ""
    if more.smallest is not None:
        about = "" if over.seeds == 1 else "about "
        luck = ", the seed's luck left aside" if over.seeds == 1 else ""
        found = f"a true difference of {about}{points(more.smallest)} would have been found four times in five{luck}"
    end = f"; {found}." if found else "."
    ways = []
    if more.images is not None and more.images > over.images:
        ways.append(f"about {rounded(more.images)} images")
    if more.seeds is not None and more.seeds > over.seeds:
        ways.append(f"about {more.seeds} seeds")
    if over.mean == 0:
        return f"{found[0].upper()}{found[1:]}." if found else ""
    alone = "" if more.smallest is not None else ", for this pair by itself"
    if ways:
        return f"If the difference is real, {' or '.join(ways)} would show it{alone}{end}"
    if over.seeds == 1:
        return f"More seeds would say how much of it is luck{end}"
    return f"Neither more seeds nor more images alone would show a difference this small{alone}{end}"


def _answer(results: Results, fraction: float) -> Answer:
    aside = [cell.setting for cell in results.at(fraction) if cell.not_learnt]
    cells = [cell for cell in results.at(fraction) if not cell.not_learnt]
    if not cells:
        return Answer(f"{listed(aside)}: not learnt, so there is nothing to compare.")
    best = max(cells, key=lambda cell: cell.over.mean)
    own = [pair for pair in results.pairs if best in (pair.a, pair.b) and pair.a in cells and pair.b in cells]
    beaten = [_other(pair, best) for pair in own if pair.better is best]
    level = [pair for pair in own if pair.better is None]
    details = [_score(best)]
    if beaten:
        details.append(f"It beats {listed([cell.setting for cell in beaten])}{_by(own, beaten, best)}.")
    if best.judged.over_classes is not None:
        details.append(f"The mIoU is that over {best.judged.over_classes}: other classes are in too few images.")
    if level:
        closest = min(level, key=lambda pair: abs(pair.over.mean))
        rest = listed([_other(pair, best).setting for pair in level])
        if closest.a.no_interval:
            details.append(f"No verdict on {rest}: {closest.a.no_interval}.")
        else:
            more = surer(closest.over, closest.needed)
            near = f"The closest is {_other(closest, best).setting}: {more[:1].lower()}{more[1:]}"
            details.append(f"It cannot be told apart from {rest}. {near if len(level) > 1 and more else more}".strip())
    details += _besides(best, beaten)
    details += _worth(results, fraction)
    if aside:
        details.append(f"Not learnt, and so not compared: {listed(aside)}.")
    return Answer(_headline(results, best, cells, beaten, level), details)


def _headline(
    results: Results, best: Cell, cells: Sequence[Cell], beaten: Sequence[Cell], level: Sequence[Pair]
) -> str:
    """With the settings in words where there is room, else with less and less."""
    words = {setting.name: _in_words(setting.name, setting.description) for setting in results.study.spec.all_settings}
    plain = {name: name for name in words}
    only_best = plain | {best.setting: words[best.setting]}
    made = [
        _headline_with(results, best, cells, beaten, level, names, most)
        for names, most in ((words, 3), (only_best, 3), (only_best, 1), (plain, 1))
    ]
    return next((text for text in made if len(text) <= _LONGEST), made[-1])


def _headline_with(
    results: Results,
    best: Cell,
    cells: Sequence[Cell],
    beaten: Sequence[Cell],
    level: Sequence[Pair],
    names: dict[str, str],
    most: int,
) -> str:
    share = "" if results.fractions == [1.0] else f"With {100 * best.fraction:g}% of the labels, "
    name, seeds = names[best.setting], _seeds(cells)
    figure, highest = f"{best.measure} {best.over.mean:.1%}", f"{best.measure}, {best.over.mean:.1%}"
    losers = _named([cell.setting for cell in beaten], len(cells) - 1, names, most)
    if len(cells) == 1:
        return f"{share}{name}: {figure} ({seeds.removesuffix(' each')}, {counted(best.images, 'image')})."
    if not level:
        return f"{share}{name} beats {losers}: {figure} ({seeds})."
    if level[0].a.no_interval:
        return f"{share}{name} has the highest {highest}, without a verdict: {level[0].a.no_interval} ({seeds})."
    others = _named([_other(pair, best).setting for pair in level], len(cells) - 1, names, most)
    if beaten:
        return f"{share}{name} has the highest {highest} ({seeds}): it beats {losers} and cannot be told from {others}."
    return f"{share}{name} has the highest {highest} ({seeds}), but cannot be told apart from {others}."


def _in_words(name: str, description: str) -> str:
    return f"{name} ({description})" if description and len(name) <= _SHORT_NAME else name


def _named(settings: Sequence[str], all_others: int, names: dict[str, str], most: int) -> str:
    """Some settings by name, or how many of the others they are."""
    if len(settings) <= most:
        return listed([names[setting] for setting in settings]) if settings else ""
    if len(settings) == all_others:
        return f"the {all_others} others"
    return f"{len(settings)} of the {all_others} others"


def _score(best: Cell) -> str:
    interval, over = best.interval, best.over
    sure = f"no interval: {best.no_interval}"
    if interval is not None:
        sure = f"95% interval {100 * interval.low:.1f} to {100 * interval.high:.1f}"
    seeds = counted(len(best.runs), "seed")
    return (
        f"{best.setting} has {best.measure} {over.mean:.1%} over {seeds} on {counted(best.images, 'image')}, with "
        f"{counted(best.first.data['counts']['train'], 'labelled image')} to train on ({sure})."
    )


def _besides(best: Cell, beaten: Sequence[Cell]) -> list[str]:
    """What else sets the best apart from those of its kind that it beats."""
    said = [
        f"{best.setting} and {other.setting} are unlike in more than their recipes: {'; '.join(differs)}."
        for other in beaten
        if other.kind == best.kind and (differs := unlike(_trained(best), _trained(other)))
    ]
    return said[:1]


def _trained(cell: Cell) -> Trained:
    return Trained(cell.setting, cell.first, cell.recipe)


def _worth(results: Results, fraction: float) -> list[str]:
    """What learning without labels changed: the same network, as much of it trained, from it and from scratch."""
    starts = {setting.name: setting.start for setting in results.study.spec.all_settings}
    return [
        f"What self-supervised pretraining was worth: {_gap(pair)}"
        for pair in results.pairs
        if pair.a.fraction == fraction
        and not pair.not_learnt
        and {starts[pair.a.setting], starts[pair.b.setting]} == {"scratch", "self-supervised"}
        and _network(pair.a) == _network(pair.b)
    ]


def _network(cell: Cell) -> dict[str, Any]:
    return cell.recipe.model.model_dump(exclude={"weights"})


def _by(pairs: Sequence[Pair], beaten: Sequence[Cell], best: Cell) -> str:
    """By how much, where one setting was beaten, or the smallest of several differences."""
    gaps = [(abs(pair.over.mean), pair) for pair in pairs if _other(pair, best) in beaten]
    size, pair = min(gaps, key=lambda gap: gap[0])
    assert pair.over.interval is not None
    assert pair.p_holm is not None
    least = "at least " if len(beaten) > 1 else ""
    alone = interval_alone(pair.over.mean, pair.over.interval)
    return f" by {least}{points(size)} (95% interval {alone}, p {p_text(pair.p_holm)})"


def _other(pair: Pair, cell: Cell) -> Cell:
    return pair.b if pair.a is cell else pair.a
