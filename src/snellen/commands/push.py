"""A finished run as a model hub wants it: in a folder, or uploaded."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from snellen.exporting.extras import require
from snellen.files import check_new_folder, new_folder
from snellen.runs import Run, load
from snellen.sharing.card import UNKNOWN, Licences
from snellen.sharing.folder import FILES, write_files
from snellen.sharing.hub import repository, upload

_LEAST = {"config.json", "model.safetensors"}  # that any folder of push has


@dataclass(frozen=True)
class Pushed:
    """to: the folder, or the address of the repository. files: bytes by name. native: whether timm loads it.

    agreement: of the ONNX file with the run, in words; None without one. measure … images: the headline, with its 95%
    interval.
    """

    to: str
    files: dict[str, int]
    native: bool
    agreement: str | None
    measure: str
    score: float | None
    low: float | None
    high: float | None
    images: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))

    def render(self) -> str:
        """As text for people."""
        from rich.filesize import decimal

        lines = [self.to, *(f"  {name}  {decimal(size)}" for name, size in self.files.items())]
        if self.agreement is not None:
            lines.append(f"model.onnx compared with the run: {self.agreement}")
        if self.native and "://" not in self.to:
            lines.append(f'to load it: timm.create_model("local-dir:{self.to}", pretrained=True)')
        return "\n".join(lines)


def push(
    run: str | Path | Run,
    to: str | Path,
    *,
    licence: str = UNKNOWN,
    data_licence: str = UNKNOWN,
    onnx: bool = True,
    private: bool = False,
    force: bool = False,
    console: Console | None = None,
    quiet: bool = False,
) -> Pushed:
    """Writes a finished run as a model hub wants it: weights, configuration, ONNX file, preprocessing, classes, card.

    For a backbone of timm with a linear head the weights have timm's names, and timm.create_model("local-dir:FOLDER",
    pretrained=True) gives the same logits. `snellen.load_model` loads any such folder. Paths of this machine are left
    out.

    Parameters:
        run: a finished run, or its folder.
        to: a new folder, which appears when it is complete; or hf:OWNER/NAME, a repository of the Hugging Face hub.
        licence: of the model, as the hub names it, such as apache-2.0.
        data_licence: of the images that it was trained on.
        onnx: with the file that `export` writes; pretrained backbones have none.
        private: for hf: whether a new repository is private.
        force: replace a folder that was written by push; for hf: add to an existing repository.
        console: the rich console that progress is printed on. None: standard error.
        quiet: print nothing (no effect if `console` is given).

    Returns what was written.
    Raises UserError if the run is not finished, if its ONNX file does not give its answers, or if something else
    would be replaced; nothing is written then.

    >>> pushed = snellen.push("runs/digits", "shared/digits", data_licence="CC-BY-4.0")
    >>> sorted(pushed.files)
    ['README.md', 'classes.json', 'config.json', 'model.onnx', 'model.safetensors', 'preprocessing.json']
    """
    opened = load(run)
    kind, status = opened.kind, opened.status
    name = repository(str(to))
    if name is not None:
        require("huggingface_hub", what=f"to={to}", extra="hub")
    has_onnx = onnx and kind.share.HAS_ONNX
    if has_onnx:
        require("onnx", "onnxscript", "onnxruntime", what="push, unless without ONNX file (--no-onnx),")
    opened.require_finished("pushed")
    console = console or Console(stderr=True, quiet=quiet)
    licences = Licences(licence, data_licence)

    def write(folder: Path, title: str) -> Pushed:
        shared, exported = write_files(folder, title, opened, kind, licences, has_onnx, console)
        return Pushed(
            to=str(to),
            files={file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.name in FILES},
            native=shared.native is not None,
            agreement=None if exported is None else str(exported.agreement),
            measure=status.measure,
            score=status.score,
            low=status.low,
            high=status.high,
            images=status.images,
        )

    if name is None:
        out = Path(to)
        check_new_folder(out, force, _is_pushed, "a folder that push has written")
        with new_folder(out) as folder:
            return write(folder, out.resolve().name)
    with tempfile.TemporaryDirectory() as temporary:
        pushed = write(Path(temporary), name.partition("/")[2])
        with console.status("uploading"):
            address = upload(Path(temporary), name, private, force)
        return Pushed(**{**vars(pushed), "to": address})


def _is_pushed(folder: Path) -> bool:
    """Whether a folder holds nothing but what push has written."""
    return _LEAST <= {file.name for file in folder.iterdir()} <= FILES
