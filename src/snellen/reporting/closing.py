"""The last lines of a training: the figure that its page shows large, and the commands that come next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snellen.words import counted

if TYPE_CHECKING:
    from snellen.reporting.runs import RunView
    from snellen.run.directory import Run


def closing_lines(run: Run) -> list[str]:
    """The run's figure with its 95% interval, computed as on its page; warnings where it has diverged or not learnt."""
    view = _view(run)
    headline = view.headline_figure
    if headline is None:
        return []
    name, value, interval = headline
    bounds = (
        "; ".join(text for text in (f"no interval: {view.why_no_interval}", view.over_the_others) if text)
        if interval is None
        else f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
    )
    which = "best" if run.recipe.evaluation.choose == "best" else "last"
    images = f" on {counted(len(view.samples), 'test image')}" if view.part == "test" else ""
    crossfitted = view.epoch_choice is not None and view.epoch_choice.is_crossfitted
    epoch = f"{which} epoch {run.status['chosen_epoch']}{', cross-fitted' * crossfitted}"
    lines = [f"{epoch}: {name} {value:.1%}{images} ({bounds})"]
    if crossfitted:
        lines.append(f"its own score on the images that chose it: {view.kept_score:.1%}")
    return [*lines, *(f"warning: {text}" for text in (view.diverged, view.not_learnt) if text is not None)]


def next_commands(run: Run) -> list[str]:
    """What can be done with a finished run, as typed."""
    if run.recipe.task == "pretraining":
        backbone = run.recipe.model.backbone
        return [f"to train on it: snellen train RECIPE DATA model.weights={run.path} model.backbone={backbone}"]
    return [
        f"to predict: snellen predict {run.path} IMAGES",
        f"to score other labelled images: snellen evaluate {run.path} DATA",
    ]


def _view(run: Run) -> RunView:
    if run.recipe.task == "segmentation":
        from snellen.tasks.segmentation.report.collect import MaskRun

        return MaskRun(run.recipe.name, run, 0)
    from snellen.tasks.classification.report.collect import RunFigures

    return RunFigures(run.recipe.name, run, 0)
