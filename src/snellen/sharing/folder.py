"""The folder of a shared model.

README.md           the card, with YAML front matter
model.safetensors   the weights of the chosen epoch, by timm's names where timm has the network
config.json         as timm reads it where timm has the network; "snellen": format, version, task, recipe, classes
model.onnx          as `snellen export` writes it
preprocessing.json  how images are prepared
classes.json        names of the classes; the index is the class's number
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from snellen.files import write_json, write_text
from snellen.run.directory import RunDirectory
from snellen.sharing.card import Card, Licences
from snellen.sharing.loading import CONFIG, FORMAT, ONNX, WEIGHTS
from snellen.sharing.public import make_public, without_folders
from snellen.tasks.kind import Exported, ExportOptions, Native, Shared
from snellen.tasks.kinds import AnyKind

CARD, PREPROCESSING, CLASSES = "README.md", "preprocessing.json", "classes.json"
FILES = frozenset({CARD, WEIGHTS, CONFIG, ONNX, PREPROCESSING, CLASSES})


def write_files(
    folder: Path, name: str, run: RunDirectory, kind: AnyKind, licences: Licences, onnx: bool, console: Console
) -> tuple[Shared, Exported | None]:
    """Writes the files of a finished run into an empty folder. Returns what was shared, and the exported file.

    name: of the model. onnx: with the exported file. Raises UserError if that does not give the run's answers.
    """
    from safetensors.torch import save_file

    from snellen.exporting.onnx_file import OnnxFile

    exported = None
    if onnx:
        exported = kind.export.export(run, folder / ONNX, ExportOptions(), console)
        make_public(folder / ONNX)
    view = kind.report.view(name, run, 0)
    shared = kind.share.shared(run)
    network = shared.network if shared.native is None else shared.native.network
    tensors = {key: tensor.detach().contiguous().clone() for key, tensor in network.state_dict().items()}
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    (folder / WEIGHTS).chmod(0o666 & ~_umask(folder))
    classes = run.classes if kind.share.HAS_ONNX else []
    ours = {
        "format": FORMAT,
        "version": version("snellen"),
        "task": kind.task,
        "native": shared.native is not None,
        "recipe": without_folders(view.recipe.model_dump(mode="json")),
        "classes": classes,
    }
    native = {} if shared.native is None else _timm_config(shared.native, classes, shared.evaluation, _statistics(run))
    write_json(folder / CONFIG, native | {"snellen": ours})
    write_json(folder / PREPROCESSING, shared.evaluation | _statistics(run) | {"bits": view.bits()})
    if classes:
        write_json(folder / CLASSES, classes)
    card = Card(
        name=name,
        pipeline=kind.share.PIPELINE,
        view=view,
        shared=shared,
        figures=kind.share.figures(view) if view.scored else [],
        licences=licences,
        calibration=None if exported is None else OnnxFile(folder / ONNX).metadata.calibration,
        agreement=None if exported is None else str(exported.agreement),
    )
    write_text(folder / CARD, card.text())
    return shared, exported


def _statistics(run: RunDirectory) -> dict[str, list[float]]:
    """Mean and standard deviation of pixels in [0, 1] that images are normalised with."""
    return {key: list(run.data["normalization"][key]) for key in ("mean", "std")}


def _timm_config(
    native: Native, classes: list[str], evaluation: Mapping[str, Any], statistics: Mapping[str, list[float]]
) -> dict[str, Any]:
    """What timm reads to build the network and to prepare its images."""
    network: Any = native.network
    layers = {key: network.pretrained_cfg.get(key) for key in ("first_conv", "classifier", "fixed_input_size")}
    side, resize = evaluation["size"], evaluation["resize"]
    return {
        "architecture": network.pretrained_cfg["architecture"],
        "num_classes": len(classes),
        "num_features": network.num_features,
        **({"label_names": classes} if classes else {}),
        **({"model_args": native.options} if native.options else {}),
        "pretrained_cfg": {
            "num_classes": len(classes),
            "input_size": [3, side, side],
            "crop_pct": 1.0 if resize is None else side / resize,
            "crop_mode": "squash" if evaluation["squash"] else "center",
            "interpolation": evaluation["interpolation"],
            **statistics,
            **{key: value for key, value in layers.items() if value is not None},
            "custom_load": False,
        },
    }


def _umask(folder: Path) -> int:
    """Of this process; safetensors makes files that nobody else can read."""
    probe = folder / ".mode"
    probe.touch()
    try:
        return 0o666 & ~probe.stat().st_mode
    finally:
        probe.unlink()
