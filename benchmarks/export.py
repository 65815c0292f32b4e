"""Exported files: their agreement with the run, their answers in an old onnxruntime, and their speed.

Preprocessing is timed from the bytes of a JPEG to normalised pixels of 224 px, decoding included on both sides; the
network is left out. Pillow resizes with the same filter to nearly the same pixels. One core, rounds in turn, medians.

    python benchmarks/export.py                                   # preprocessing, 0.5 and 12 megapixels
    python benchmarks/export.py --files fp32.onnx int8.onnx --size 480 640
    python benchmarks/export.py --agreement runs/a runs/b         # each as ONNX, in int8 and as a torch.export program
    python benchmarks/export.py --files a.onnx b.onnx --old-runtime onnxruntime==1.16.3 numpy==1.24.2

The last creates an environment with these versions (pip needs a Python that they support) and compares the outputs for
images of 1 x 1 to 6,000 px with those of the onnxruntime that is installed here.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import PIL
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

import snellen
from snellen.data.augment.spec import EvaluationTransformSpec
from snellen.data.normalization import Normalization
from snellen.exporting.graph import Graph
from snellen.exporting.network import OPSET, add_normalisation
from snellen.exporting.onnx_file import INPUT, OnnxFile, open_session, run_session
from snellen.exporting.preprocessing import add_view

SIZE, RESIZE = 224, 256
NORMALIZATION = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "ImageNet")
MEGAPIXELS = {0.5: (816, 612), 12.0: (4000, 3000)}


def preprocessing_session() -> onnxruntime.InferenceSession:
    """Images (N, H, W, 3) uint8 to normalised views, as in an exported file."""
    from onnx import TensorProto, helper

    graph = Graph("view_")
    views = add_view(graph, INPUT, EvaluationTransformSpec(size=SIZE, resize=RESIZE))
    result = add_normalisation(graph, views, NORMALIZATION)
    images = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", "H", "W", 3])
    output = helper.make_tensor_value_info(result, TensorProto.FLOAT, ["N", 3, SIZE, SIZE])
    made = helper.make_graph(graph.nodes, "view", [images], [output], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return open_session(model.SerializeToString())


def photograph(width: int, height: int) -> bytes:
    """A JPEG of smooth noise, about as hard to decode as a photograph."""
    small = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(content, "JPEG", quality=90)
    return content.getvalue()


def decoded(content: bytes) -> Image.Image:
    """The whole image."""
    return Image.open(io.BytesIO(content)).convert("RGB")


def with_pillow(content: bytes) -> NDArray[np.float32]:
    """(1, 3, S, S) as most programs prepare an image without torch."""
    image = decoded(content)
    factor = RESIZE / min(image.size)
    image = image.resize((int(image.width * factor), int(image.height * factor)), Image.Resampling.BILINEAR)
    left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
    pixels = np.asarray(image.crop((left, top, left + SIZE, top + SIZE)), np.float32) / 255
    mean, std = (np.array(values, np.float32) for values in (NORMALIZATION.mean, NORMALIZATION.std))
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1)[None])


def medians(functions: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each, called in turns."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds + 1):
        for function, times in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [float(np.median(times[1:])) for times in seconds]  # the first round warms up


def preprocessing(rounds: int) -> Table:
    """Seconds per image in the graph and with Pillow, and how far their pixels are apart."""
    table = Table(title=f"JPEG to normalised {SIZE} px, decoding included, n={rounds}")
    for column in ("megapixels", "decoding, ms", "Pillow + NumPy, ms", "in the graph, ms", "ratio", "mean difference"):
        table.add_column(column, justify="right")
    session = preprocessing_session()
    for megapixels, size in MEGAPIXELS.items():
        content = photograph(*size)

        def in_graph(content: bytes = content) -> NDArray[np.float32]:
            return run_session(session, np.asarray(decoded(content))[None])

        def plainly(content: bytes = content) -> NDArray[np.float32]:
            return with_pillow(content)

        def alone(content: bytes = content) -> Image.Image:
            return decoded(content)

        decoding, pillow, graph = medians([alone, plainly, in_graph], rounds)
        apart = float(np.abs(in_graph() - plainly()).mean()) * 255 * 0.226
        cells = [1000 * value for value in (decoding, pillow, graph)]
        table.add_row(
            f"{megapixels:g}", *[f"{cell:.1f}" for cell in cells], f"{graph / pillow:.2f}", f"{apart:.2f} levels"
        )
    return table


def files(paths: Sequence[Path], size: tuple[int, int], rounds: int) -> Table:
    """Images per second of whole files, one decoded image at a time."""
    table = Table(title=f"files, one image of {size[0]} x {size[1]} px at a time, n={rounds}")
    for column in ("file", "ms", "images/s", "speed against the first"):
        table.add_column(column, justify="left" if column == "file" else "right")
    image = np.asarray(decoded(photograph(size[1], size[0])))[None]
    opened = [OnnxFile(path) for path in paths]
    seconds = medians([lambda file=file: file.run(image) for file in opened], rounds)  # type: ignore[misc]
    for path, value in zip(paths, seconds, strict=True):
        table.add_row(path.name, f"{1000 * value:.1f}", f"{1 / value:.1f}", f"{seconds[0] / value:.2f}")
    return table


def agreement(runs: Sequence[Path], console: Console) -> None:
    """What `snellen export` says of each run, in each format."""
    for run in runs:
        with tempfile.TemporaryDirectory() as folder:
            for name, options in (("onnx", {}), ("int8.onnx", {"int8": True}), ("pt2", {"format": "torch"})):
                start = time.perf_counter()
                try:
                    said = str(snellen.export(run, Path(folder) / f"a.{name}", quiet=True, **options))  # type: ignore[arg-type]
                except snellen.UserError as error:
                    said = f"refused: {error}"
                seconds = time.perf_counter() - start
                console.print(f"{run.name}, {name} ({seconds:.0f} s): {said}", highlight=False, soft_wrap=True)


_OTHER = """
import sys, numpy, onnxruntime
images = numpy.load(sys.argv[1])
for path in sys.argv[3:]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    results = {name: session.run(None, {"images": images[name]})[0] for name in images.files}
    numpy.savez(f"{sys.argv[2]}/{path.split('/')[-1]}.npz", **results)
