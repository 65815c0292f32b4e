"""The embedded demo: the three studies in miniature, each with its report, on digits and on drawn landscapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console

from snellen.commands.compare import compare
from snellen.commands.report import report
from snellen.commands.train import train
from snellen.data.masks.scenes import draw_scenes
from snellen.errors import UserError
from snellen.runs import Run
from snellen.words import counted

_SIDE = 32
_SCENES, _SCENE_SIDE = 120, 96
_STUDY_WIDTH = 0.125
# Lengths are numbers of epochs, not seconds, so that every machine shows nearly the same figures.
_WIDTHS = {"airnet-eighth": 0.125, "airnet-quarter": 0.25}
# A mirrored digit is no digit; batches are small because there are only 1,500 images.
_DIGITS: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 64,
    "augmentation.flip": 0,
    "augmentation.alternate_flip": False,
    "evaluation.flip": False,
    "snapshots.images": 200,
}
_STUDY: dict[str, Any] = {
    "name": "few labels",
    "description": "One digit in twenty has a label: does learning from all of them without labels first help?",
    "fractions": [0.05],
    "seeds": [0, 1, 2],
    "recipe": {
        "epochs": 40,
        "batch_size": 32,
        "augmentation": {"size": _SIDE, "crop": "random", "padding": 3, "rotation": 10, "flip": 0},
        "evaluation": {"size": _SIDE, "every": 10, "choose": "last"},
        "model": {"backbone": "airnet", "width": _STUDY_WIDTH},
        "optimizer": {"lr": 0.002},
        "schedule": {"name": "cosine", "warmup": 0.1},
        "snapshots": {"images": 200},
    },
    "settings": [
        {"name": "A", "description": "from scratch, everything trained", "start": "scratch"},
        {"name": "C", "description": "self-supervised pretraining, everything trained", "start": "self-supervised"},
        {
            "name": "E",
            "description": "self-supervised pretraining, linear probe",
            "start": "self-supervised",
            "recipe": "linear-probe",
            "changes": {
                "batch_size": 16,
                "augmentation": {"size": _SIDE},
                "evaluation": {"size": _SIDE},
                "model": {"backbone": "airnet", "width": _STUDY_WIDTH},
                "snapshots": {"images": 200},
            },
        },
    ],
    "pretraining": {
        "recipe": "simclr-small",
        "changes": {
            "epochs": 8,
            "batch_size": 128,
            "evaluation": {"every": 4},
            "augmentation": {"flip": 0, "rotation": 10, "scale": [0.4, 1.0]},
            "model": {"width": _STUDY_WIDTH},
            "snapshots": {"images": 200},
        },
    },
}
_MASKS: dict[str, Any] = {
    "task": "segmentation",
    "epochs": 8,
    "batch_size": 8,
    "augmentation": {"size": _SCENE_SIDE, "flip": 0.5, "vertical_flip": 0.5},
    "evaluation": {"every": 2},
    "optimizer": {"name": "adamw", "lr": 0.005},
    "schedule": {"name": "poly", "warmup": 0.1},
}
_SEGMENTERS = {"deeplabv3plus": "deeplabv3plus/test_resnet", "unet": "unet/test_resnet"}


def demo(out: str | Path = "snellen-demo", *, console: Console | None = None) -> list[Path]:
    """Three studies in miniature on images that snellen brings or draws.

    Handwritten digits by a narrow network and a wider one; digits with few labels, with and without learning
    from the others first; land cover in drawn scenes by two networks. out: a new or empty folder. Returns the paths of
    the three reports. Raises UserError when the folder holds something.
    """
    console = console or Console(stderr=True)
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: not an empty folder. Choose another with --out, or delete it.")
    digits, scenes = folder / "digits", folder / "scenes"
    count = write_digits(digits)
    draw_scenes(scenes, _SCENES, size=_SCENE_SIDE, validation_share=0.25)
    console.print(f"{count:,} handwritten digits of scikit-learn written to {digits}", highlight=False)
    console.print(f"{_SCENES} landscapes drawn by snellen, with masks, written to {scenes}", highlight=False)
    return [_classes(digits, folder, console), _few_labels(digits, folder, console), _masks(scenes, folder, console)]


def write_digits(folder: Path) -> int:
    """Writes scikit-learn's 1,797 digits (8 x 8, enlarged to 32 x 32 px) as PNG files in class folders.

    Training and validation are not written apart: snellen splits them, as it would a user's folder. Returns how many.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = Image.fromarray((pixels * (255 / 16)).round().astype("uint8"))
        grey.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).save(path)
    return len(digits.target)


def _classes(digits: Path, folder: Path, console: Console) -> Path:
    runs = []
    for name, width in _WIDTHS.items():
        console.rule(f"1 of 3, classes: {name}, {counted(_DIGITS['epochs'], 'epoch')}")
        fields = {**_DIGITS, "name": name, "model.width": width}
        runs.append(_finished(train(digits, "airnet-scratch", out=folder / name, overrides=fields, console=console)))
    return report(runs, folder / "classes.html")


def _few_labels(digits: Path, folder: Path, console: Console) -> Path:
    console.rule("2 of 3, few labels: pretraining without labels, then three settings with three seeds")
    study = compare(_STUDY, digits, out=folder / "few-labels", console=console)
    if study is None or not study.finished:
        raise KeyboardInterrupt
    return report(study.path, folder / "few-labels.html")


def _masks(scenes: Path, folder: Path, console: Console) -> Path:
    runs = []
    for name, architecture in _SEGMENTERS.items():
        console.rule(f"3 of 3, masks: {name}, {counted(_MASKS['epochs'], 'epoch')}")
        recipe = {**_MASKS, "name": name, "model": {"architecture": architecture}}
        runs.append(_finished(train(scenes, recipe, out=folder / name, console=console)))
    return report(runs, folder / "masks.html")


def _finished(run: Run) -> Run:
    if run.status["state"] != "finished":
        raise KeyboardInterrupt
    return run
