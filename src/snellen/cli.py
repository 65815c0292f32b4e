"""The command line: each command is a thin layer over the Python function of the same name."""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version as installed_version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snellen.commands.arguments import Commands, FieldsCommand, only, recipe_and_data, split, study_and_data
from snellen.errors import UserError

if TYPE_CHECKING:
    from rich.console import RenderableType

app = typer.Typer(
    name="snellen",
    cls=Commands,
    help="The eye chart for vision models: trains models, compares them and writes the report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
recipes_app = typer.Typer(cls=Commands, help="List the shipped recipes, or show one.", invoke_without_command=True)
cache_app = typer.Typer(cls=Commands, help="List what is kept outside runs, or clear it.", invoke_without_command=True)
bench_app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)
app.add_typer(recipes_app, name="recipes")
app.add_typer(cache_app, name="cache")
app.add_typer(bench_app, name="bench")

_INTERRUPTED = 130

ForceOption = Annotated[bool, typer.Option("--force", help="Replace existing files.")]
NewRunOption = Annotated[Path | None, typer.Option(help="New folder for the run; default runs/RECIPE-TIME.")]
ResumeOption = Annotated[
    Path | None, typer.Option(metavar="RUN", help="Resume a stopped run; the result is bit-identical.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
RunOrFileArgument = Annotated[
    Path, typer.Argument(metavar="RUN|FILE.onnx", help="A run directory, or a file from export.", show_default=False)
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)]


def main() -> None:
    """Runs the command line; a user's mistake is reported without a traceback, with exit code 2."""
    _silence_readers()
    signal.signal(signal.SIGTERM, _stop)
    try:
        app(prog_name="snellen")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe, such as head, has closed it
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)


def _stop(number: int, frame: FrameType | None) -> None:
    """SIGTERM does what Ctrl-C does."""
    raise KeyboardInterrupt


def _silence_readers() -> None:
    """Hides warnings of image libraries ("Corrupt EXIF data"): they name no file and need no action.

    A file that cannot be read is reported by snellen itself, with its name.
    """
    for pattern in (r"PIL\.", r"rasterio(\.|$)"):
        warnings.filterwarnings("ignore", module=pattern)
    warnings.filterwarnings(
        "ignore", message="Dataset has no geotransform"
    )  # also when attributed to the caller's module


def _version(is_requested: bool) -> None:
    if is_requested:
        print(f"snellen {installed_version('snellen')}")
        raise typer.Exit


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    pass


@app.command("help", hidden=True)
def help_(context: typer.Context, command: Annotated[str | None, typer.Argument()] = None) -> None:
    """The same as --help."""
    root = context.find_root()
    if command is None:
        print(root.get_help())
    else:
        root.command.main([command, "--help"], prog_name="snellen")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for images, runs and reports.")] = Path("snellen-demo"),
) -> None:
    """Run three miniature studies on bundled images, each with its report."""
    from snellen.commands.demo import demo as run_demo

    for page in run_demo(out):
        print(page)


@app.command(cls=FieldsCommand)
def check(
    arguments: Annotated[list[str], typer.Argument(metavar="DATA [key=value …]", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Folder for overlays, if the images have masks.")] = None,
    overlays: Annotated[int, typer.Option(min=1, help="Number of overlays.")] = 12,
    report: Annotated[
        Path | None, typer.Option(help="HTML file for a page with the copies side by side, and its numbers.")
    ] = None,
    split_file: Annotated[
        Path | None,
        typer.Option(
            "--split", help="New CSV file for a split that no copies straddle; `snellen train FILE` takes it."
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|BACKBONE",
            help="Check the labels too, by features of a run or of a backbone; model.weights=FILE: its weights.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="New CSV file of all labels, the most suspect first; correct it, and `snellen train FILE` takes it."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print all numbers and pairs as JSON.")] = False,
) -> None:
    """Check DATA: classes, counts, sizes, unreadable files, copies, leaks between training and validation, labels.

    For images with masks also the share of pixels per class, values of no class, and files without a partner. The exit
    code is 1 if an image of one part is a copy of an image of another part; suspect labels do not change it.
    """
    from snellen.commands.check import check as run_check

    words, overrides = split(arguments)
    checked = run_check(
        only(words, "DATA"),
        out=out,
        overlays=overlays,
        report=report,
        split=split_file,
        features=features,
        labels=labels,
        overrides=overrides,
    )
    _print(checked.as_dict(), checked.render, json)
    if checked.copies.leaks:
        sys.exit(1)


@app.command(cls=FieldsCommand)
def train(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE] DATA [key=value …]",
            show_default=False,
            help="RECIPE: a name from `snellen recipes` or a YAML file; without it, snellen picks one and says why. "
            "DATA: a folder of images in class folders or of images with masks, a CSV or Parquet table, shards in a "
            "folder, at https:// or s3://, or torchvision:NAME. key=value: any field of the recipe, such as epochs=20, "
            "budget=20m or optimizer.lr=0.01.",
        ),
    ] = None,
    out: NewRunOption = None,
    resume: ResumeOption = None,
) -> None:
    """Train a classifier, or a segmenter on images with masks, and write its report. Ctrl-C saves and stops."""
    _train("train", arguments or [], out, resume)


