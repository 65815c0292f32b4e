"""A study from its plan to its report; every run is trained only once."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from snellen.commands import cluster
from snellen.commands.study_runs import (
    Context,
    Executor,
    LocalProcesses,
    list_images,
    one_by_one,
    run_pretraining,
    side_by_side,
)
from snellen.data.given import check_path
from snellen.data.spread import spread
from snellen.engine.few_steps import few_steps_notes
from snellen.engine.mode import Mode
from snellen.engine.processes import size_given
from snellen.engine.recipe import seconds
from snellen.engine.relevance import network_key, step_key
from snellen.errors import UserError
from snellen.files import as_path
from snellen.models.weights import PUBLISHED
from snellen.recipe.load import dotted
from snellen.run.claim import locked
from snellen.studies import Study
from snellen.study.directory import is_study, state_of, write_study
from snellen.study.plan import Plan, PlannedData, PlannedPretraining, PlannedRun, make_plan
from snellen.study.spec import StudySpec, load_study
from snellen.study.timing import Speed, time_steps
from snellen.tasks.kinds import AnyKind, kind_of, recipe_types
from snellen.tasks.setup import absolute, say_notes
from snellen.tracking.tracked import check_trackers
from snellen.words import counted, duration

_LISTED = 600  # images that a pretraining is timed on


def compare(
    study: str | Path | Mapping[str, Any],
    data: str | Path,
    /,
    *,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    jobs: int | None = None,
    ray: str | None = None,
    console: Console | None = None,
    quiet: bool = False,
    **fields: Any,
) -> Study | None:
    """Runs a study on labelled images, writes its report and returns it.

    Each run is trained once: calling this again resumes a study that was interrupted, and calling it with more seeds
    or settings extends it.

    Parameters:
        study: the name of a built-in study, a YAML file, or a dictionary of fields.
        data: as in `train`, but not a DataFrame.
        out: the folder of the study. None: studies/<name>.
        overrides: fields of the study by dotted key, {"changes.epochs": 5}. `fields` take precedence.
        dry_run: only print the plan with its estimated time; None is returned.
        jobs: number of runs at a time, each in its own process. None: as many as there are GPUs for, at least one; with
            `ray`, as many as there is room for.
        ray: the address of a Ray cluster whose machines train the runs, "auto" for the one that this machine belongs
            to, or "local" to start one on this machine. See docs/many-devices.md.
        console: the rich console that progress is printed on. None: standard error.
        quiet: print nothing (no effect if `console` is given).
        fields: fields of the study, seeds=[0, 1] or changes={"epochs": 5}.

    Returns the study; its `finished` is False if Ctrl-C stopped it or a run failed.
    Raises UserError for a study, recipes, weights or images that cannot work.

    >>> recipes = ["airnet-scratch", "mine.yaml"]
    >>> study = snellen.compare("recipes", "digits", recipes=recipes, seeds=1, out="studies/digits")
    >>> study
    Study('studies/digits'): recipes, 2 of 2 runs finished
    >>> list(study.table()["setting"])  # a DataFrame with one row per setting and share of the labels
    ['airnet-scratch', 'mine']
    """
    console = console or Console(stderr=True, quiet=quiet)
    data = check_path(data)
    if jobs is not None and (not isinstance(jobs, int) or jobs < 1):
        raise UserError(f"jobs={jobs}: expected a whole number of at least 1.")
    if size_given() > 1:
        raise UserError(
            f"compare was started in {size_given()} processes (by torchrun or srun), and each would run the study. "
            "Start it once. To train each run by several processes: changes.hardware.devices=N. To use several "
            "machines: --ray ADDRESS."
        )
    if ray is not None:
        cluster.check_address(ray)
    spec = load_study(study, dotted(overrides, fields, [*recipe_types(), StudySpec]))
    folder = as_path(out, "out") if out is not None else Path("studies") / spec.name
    # Reports wrong recipes before any image is read.
    outline = make_plan(spec, PlannedData(absolute(data), "", 0), folder)
    first_recipe = outline.runs[0].recipe
    check_trackers(_trackers_of(outline))
    kind = kind_of(first_recipe)
    images = kind.data.read(data, first_recipe)
    plan = make_plan(spec, PlannedData(absolute(data), images.fingerprint, len(images.train)), folder)
    _check_data_specs(plan)
    _check_weights(plan, images, download=not dry_run)
    modes = dict(Study(folder).facts.modes) if is_study(folder) else {}
    speeds = _measure_speeds(plan, images, modes, console)
    context = Context(kind, images, data, speeds, console)
    console.print(_plan_table(plan, context, _pretraining_seconds(plan.pretraining, images, kind, console)))
    # With a budget the number of steps is not known yet.
    unbudgeted = [run for run in plan.runs if not run.recipe.budget]
    sizes = [(run.setting, run.recipe, round(run.fraction * len(images.train))) for run in unbudgeted]
    say_notes(console, few_steps_notes(sizes, deliberate=spec.fewest_steps > 0))
    if dry_run:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder), _executor(ray, jobs, folder, plan, context) as executor:
        write_study(folder, spec, plan, absolute(data), images.fingerprint, modes)
        result = Study(folder)
        if not run_pretraining(plan.pretraining, images, kind, console):
            return _interrupted(result, console)
        if not (one_by_one(plan, context) if executor is None else side_by_side(plan, context, executor)):
            return _interrupted(result, console)
        failed = [run for run in result.runs if run.state != "finished"]
        for run in failed:
            console.print(
                f"[yellow]note:[/] {escape(str(run.path))} has {run.state}; the report leaves it out", highlight=False
            )
        console.print(f"report: {result.report()}", markup=False, highlight=False, soft_wrap=True)
    return result


def _trackers_of(plan: Plan) -> list[str]:
    recipes = [run.recipe for run in plan.runs] + ([] if plan.pretraining is None else [plan.pretraining.recipe])
    return sorted({name for recipe in recipes for name in recipe.trackers})


def _executor(
    ray: str | None, jobs: int | None, folder: Path, plan: Plan, context: Context
) -> AbstractContextManager[Executor | None]:
    """Where runs are trained side by side; None: one after the other, in this process."""
    if ray is not None:
        return cluster.connected(ray, jobs or len(plan.runs), folder, plan, context)
    devices = max(run.recipe.hardware.devices for run in plan.runs)
    jobs = jobs or max(1, torch.cuda.device_count() // devices)
    return nullcontext(None if jobs == 1 else LocalProcesses(context, jobs))


def _check_data_specs(plan: Plan) -> None:
    """All settings must be scored on the same images, or they could not be paired."""
    first = _data_of(plan.runs[0])
    for run in plan.runs:
        if _data_of(run) != first:
            raise UserError(
                f"setting '{run.setting}': its `data` fields are not those of '{plan.runs[0].setting}', so the two "
                "would not be scored on the same images. Set data.… for the whole study: changes.data.…"
            )


def _data_of(run: PlannedRun) -> dict[str, Any]:
    """The fields that say how the images of a run are found, except the share used for training."""
    fields: dict[str, Any] = run.recipe.model_dump()["data"]
    return fields | {"fraction": 1.0}


def _check_weights(plan: Plan, images: Any, download: bool) -> None:
    """Raises UserError before the first run if a network cannot be built or its weights do not fit.

    download: whether to download published weights for this; otherwise the network is built without them.
    """
    checked = set()
    for run in plan.runs:
        fields = run.recipe.model_dump(mode="json")
        weights = fields["model"]["weights"]
        from_pretraining = plan.pretraining is not None and weights == str(plan.pretraining.path)
        key = json.dumps([fields["model"], fields["augmentation"]["size"]])
        if not from_pretraining and key not in checked:
            checked.add(key)
            is_built_without = weights in PUBLISHED and not download
            recipe = run.recipe.with_part("model", weights=None) if is_built_without else run.recipe
            try:
                kind_of(recipe).study.build_network(recipe, images)
            except UserError as error:
                hint = " In a study, name the file by supervised=FILE." if weights == "imagenet" else ""
                raise UserError(f"setting '{run.setting}': {error}{hint}") from error
    if plan.pretraining is not None:
        _check_backbones(plan, plan.pretraining)


def _check_backbones(plan: Plan, pretraining: PlannedPretraining) -> None:
    """Raises UserError if a setting cannot start from the backbone of the pretraining."""
    pretrained = pretraining.recipe.model.model_dump()
    for run in plan.runs:
        model = run.recipe.model.model_dump()
        if "backbone" not in model or model["weights"] != str(pretraining.path):
            continue  # an encoder has no backbone field; its weights are checked when they exist
        if (model["backbone"], model["width"]) != (pretrained["backbone"], pretrained["width"]):
            raise UserError(
                f"setting '{run.setting}': its backbone is {model['backbone']} of width {model['width']:g}, the "
                f"pretraining's {pretrained['backbone']} of width {pretrained['width']:g}. Give both the same: "
                f"pretraining.changes.model.backbone={model['backbone']}"
            )


def _pretraining_seconds(
    planned: PlannedPretraining | None, images: Any, kind: AnyKind, console: Console
) -> float | None:
    """Expected seconds of the pretraining; None if there is none to do. images, kind: of the study."""
    if planned is None or state_of(planned.path) == "finished":
        return None
    recipe = planned.recipe
    if recipe.budget:
        return seconds(recipe.budget)
    data = kind_of(recipe).data
    if planned.source is not None:
        unlabelled = data.read(planned.source, recipe)
        return time_steps(recipe, unlabelled, console).seconds(recipe, len(unlabelled.training_files), 0)
    paths = tuple(images.training_files)
    few = spread(paths, max(_LISTED, 2 * recipe.batch_size))  # all of them would be read, for their fingerprint
    with tempfile.TemporaryDirectory() as folder:
        unlabelled = data.read(list_images(few, Path(folder) / "images.txt"), recipe)
        return time_steps(recipe, unlabelled, console).seconds(recipe, len(paths), 0)


def _measure_speeds(plan: Plan, images: Any, modes: dict[str, Mode], console: Console) -> dict[str, Speed]:
    """The speed of each kind of step in unfinished runs.

    modes: of each network, kept by all later runs of the study; those that are measured here are added.
    """
    speeds: dict[str, Speed] = {}
    for run in plan.runs:
        step, network = step_key(run.recipe), network_key(run.recipe)
        if step not in speeds and state_of(run.path) != "finished":
            speeds[step] = time_steps(run.recipe, images, console, modes.get(network))
            modes[network] = speeds[step].mode
    return speeds


def _plan_table(plan: Plan, context: Context, pretraining: float | None) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("setting", "labels", "seeds", "epochs", "about", "state"):
        table.add_column(column, justify="left" if column in {"setting", "state"} else "right")
    if plan.pretraining is not None:
        recipe = plan.pretraining.recipe
        time = "" if pretraining is None else duration(pretraining)
        state = "to do" if state_of(plan.pretraining.path) == "not started" else state_of(plan.pretraining.path)
        table.add_row(
            f"pretraining ({escape(recipe.name)})", "none", "1", recipe.budget or str(recipe.epochs), time, state
        )
    total = pretraining or 0.0
    for setting, fraction in dict.fromkeys((run.setting, run.fraction) for run in plan.runs):
        runs = [run for run in plan.runs if (run.setting, run.fraction) == (setting, fraction)]
        states = [state_of(run.path) for run in runs]
        unfinished = sum(state != "finished" for state in states)
        run_seconds = context.seconds(runs[0]) if unfinished else 0.0
        total += run_seconds * unfinished
        time = f"{unfinished} x {duration(run_seconds)}" if unfinished else ""
        finished = len(runs) - unfinished
        state = "finished" if not unfinished else f"{finished} finished" if finished else "to do"
        epochs = runs[0].recipe.budget or str(runs[0].recipe.epochs)
        table.add_row(escape(setting), f"{fraction:.3g}", str(len(runs)), epochs, time, state)
    table.add_row(f"[bold]{counted(len(plan.runs), 'run')}[/]", "", "", "", f"[bold]{duration(total)} left[/]", "")
    return table


def _interrupted(study: Study, console: Console) -> Study:
    count = sum(run.state == "finished" for run in study.runs)
    console.print(
        f"stopped after {count} of {counted(len(study.runs), 'run')}; run the same command again to resume",
        highlight=False,
    )
    return study