print(onnxruntime.__version__, numpy.__version__, sys.version.split()[0])
"""
_SHAPES = ((1, 1, 1), (2, 1, 7), (3, 90, 333), (1, 224, 224), (2, 352, 470), (1, 480, 640), (1, 60, 6000), (1, 6000, 2))


def in_old_runtime(paths: Sequence[Path], packages: Sequence[str], console: Console) -> Table:
    """The outputs of files in an environment of its own against those here."""
    table = Table(title=f"{', '.join(packages)} against onnxruntime {onnxruntime.__version__}, {len(_SHAPES)} shapes")
    for column in ("file", "outputs", "largest difference", "another class"):
        table.add_column(column, justify="left" if column == "file" else "right")
    with tempfile.TemporaryDirectory() as folder:
        generator, root = np.random.default_rng(0), Path(folder)
        shapes = {
            f"{number}": generator.integers(0, 256, (*shape, 3), np.uint8) for number, shape in enumerate(_SHAPES)
        }
        np.savez(root / "images.npz", **shapes)  # type: ignore[arg-type]
        subprocess.run([sys.executable, "-m", "venv", root / "env"], check=True)
        python = root / "env/bin/python"
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        arguments = [root / "images.npz", root, *[path.absolute() for path in paths]]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [python, "-c", _OTHER, *arguments], check=True, capture_output=True, text=True, env=environment
        )
        console.print(f"onnxruntime, NumPy, Python there: {done.stdout.strip()}", highlight=False)
        for path in paths:
            there, file = np.load(root / f"{path.name}.npz"), OnnxFile(path)
            here = {name: file.run(images) for name, images in shapes.items()}
            apart = max(float(np.abs(there[name] - here[name]).max()) for name in here)
            changed = sum(int((there[name].argmax(1) != here[name].argmax(1)).sum()) for name in here)
            count = sum(here[name].argmax(1).size for name in here)
            table.add_row(path.name, f"{count:,}", f"{apart:.1e}", f"{changed:,}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, nargs="+", default=[], help="exported files")
    parser.add_argument("--size", type=int, nargs=2, default=[480, 640], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--agreement", type=Path, nargs="+", default=[], help="finished runs")
    parser.add_argument("--old-runtime", nargs="+", default=[], help="packages, such as onnxruntime==1.16.3")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    console = Console()
    console.print(f"onnxruntime {onnxruntime.__version__}, Pillow {PIL.__version__}, {platform.machine()}, 1 thread")
    if options.agreement:
        agreement(options.agreement, console)
    elif options.old_runtime:
        console.print(in_old_runtime(options.files, options.old_runtime, console))
    elif options.files:
        console.print(files(options.files, tuple(options.size), options.rounds))
    else:
        console.print(preprocessing(options.rounds))


if __name__ == "__main__":
    main()