@app.command(cls=FieldsCommand)
def pretrain(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE] DATA [key=value …]",
            show_default=False,
            help="RECIPE: a name from `snellen recipes` or a YAML file; without it, snellen picks one. DATA: a folder "
            "of images at any depth, shards, or torchvision:NAME; no labels are needed. key=value: any field of the "
            "recipe, such as budget=1h, model.backbone=resnet18 or evaluation.data=labelled/.",
        ),
    ] = None,
    out: NewRunOption = None,
    resume: ResumeOption = None,
) -> None:
    """Learn a backbone from images without labels; use it with `snellen train … model.weights=RUN`."""
    _train("pretrain", arguments or [], out, resume)


@app.command(cls=FieldsCommand)
def compare(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY DATA [key=value …]",
            show_default=False,
            help="STUDY: transfer-a-to-e, transfer-lite, transfer-masks, label-efficiency, recipes, or a YAML file. "
            "DATA: labelled images, or images with masks, in any layout that train takes. key=value: any field of the "
            "study, such as seeds=0,1, fractions=0.1,1, self_supervised=RUN, supervised=FILE, only=A,C, recipes=a,b, "
            "or changes.epochs=5 for all recipes.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the study; default studies/STUDY.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its estimated time, and stop.")
    ] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Number of parallel runs; default one per GPU.")] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Train the runs on the machines of a Ray cluster: HOST:PORT, auto for the one that this machine "
            "belongs to, or local to start one here.",
        ),
    ] = None,
) -> None:
    """Run a study of settings, label shares and seeds, and write its report. The same command resumes it."""
    words, overrides = split(arguments)
    study, data = study_and_data(words)
    from snellen.commands.compare import compare as run_compare

    done = run_compare(study, data, out=out, overrides=overrides, dry_run=dry_run, jobs=jobs, ray=ray)
    if done is not None and not done.finished:
        sys.exit(_INTERRUPTED if any(run.state in {"interrupted", "not started"} for run in done.runs) else 1)


@app.command()
def predict(
    run: RunOrFileArgument,
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES… [data.key=value …]",
            help="Files, folders or globs. data.key=value: data.image_pattern and data.mask_pattern, if masks lie "
            "next to the images under other names than in training; data.bits, to read 16-bit images at another scale "
            "than that of the training images.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="CSV table of classes (default predictions.csv), or folder for masks (default masks)."),
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Number of classes per image; default 5.")] = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Masks: also write probabilities.")] = False,
    overlays: Annotated[bool, typer.Option("--overlays", help="Masks: also write them over the images.")] = False,
    tile: Annotated[
        int | None, typer.Option(help="Masks: side of the tiles of a large image in px; default 768.")
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(help="Masks: overlap of neighbouring tiles in px; default 128.")
    ] = None,
    force: ForceOption = False,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print what was written as JSON: where, how many, and for few images the rows."),
    ] = False,
) -> None:
    """Predict the classes of images, or their masks, with a trained run or an exported file."""
    from snellen.commands.predict import as_dict, render
    from snellen.commands.predict import predict as run_predict

    images, overrides = split(arguments)
    predicted = run_predict(
        run,
        images,
        out,
        top_k=top_k,
        probabilities=probabilities,
        overlays=overlays,
        tile=tile,
        overlap=overlap,
        overrides=overrides,
        force=force,
    )
    _print(as_dict(predicted), lambda: render(predicted), json)


