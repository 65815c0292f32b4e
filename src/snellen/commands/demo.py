"""The built-in demo: three miniature studies, each with its report, on digits and drawn landscapes."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console

from snellen.commands.compare import compare
from snellen.commands.report import report
from snellen.commands.train import train
from snellen.data.masks.scenes import draw_scenes
from snellen.errors import UserError
from snellen.recipe.text import parse_yaml
from snellen.words import counted

_SIDE = 32
_SCENES, _SCENE_SIDE = 120, 96


def demo(out: str | Path = "snellen-demo", *, console: Console | None = None) -> list[Path]:
    """Runs three miniature studies on images that are bundled or drawn.

    Handwritten digits with a narrow and a wide network; digits with few labels, with and without pretraining on the
    others; land cover in drawn scenes with two networks.

    Parameters:
        out: a new or empty folder.
        console: the rich console that progress is printed on. None: standard error.

    Returns the paths of the three reports. Raises UserError if the folder is not empty.
    """
    console = console or Console(stderr=True)
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: not an empty folder. Choose another with --out, or delete it.")
    digits, scenes = folder / "digits", folder / "scenes"
    count = write_digits(digits)
    draw_scenes(scenes, _SCENES, size=_SCENE_SIDE, validation_share=0.25)
    console.print(f"{count:,} of scikit-learn's handwritten digits written to {digits}", highlight=False)
    console.print(f"{_SCENES} landscapes drawn by snellen, with masks, written to {scenes}", highlight=False)
    return [
        _side_by_side("classes", 1, digits, folder, console),
        _few_labels(digits, folder, console),
        _side_by_side("masks", 3, scenes, folder, console),
    ]


def write_digits(folder: Path) -> int:
    """Writes scikit-learn's 1,797 digits (8 x 8, enlarged to 32 x 32 px) as PNG files in class folders.

    They are not split into training and validation: snellen does that, as for a user's folder. Returns how many.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = Image.fromarray((pixels * (255 / 16)).round().astype("uint8"))
        grey.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).save(path)
    return len(digits.target)


def _plan() -> dict[str, Any]:
    """The recipes and the study, from demo.yaml."""
    text = (resources.files("snellen.commands") / "demo.yaml").read_text(encoding="utf-8")
    return parse_yaml(text, "demo.yaml")


def _few_labels(digits: Path, folder: Path, console: Console) -> Path:
    console.rule("2 of 3, few labels: pretraining without labels, then three settings with three seeds")
    study = compare(_plan()["few labels"], digits, out=folder / "few-labels", console=console)
    if study is None or not study.finished:
        raise KeyboardInterrupt
    return report(study.path, folder / "few-labels.html")


def _side_by_side(name: str, number: int, images: Path, folder: Path, console: Console) -> Path:
    """Trains the runs of a part of the plan, and writes the report on all of them."""
    runs, plan = [], _plan()[name]
    for label, changes in plan["runs"].items():
        console.rule(f"{number} of 3, {name}: {label}, {counted(plan['fields']['epochs'], 'epoch')}")
        fields = {**plan["fields"], **changes, "name": label}
        run = train(images, plan["recipe"], out=folder / label, overrides=fields, console=console)
        if not run.status.finished:
            raise KeyboardInterrupt
        runs.append(run)
    return report(runs, folder / f"{name}.html")
