"""The answer of a study, in words that its numbers support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from snellen.insight.power import FEWEST_SEEDS_TO_PLAN, Needed
from snellen.insight.proportions import percents
from snellen.insight.seeds import OverSeeds
from snellen.insight.sentence import interval_alone, listed, p_text, points, rounded, signed, signed_range
from snellen.reporting.comparisons import unlike
from snellen.reporting.runs import WHAT_TO_TRY, RunView
from snellen.study.results import Cell, Pair, Results
from snellen.words import counted

_LONGEST = 165  # characters of a headline: two lines of the page
_SHORT_NAME = 3  # characters of a name that explains nothing by itself


@dataclass(frozen=True)
class Answer:
    """headline: at most two lines. details: sentences that give the numbers, and what would make them more certain."""

    headline: str
    details: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of it as one paragraph."""
        return " ".join([self.headline, *self.details])


def answer(results: Results) -> list[Answer]:
    """For each share of the labels: which setting is best, by how much, how certain, and what would settle it."""
    return [_answer(results, fraction) for fraction in results.fractions]


def not_learnt(results: Results) -> list[str]:
    """A warning for each setting with runs that are no better than a constant answer."""
    return [
        f"{cell.setting}{_part(results, cell)} has not learnt in {len(cell.judged.not_learnt)} of "
        f"{counted(len(cell.runs), 'run')}: "
        f"{cell.judged.not_learnt[0]}. {WHAT_TO_TRY}"
        for cell in results.cells
        if cell.judged.not_learnt
    ]


def _part(results: Results, cell: Cell) -> str:
    return "" if results.fractions == [1.0] else f", with {100 * cell.fraction:g}% of the labels,"


def verdict(pair: Pair) -> str:
    """One or two sentences on a pair: which is better and by how much, or what would settle it."""
    if pair.not_learnt:
        return f"{pair.a.setting} and {pair.b.setting} are not compared: {listed(pair.not_learnt)} " + (
            "has not learnt." if len(pair.not_learnt) == 1 else "have not learnt."
        )
    settled = pair.better is not None or pair.a.no_interval is not None
    return _gap(pair) if settled else f"{_gap(pair)} {outlook(pair.over, pair.needed)}".rstrip()


def _gap(pair: Pair) -> str:
    a, b, over = pair.a.setting, pair.b.setting, pair.over
    if over.interval is None or pair.p_holm is None:
        return (
            f"{a} and {b}: a difference of {signed(over.mean)} points, without an interval or a verdict "
            f"({pair.a.no_interval})."
        )
    evidence = f"(p {p_text(pair.p_holm)}, {_seeds([pair.a, pair.b])})"
    if pair.better is not None:
        other = b if pair.better is pair.a else a
        return (
            f"{pair.better.setting} beats {other} by {points(over.mean)}, 95% interval "
            f"{interval_alone(over.mean, over.interval)} {evidence}."
        )
    return (
        f"{a} and {b} cannot be told apart: difference {signed(over.mean)} points, 95% interval "
        f"{signed_range(over.interval)} {evidence}."
    )


def _seeds(cells: Sequence[Cell]) -> str:
    numbers = sorted({len(cell.runs) for cell in cells})
    if numbers == [1]:
        return "one seed each"
    return f"{' or '.join(map(str, numbers))} seeds each"


def outlook(over: OverSeeds, needed: Needed) -> str:
    """What would show a difference as large as the observed one, as far as this number of seeds can tell."""
    if 1 < over.seeds < FEWEST_SEEDS_TO_PLAN:
        return "2 seeds are too few to estimate how many images or seeds would show a difference."
    if needed.smallest is not None and needed.smallest >= 1:
        return "So few seeds and images could not have shown any difference; more seeds would help most."
    detectable = ""
    if needed.smallest is not None:
        about = "" if over.seeds == 1 else "about "
        condition = ", leaving aside variation between seeds" if over.seeds == 1 else ""
        detectable = (
            f"a true difference of {about}{points(needed.smallest)} would have been detected with 80% power{condition}"
        )
    end = f"; {detectable}." if detectable else "."
    ways = []
    if needed.images is not None and needed.images > over.images:
        ways.append(f"about {rounded(needed.images)} images")
    if needed.seeds is not None and needed.seeds > over.seeds:
        ways.append(f"about {needed.seeds} seeds")
    if over.mean == 0:
        return f"{detectable[0].upper()}{detectable[1:]}." if detectable else ""
    alone = "" if needed.smallest is not None else ", for this pair by itself"
    if ways:
        return f"If the difference is real, {' or '.join(ways)} would show it{alone}{end}"
    if over.seeds == 1:
        return f"More seeds would show how much of it is chance{end}"
    return f"Neither more seeds nor more images alone would show a difference this small{alone}{end}"