@app.command()
def evaluate(
    run: RunOrFileArgument,
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA [data.key=value …]",
            help="Labelled images, or images with masks, in any layout that train takes. data.key=value: how they are "
            "read, such as data.unreadable=skip.",
            show_default=False,
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Score a trained run or an exported file on new labelled images or masks, with 95% intervals."""
    from snellen.commands.evaluate import evaluate as run_evaluate

    words, overrides = split(arguments)
    evaluated = run_evaluate(run, only(words, "DATA"), out, overrides=overrides, force=force)
    _print(evaluated.as_dict(), evaluated.render, json)


@app.command()
def export(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option(help="The file; default NAME.onnx, NAME.int8.onnx or NAME.pt2 in the working folder.")
    ] = None,
    format: Annotated[
        str, typer.Option(help="onnx, which runs with onnxruntime, or torch: a torch.export program.")
    ] = "onnx",
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise the network; says what that changes in top-1 or mIoU and in speed.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing file; write an int8 file that loses more than 1 point.")
    ] = False,
) -> None:
    """Write a trained run as one file, preprocessing included, if it gives the same answers as the run."""
    from snellen.commands.export import export as run_export

    print(run_export(run, out, format=format, int8=int8, force=force))


@app.command()
def push(
    run: RunArgument,
    to: Annotated[
        str,
        typer.Option(
            metavar="FOLDER|hf:OWNER/NAME",
            help="New folder, or a repository of the Hugging Face hub.",
            show_default=False,
        ),
    ],
    licence: Annotated[
        str, typer.Option("--licence", "--license", help="Of the model, such as apache-2.0.")
    ] = "unknown",
    data_licence: Annotated[
        str, typer.Option("--data-licence", "--data-license", help="Of the images, such as CC-BY-4.0.")
    ] = "unknown",
    onnx: Annotated[bool, typer.Option("--onnx/--no-onnx", help="With an ONNX file, as export writes it.")] = True,
    private: Annotated[bool, typer.Option("--private", help="hf: a new repository is private.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a folder that push has written; hf: add to an existing repository.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a finished run as a model hub wants it: weights, configuration, ONNX file and a card with the figures."""
    from snellen.commands.push import push as run_push

    pushed = run_push(run, to, licence=licence, data_licence=data_licence, onnx=onnx, private=private, force=force)
    _print(pushed.as_dict(), pushed.render, json)


@app.command()
def serve(
    run: Annotated[
        Path, typer.Argument(metavar="RUN|FILE.onnx", help="A finished run, or a file from export.", show_default=False)
    ],
    host: Annotated[str, typer.Option(help="Address to listen on; others than this machine's need --token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: one that is free.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="SNELLEN_TOKEN", show_envvar=True, help="What requests must send as Bearer token."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="A site whose pages may call the interface; can be given several times.")
    ] = None,
    max_upload: Annotated[int, typer.Option(min=1, help="Bytes of a request.")] = 20_000_000,
    max_pixels: Annotated[int, typer.Option(min=1, help="Pixels of an image.")] = 50_000_000,
    max_queue: Annotated[int, typer.Option(min=1, help="Requests at the same time.")] = 32,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for a request, and for its answer.")] = 30,
) -> None:
    """Serve a trained network: a page to try it with, and an HTTP interface. Ctrl-C stops."""
    from snellen.commands.serve import serve as run_serve

    run_serve(
        run,
        host=host,
        port=port,
        token=token,
        allow_origin=allow_origin or (),
        max_upload=max_upload,
        max_pixels=max_pixels,
        max_queue=max_queue,
        timeout=timeout,
    )


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN…", help="One or more runs, or a study.", show_default=False)
    ],
    out: Annotated[Path | None, typer.Option(help="HTML file to write.")] = None,
    force: ForceOption = False,
) -> None:
    """Write the report of a run, of several runs side by side, or of a study."""
    from snellen.commands.report import report as run_report

    print(run_report(runs[0] if len(runs) == 1 else list(runs), out, force=force))


