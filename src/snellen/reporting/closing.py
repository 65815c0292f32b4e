"""The last lines that training prints: the headline figure of its page, with its interval."""

from __future__ import annotations

from snellen.insight.proportions import percents
from snellen.reporting.runs import RunView
from snellen.words import counted


def closing_lines(view: RunView) -> list[str]:
    """The run's figure with its 95% interval, computed as on its page; warnings if it has diverged or not learnt."""
    headline = view.headline_figure
    if headline is None:
        return []
    name, value, interval = headline
    bounds = (
        "; ".join(text for text in (f"no interval: {view.why_no_interval}", view.over_the_others) if text)
        if interval is None
        else percents(interval)
    )
    which = "best" if view.recipe.evaluation.choose == "best" else "last"
    images = f" on {counted(len(view.samples), 'test image')}" if view.part == "test" else ""
    crossfitted = view.epoch_choice is not None and view.epoch_choice.is_crossfitted
    epoch = f"{which} epoch {view.status.chosen_epoch}{', cross-fitted' * crossfitted}"
    lines = [f"{epoch}: {name} {value:.1%}{images} ({bounds})"]
    if crossfitted:
        lines.append(f"its score on the images used to choose it: {view.kept_score:.1%}")
    lines += view.leaks
    return [*lines, *(f"warning: {text}" for text in (view.diverged, view.not_learnt) if text is not None)]
