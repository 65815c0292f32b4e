"""Decoded images lie in memory once, and all sets of a run share one bound."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from snellen.data.listing import DataSpec
from snellen.data.masks.cache import decode_set
from snellen.data.masks.sources import read_masked
from snellen.data.masks.spec import MaskDataSpec
from snellen.data.sources import read_images
from snellen.data.store import CacheBudget, PixelStore
from snellen.data.unlabelled import read_unlabelled
from snellen.recipe.load import load_as
from snellen.tasks.classification.prepare import prepare
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.pretraining.prepare import prepare as prepare_pretraining
from snellen.tasks.pretraining.recipe import PretrainingRecipe

QUIET = Console(quiet=True)
CPU = {"hardware.device": "cpu", "hardware.precision": "fp32", "hardware.channels_last": False}
CPU |= {"hardware.unfold": False, "hardware.threads": 1, "model.width": 0.125}
MEASURE = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from snellen.data.cache import load_pixels
from snellen.data.decode import decode
from snellen.data.store import CacheBudget

folder, side, ragged, count = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "ragged", int(sys.argv[4])
files = [folder / f"{n}.png" for n in range(20)]
for n, path in enumerate(files):
    noise = np.random.default_rng(n).integers(0, 256, (side + (n % 3 if ragged else 0), side, 3), np.uint8)
    Image.fromarray(noise).save(path, compress_level=0)
    decode(path)

def resident(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

before = resident("VmRSS")
pixels, _ = load_pixels([files[n % 20] for n in range(count)], None, CacheBudget(1000))
print((resident("VmHWM") - before) / pixels.nbytes, pixels.nbytes / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("side", "count", "shapes"),
    [
        pytest.param(64, 9000, "uniform", marks=pytest.mark.slow),
        pytest.param(64, 9000, "ragged", marks=pytest.mark.slow),
        (224, 700, "ragged"),
        (224, 700, "uniform"),
    ],
)
def test_the_cache_is_in_memory_once(side: int, count: int, shapes: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEASURE, str(tmp_path), str(side), shapes, str(count)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    peak, mebibytes = map(float, output.split())
    assert mebibytes > 100
    assert peak < 1.15, "the most that was resident, by the size of the cache"


@settings(max_examples=60, deadline=None)
@given(
    sides=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=12),
    uniform=st.booleans(),
    spare=st.integers(-12, 3),
    last=st.booleans(),
)
def test_stored_images_are_returned_unchanged(
    sides: list[tuple[int, int]], uniform: bool, spare: int, last: bool
) -> None:
    sides = [sides[0]] * len(sides) if uniform else sides
    images = [torch.randint(0, 256, (h, w, 3), dtype=torch.uint8).permute(2, 0, 1) for h, w in sides]
    images = images if last else [image.contiguous() for image in images]
    store = PixelStore(CacheBudget(1), max(0, len(sides) + spare))
    copies = [store.put(image) for image in images]
    assert all(copy.equal(image) for copy, image in zip(copies, images, strict=True))
    if store.block is None:
        assert len(set(sides)) > 1 or spare < 0
    else:
        assert store.block.equal(torch.stack(images))


def test_a_part_counts_towards_the_whole_budget() -> None:
    budget = CacheBudget(2)
    part = budget.part(1)
    assert not part.take(2**20 + 1)
    assert part.take(2**20)
    assert not part.take(1)
    assert (budget.left, part.left) == (2**20, 0)
    assert not budget.take(2**20 + 1)
    assert budget.take(2**20)
    other_part = CacheBudget(2).part(5)
    assert other_part.left == 2 * 2**20
    assert not other_part.take(3 * 2**20)
    assert other_part.take(2 * 2**20)


def test_parallel_runs_divide_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    single_run_bytes = CacheBudget(2**30).left
    monkeypatch.setenv("SNELLEN_JOBS", "4")
    assert 0.1 < CacheBudget(2**30).left / single_run_bytes < 0.4, "a quarter, less what others took meanwhile"


def large(folder: Path, photograph: torch.Tensor) -> Path:
    """Thirty images of 180 x 180 px in two classes: 2.8 MiB when they are decoded."""
    from PIL import Image

    image = Image.fromarray(photograph.permute(1, 2, 0).numpy())
    for number in range(30):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        image.crop((10 * number, 0, 10 * number + 180, 180)).save(path, compress_level=0)
    return folder


def test_sets_of_a_classification_share_one_bound(photograph: torch.Tensor, tmp_path: Path) -> None:
    size = {"augmentation.resize": None, "augmentation.size": 160, "evaluation.size": 160, "data.cache_mib": 1}
    recipe = load_as(Recipe, "airnet-scratch", CPU | size | {"epochs": 1, "batch_size": 8})
    images = read_images(large(tmp_path, photograph), DataSpec())
    job = prepare(tmp_path / "run", recipe, images, QUIET, recorded=None).job
    list(job.feed.evaluate())
    feeds = (job.feed, job.task._validation)
    sizes = {id(pixels): pixels.nbytes for feed in feeds for pixels in (feed.pixels, feed.views)}
    assert 0.8 * 2**20 < sum(sizes.values()) <= 2**20


def test_sets_of_a_pretraining_share_one_bound(photograph: torch.Tensor, tmp_path: Path) -> None:
    data = large(tmp_path, photograph)
    size = {"augmentation.size": 160, "evaluation.size": 160, "data.cache_mib": 2, "batch_size": 8, "epochs": 1}
    recipe = load_as(PretrainingRecipe, "simclr-small", CPU | size | {"evaluation.data": str(data)})
    job = prepare_pretraining(tmp_path / "run", recipe, read_unlabelled(data), QUIET, recorded=None).job
    labelled = job.task._labelled
    assert labelled is not None
    all_pixels = (job.feed.pixels, labelled.known.views, labelled.scored.views, job.task._plain.views)
    assert 1.6 * 2**20 < sum({id(pixels): pixels.nbytes for pixels in all_pixels}.values()) <= 2 * 2**20


def test_images_and_masks_share_one_bound(scenes: Path) -> None:
    decoded = decode_set(read_masked(scenes, MaskDataSpec()), MaskDataSpec(cache_mib=0), None, None)
    assert decoded.train.images.nbytes + decoded.validation.masks.nbytes == 0
    decoded_set = decode_set(read_masked(scenes, MaskDataSpec()), MaskDataSpec(cache_mib=1), None, None)
    sides = [side.images.nbytes + side.masks.nbytes for side in (decoded_set.train, decoded_set.validation)]
    assert sum(sides) == 16 * 4 * 48 * 48