def _answer(results: Results, fraction: float) -> Answer:
    not_learnt_settings = [cell.setting for cell in results.at(fraction) if cell.judged.not_learnt]
    cells = [cell for cell in results.at(fraction) if not cell.judged.not_learnt]
    if not cells:
        return Answer(f"{listed(not_learnt_settings)}: not learnt, so there is nothing to compare.")
    best = max(cells, key=lambda cell: cell.over.mean)
    pairs_of_best = [pair for pair in results.pairs if best in (pair.a, pair.b) and pair.a in cells and pair.b in cells]
    beaten = [_other(pair, best) for pair in pairs_of_best if pair.better is best]
    level = [pair for pair in pairs_of_best if pair.better is None]
    details = [_score(best)]
    if beaten:
        details.append(f"It beats {listed([cell.setting for cell in beaten])}{_margin(pairs_of_best, beaten, best)}.")
    if best.judged.over_classes is not None:
        details.append(f"The mIoU is over {best.judged.over_classes}: other classes are in too few images.")
    if level:
        closest = min(level, key=lambda pair: abs(pair.over.mean))
        rest = listed([_other(pair, best).setting for pair in level])
        if closest.a.no_interval:
            details.append(f"No verdict on {rest}: {closest.a.no_interval}.")
        else:
            advice = outlook(closest.over, closest.needed)
            near = f"The closest is {_other(closest, best).setting}: {advice[:1].lower()}{advice[1:]}"
            details.append(
                f"It cannot be told apart from {rest}. {near if len(level) > 1 and advice else advice}".strip()
            )
    details += _besides(best, beaten)
    details += _worth(results, fraction)
    if not_learnt_settings:
        details.append(f"Not learnt, and so not compared: {listed(not_learnt_settings)}.")
    return Answer(_headline(results, best, cells, beaten, level), details)


def _headline(
    results: Results, best: Cell, cells: Sequence[Cell], beaten: Sequence[Cell], level: Sequence[Pair]
) -> str:
    """With the settings described in words if there is room, otherwise in ever shorter forms."""
    words = {setting.name: _in_words(setting.name, setting.description) for setting in results.study.spec.all_settings}
    plain = {name: name for name in words}
    only_best = plain | {best.setting: words[best.setting]}
    share = "" if results.fractions == [1.0] else f"With {100 * best.fraction:g}% of the labels, "
    seeds, others = _seeds(cells), len(cells) - 1
    figure, highest = f"{best.measure} {best.over.mean:.1%}", f"{best.measure}, {best.over.mean:.1%}"

    def text(names: dict[str, str], most: int) -> str:
        name = names[best.setting]
        losers = _named([cell.setting for cell in beaten], others, names, most)
        if len(cells) == 1:
            images = counted(best.judged.images, "image")
            return f"{share}{name}: {figure} ({seeds.removesuffix(' each')}, {images})."
        if not level:
            return f"{share}{name} beats {losers}: {figure} ({seeds})."
        if level[0].a.no_interval:
            return f"{share}{name} has the highest {highest}, without a verdict: {level[0].a.no_interval} ({seeds})."
        rivals = _named([_other(pair, best).setting for pair in level], others, names, most)
        if beaten:
            mixed = f"it beats {losers} and cannot be told apart from {rivals}"
            return f"{share}{name} has the highest {highest} ({seeds}): {mixed}."
        return f"{share}{name} has the highest {highest} ({seeds}), but cannot be told apart from {rivals}."

    texts = [text(names, most) for names, most in ((words, 3), (only_best, 3), (only_best, 1), (plain, 1))]
    return next((text for text in texts if len(text) <= _LONGEST), texts[-1])


def _in_words(name: str, description: str) -> str:
    return f"{name} ({description})" if description and len(name) <= _SHORT_NAME else name


def _named(settings: Sequence[str], all_others: int, names: dict[str, str], most: int) -> str:
    """Settings by name, or their number among the others."""
    if len(settings) <= most:
        return listed([names[setting] for setting in settings]) if settings else ""
    if len(settings) == all_others:
        return f"the {all_others} others"
    return f"{len(settings)} of the {all_others} others"


def _score(best: Cell) -> str:
    interval, over = best.interval, best.over
    interval_text = f"no interval: {best.no_interval}"
    if interval is not None:
        interval_text = f"95% interval {percents(interval)}"
    seeds = counted(len(best.runs), "seed")
    return (
        f"{best.setting} has {best.measure} {over.mean:.1%} over {seeds} on "
        f"{counted(best.judged.images, 'image')}, with "
        f"{counted(best.labelled_images, 'labelled image')} to train on ({interval_text})."
    )


def _besides(best: Cell, beaten: Sequence[Cell]) -> list[str]:
    """How else the best setting differs from those of its kind that it beats."""
    sentences = [
        f"{best.setting} and {other.setting} differ in more than their recipes: {'; '.join(differences)}."
        for other in beaten
        if other.kind == best.kind and (differences := unlike(_view(best), _view(other)))
    ]
    return sentences[:1]


def _view(cell: Cell) -> RunView:
    return cell.first.kind.report.view(cell.setting, cell.first, 0)


def _worth(results: Results, fraction: float) -> list[str]:
    """The effect of self-supervised pretraining: the same network, the same part trained, with and without it."""
    starts = {setting.name: setting.start for setting in results.study.spec.all_settings}
    return [
        f"Effect of self-supervised pretraining: {_gap(pair)}"
        for pair in results.pairs
        if pair.a.fraction == fraction
        and not pair.not_learnt
        and {starts[pair.a.setting], starts[pair.b.setting]} == {"scratch", "self-supervised"}
        and pair.a.recipe.network() == pair.b.recipe.network()
    ]


def _margin(pairs: Sequence[Pair], beaten: Sequence[Cell], best: Cell) -> str:
    """By how much one setting was beaten, or the smallest of several differences."""
    gaps = [(abs(pair.over.mean), pair) for pair in pairs if _other(pair, best) in beaten]
    size, pair = min(gaps, key=lambda gap: gap[0])
    assert pair.over.interval is not None
    assert pair.p_holm is not None
    least = "at least " if len(beaten) > 1 else ""
    interval = interval_alone(pair.over.mean, pair.over.interval)
    return f" by {least}{points(size)} (95% interval {interval}, p {p_text(pair.p_holm)})"


def _other(pair: Pair, cell: Cell) -> Cell:
    return pair.b if pair.a is cell else pair.a