@app.command()
def shard(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A folder of images in any layout, with or without labels or masks, a table or list of images, or "
            "torchvision:NAME.",
            show_default=False,
        ),
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="New folder for the shards.", show_default=False)],
    shard_mib: Annotated[int, typer.Option(min=1, help="About how large a tar file gets, in MiB.")] = 256,
    force: ForceOption = False,
) -> None:
    """Write DATA into tar files that all commands take as data, also from https://… or s3://…

    A run on OUT gives the same result as on DATA, to the bit. The webdataset package reads the tar files too.
    """
    from snellen.commands.shard import shard as run_shard

    print(run_shard(data, out, shard_mib=shard_mib, force=force))


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="Folder that holds the runs.")] = Path("runs"),
    sort: Annotated[
        str, typer.Option(metavar="COLUMN", help="run, recipe, data, state, epochs, score (best first) or time.")
    ] = "run",
    reverse: Annotated[bool, typer.Option("--reverse", help="Sort the other way round.")] = False,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only runs in this state: running, finished, interrupted, failed, stopped (killed), …"),
    ] = None,
    recipe: Annotated[list[str] | None, typer.Option(help="Only runs of this recipe.")] = None,
    data: Annotated[list[str] | None, typer.Option(help="Only runs on these images: the name of their folder.")] = None,
    json: JsonOption = False,
) -> None:
    """List runs: recipe, data, state, epochs, score with its interval, time, and why a run failed.

    --state, --recipe and --data can be given several times.
    """
    from snellen.commands.runs import runs as list_runs
    from snellen.commands.runs import runs_table

    rows = list_runs(folder, states=state or (), recipes=recipe or (), data=data or (), sort=sort, reverse=reverse)
    _print([row.as_dict() for row in rows], lambda: runs_table(rows), json)


@recipes_app.callback()
def _recipes(context: typer.Context, json: JsonOption = False) -> None:
    if context.invoked_subcommand is None:
        _print_recipes(json)


def _print_recipes(json: bool) -> None:
    from snellen.commands.recipes import recipes, recipes_table

    _print(recipes(), recipes_table, json)


@recipes_app.command("list", hidden=True)
def recipes_list(json: JsonOption = False) -> None:
    """The same as `snellen recipes`."""
    _print_recipes(json)


@recipes_app.command("show")
def recipes_show(name: Annotated[str, typer.Argument(show_default=False)]) -> None:
    """Print a shipped recipe with its comments."""
    from snellen.commands.recipes import recipe_text

    print(recipe_text(name), end="")


@cache_app.callback()
def _cache(context: typer.Context, json: JsonOption = False) -> None:
    if context.invoked_subcommand is None:
        from snellen.commands.cache import cache_table, contents

        parts = contents()
        _print([part.as_dict() for part in parts], lambda: cache_table(parts), json)


@cache_app.command("clear")
def cache_clear(
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PART…]", help="modes, pixels, hashes, copies, shards; default all.", show_default=False
        ),
    ] = None,
) -> None:
    """Delete what is kept outside runs. It is measured, decoded and downloaded anew when it is needed."""
    from snellen.commands.cache import clear

    print(clear(parts or ()))


@bench_app.command("train", cls=FieldsCommand)
def bench_train(
    arguments: Annotated[list[str], typer.Argument(metavar="RECIPE DATA [key=value …]", show_default=False)],
    seconds: Annotated[float, typer.Option(help="Seconds per measurement.", min=1)] = 20,
    json: JsonOption = False,
) -> None:
    """Compare training speed with the same network on prepared batches and with a plain torchvision loop."""
    from dataclasses import asdict

    from snellen.commands.bench import bench_train as run_bench
    from snellen.commands.bench import render

    words, overrides = split(arguments)
    recipe, data = recipe_and_data(words, "snellen bench train")
    if recipe is None:
        raise UserError("bench train takes a recipe and data, as in: snellen bench train vgg13-scratch photos/")
    speed = run_bench(recipe, data, seconds=seconds, overrides=overrides)
    _print(asdict(speed), lambda: render(speed), json)


def _print(value: Any, table: Callable[[], RenderableType], json: bool) -> None:
    """The value as JSON, or what table() draws; plain text as it is."""
    from rich.console import Console

    from snellen.files import json_text

    drawn = json_text(value).rstrip() if json else table()
    if isinstance(drawn, str):
        print(drawn)
    else:
        Console().print(drawn)


def _train(command: str, arguments: list[str], out: Path | None, resume: Path | None) -> None:
    """`train` or `pretrain`; the exit code says whether the run was interrupted."""
    if resume is None:
        words, overrides = split(arguments)
        recipe, data = recipe_and_data(words, f"snellen {command}")
        from snellen.commands import pretrain, train

        run_command = pretrain.pretrain if command == "pretrain" else train.train
        run = run_command(data, recipe, out=out, overrides=overrides)
    else:
        words, overrides = split(arguments)
        devices = overrides.pop("hardware.devices", None)
        if words or overrides or out or not isinstance(devices, int | None):
            raise UserError(
                "--resume RUN takes nothing else than hardware.devices=N: a run resumes with the recipe and data it "
                "started with."
            )
        from snellen.commands.train import resume as run_resume

        run = run_resume(resume, devices=devices)
    if run.status.state == "interrupted":
        sys.exit(_INTERRUPTED)
