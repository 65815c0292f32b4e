"""The embedded demo: two ways of training on scikit-learn's digits, and the report that compares them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from rich.console import Console

from snellen.commands.report import report
from snellen.commands.train import train
from snellen.engine.run_directory import Run
from snellen.errors import UserError

_SIDE = 32
# A mirrored digit is no digit; batches are small because there are only 1,500 images.
_OVERRIDES = {
    "budget": "40s",
    "batch_size": 64,
    "augmentation.flip": 0,
    "augmentation.alternate_flip": False,
    "evaluation.flip": False,
}


def demo(out: str | Path = "snellen-demo", *, console: Console | None = None) -> Path:
    """Writes the digits as image files, trains the reference's recipe and the modern one for equal time, compares them.

    out: a new or empty folder. Returns the path of the report. Raises UserError when the folder holds something.
    """
    console = console or Console(stderr=True)
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: not an empty folder. Choose another with --out, or delete it.")
    images = folder / "digits"
    count = write_digits(images)
    console.print(f"{count:,} handwritten digits of scikit-learn written to {images}", highlight=False)
    runs: list[Run] = []
    for recipe in ("vgg13-scratch", "airnet-scratch"):
        console.rule(f"{recipe}, {_OVERRIDES['budget']} of training")
        run = train(images, recipe, out=folder / recipe, overrides=_OVERRIDES, console=console)
        if run.status["state"] != "finished":
            raise KeyboardInterrupt
        runs.append(run)
    return report(runs, folder / "report.html")


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
