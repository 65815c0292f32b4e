"""Time and memory of tiled prediction, from image file to mask files, compared with the network alone.

Both run the same network on the same number of tiles of the same size, the network alone on tiles prepared in memory;
prediction also decodes, normalises, blends, finds the best class and writes index and colour PNG files. Rounds are
interleaved, and the best of each counts. On a busy machine, compare processor seconds (one thread: OMP_NUM_THREADS=1)
instead of clock seconds. The last column is the peak memory of the process, including the network.

    python benchmarks/tiling.py                                              # DeepLabV3-ResNet50, 1,408 x 2,048 px
    python benchmarks/tiling.py --network light --size 20000 20000 --rounds 1
    python benchmarks/tiling.py --network light --size 20000 20000 --rounds 1 --suffix .tif
"""

from __future__ import annotations

import argparse
import platform
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from snellen.data.normalization import Normalization
from snellen.engine.device import synchronise
from snellen.tasks.segmentation.inference import OVERLAP, TILE, Network, NetworkScoring, Rows, TiledPredictor
from snellen.tasks.segmentation.mask_files import MaskFiles, Outputs
from snellen.tasks.segmentation.tiling import plan_tiles

NORMALIZATION = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "ImageNet")


def build(name: str, classes: int, device: torch.device) -> Network:
    """deeplabv3: torchvision's on ResNet50, untrained. light: one strided convolution, to show the rest of the cost."""
    if name == "deeplabv3":
        from torchvision.models.segmentation import deeplabv3_resnet50

        model = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=classes).eval().to(device)
        return lambda images: _tensor(model(images)["out"])
    light = nn.Sequential(nn.Conv2d(3, classes, 8, stride=8), nn.Upsample(scale_factor=8)).eval().to(device)
    return lambda images: _tensor(light(images))


def write_image(path: Path, height: int, width: int) -> None:
    """Smooth noise: neither trivial nor very hard to decode."""
    small = np.random.default_rng(0).integers(0, 256, (max(1, height // 40), max(1, width // 40), 3), np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    image.save(path, **({"compression": "tiff_deflate"} if path.suffix == ".tif" else {}))


Seconds = tuple[float, float]
"""Clock seconds and processor seconds."""


def now() -> Seconds:
    """Both clocks."""
    return time.perf_counter(), time.process_time()


def elapsed(start: Seconds) -> Seconds:
    """Seconds elapsed on both clocks."""
    clock, processor = now()
    return clock - start[0], processor - start[1]


def predict(network: Network, classes: int, path: Path, out: Path, device: torch.device) -> Seconds:
    """Seconds from image file to mask files."""
    start = now()
    events = TiledPredictor(NetworkScoring(network, NORMALIZATION, device), classes, device).predict([path])
    first = next(events)
    assert isinstance(first, Rows)
    outputs = Outputs([(index, index, index) for index in range(classes)])
    with MaskFiles(out, path.stem, first.raster, outputs) as files:
        files.write(first)
        for rows in events:
            assert isinstance(rows, Rows)
            files.write(rows)
    return elapsed(start)


@torch.inference_mode()
def network_seconds(network: Network, size: tuple[int, int], count: int, device: torch.device) -> Seconds:
    """Seconds for `count` tiles that are normalised tensors on the device."""
    tiles = torch.rand(1, 3, *size, device=device)
    synchronise(device)
    start = now()
    for _ in range(count):
        network(tiles)
    synchronise(device)
    return elapsed(start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=["deeplabv3", "light"], default="deeplabv3")
    parser.add_argument("--size", type=int, nargs=2, default=[1408, 2048], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--classes", type=int, default=12)
    parser.add_argument("--suffix", choices=[".png", ".jpg", ".tif"], default=".png")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = build(options.network, options.classes, device)
    height, width = options.size
    plan = plan_tiles(height, width, TILE, OVERLAP)
    count = len(plan.tiles)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"image{options.suffix}"
        write_image_apart(path, height, width)
        network_seconds(network, plan.size, 1, device)  # warms up
        network_times, total_times = [], []
        for _ in range(options.rounds):
            network_times.append(network_seconds(network, plan.size, count, device))
            total_times.append(predict(network, options.classes, path, Path(folder) / "out", device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    hardware = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    table = Table(title=f"{options.network}, torch {torch.__version__}, {platform.machine()}, {hardware}")
    for column in ("image", "tiles", "seconds", "network alone", "file to files", "share of its speed", "peak, GiB"):
        table.add_column(column, justify="right")
    for which, name in enumerate(("clock", "processor")):
        best, total = min(seconds[which] for seconds in network_times), min(seconds[which] for seconds in total_times)
        image, tiles = f"{height:,} x {width:,} {options.suffix}", f"{count} of {plan.size[0]} x {plan.size[1]}"
        table.add_row(image, tiles, name, f"{best:.2f}", f"{total:.2f}", f"{best / total:.1%}", f"{peak:.2f}")
    Console(width=120).print(table)


def write_image_apart(path: Path, height: int, width: int) -> None:
    """Writes it in a separate process, so that its memory is not counted."""
    from multiprocessing import get_context

    process = get_context("spawn").Process(target=write_image, args=(path, height, width))
    process.start()
    process.join()


def _tensor(value: object) -> Tensor:
    assert isinstance(value, Tensor)
    return value


if __name__ == "__main__":
    main()
