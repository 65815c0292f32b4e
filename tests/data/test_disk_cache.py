"""Pixels from the disk are those of decoding, to the bit and whatever happens to the files, and cost no decoding."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console
from tests.hardware import HARDWARE
from torch import Tensor

from snellen import evaluate, train
from snellen.data import segments
from snellen.data.disk_cache import DiskCache, Entry, pixel_folder
from snellen.data.masks import cache as mask_cache
from snellen.data.masks.cache import DecodedSet, decode_set
from snellen.data.masks.sources import read_masked
from snellen.data.masks.spec import MaskDataSpec
from snellen.data.sources import read_images
from snellen.data.store import CacheBudget
from snellen.recipe.load import load_as
from snellen.runs import Run
from snellen.tasks import decoding
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.decoding import decode_images

LIMIT = 64
SIZE = {"augmentation.size": 40, "augmentation.stored_size": 60, "evaluation.size": 48}
PROCESSES = multiprocessing.get_context("spawn")  # a fork hangs where other tests have left threads behind


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for each test."""
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    return pixel_folder()


@pytest.fixture
def photos(tmp_path: Path, photograph: Tensor) -> Path:
    """Sixteen files of two classes; one is grey."""
    image = Image.fromarray(photograph.permute(1, 2, 0).numpy())
    for number in range(16):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.{'png' if number < 5 else 'jpg'}"
        path.parent.mkdir(exist_ok=True, parents=True)
        part = image.crop((20 * number, 10 * number, 20 * number + 120, 10 * number + 90 + number))
        (part.convert("L") if number == 3 else part).save(path)
    return tmp_path / "photos"


class Reader:
    """Files that all hold the same bytes as their name, read as an image of that number; counts the reads."""

    def __init__(self, folder: Path, side: int = 20) -> None:
        self._folder, self._side, self.reads = folder, side, 0
        folder.mkdir(exist_ok=True)

    def fetch(self, disk: DiskCache, number: int) -> Tensor:
        path = self._folder / str(number)
        if not path.exists():
            unfinished = path.with_suffix(f".{os.getpid()}")
            unfinished.write_text(str(number))
            unfinished.replace(path)
        return disk.fetch(path, "test", self._read).pixels

    def check(self, disk: DiskCache, numbers: range) -> int:
        """How many of the images had to be read again; each must be right."""
        before = self.reads
        for number in numbers:
            assert self.fetch(disk, number).equal(self.image(number))
        return self.reads - before

    def image(self, number: int) -> Tensor:
        return torch.randint(256, (3, self._side, self._side), dtype=torch.uint8, generator=seeded(number))

    def _read(self, path: Path) -> Entry:
        self.reads += 1
        return Entry(self.image(int(path.name)))


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path / "files")


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def segment_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.pixels"))


@settings(max_examples=60, deadline=None)
@given(
    sides=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    order=st.permutations(range(4)),
    step=st.integers(1, 3),
    numbers=st.lists(st.integers(-(2**62), 2**62), max_size=4),
)
def test_an_entry_comes_back_as_it_was(sides: list[int], order: list[int], step: int, numbers: list[int]) -> None:
    """Values, strides and numbers; an image with gaps in memory comes back without them."""
    file = pixel_folder().parent / "file"
    file.parent.mkdir(exist_ok=True)
    file.write_text("content")
    base = torch.randint(256, sides, dtype=torch.uint8)[..., ::step]
    image = base.permute([axis for axis in order if axis < len(sides)])
    entry, reading = Entry(image, tuple(numbers)), f"{sides} {order} {step} {numbers}"
    DiskCache(LIMIT).fetch(file, reading, lambda path: entry)
    kept = DiskCache(LIMIT).fetch(file, reading, unread)
    assert kept.pixels.equal(image)
    assert kept.numbers == entry.numbers
    if step == 1 and min(sides) > 1:
        assert kept.pixels.stride() == image.stride()
    kept.pixels.zero_()  # private to this process and this entry
    assert DiskCache(LIMIT).fetch(file, reading, unread).pixels.equal(image)


def unread(path: Path) -> Entry:
    raise AssertionError(f"{path} was read")


def test_an_entry_belongs_to_content_and_reading(folder: Path, tmp_path: Path) -> None:
    file, other_name = tmp_path / "a.png", tmp_path / "b.png"
    file.write_text("one")
    other_name.write_text("one")
    disk = DiskCache(LIMIT)
    answers = iter(range(10))

    def fetch(path: Path, reading: str) -> tuple[int, ...]:
        return disk.fetch(path, reading, lambda _: Entry(torch.zeros(1, dtype=torch.uint8), (next(answers),))).numbers

    assert [fetch(file, "x"), fetch(file, "y"), fetch(other_name, "x"), fetch(file, "x")] == [(0,), (1,), (0,), (0,)]
    file.write_text("two")
    assert [fetch(file, "x"), fetch(other_name, "x")] == [(2,), (0,)]


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_text("old")

    def read(path: Path) -> Entry:
        path.write_text("new")
        return Entry(torch.ones(1, dtype=torch.uint8))

    DiskCache(LIMIT).fetch(file, "x", read)
    file.write_text("old")
    with pytest.raises(AssertionError, match="was read"):
        DiskCache(LIMIT).fetch(file, "x", unread)


def decoded(photos: Path, mib: int, memory: int = 100) -> list[Tensor]:
    """The pixels of a classification: training images, their views, validation views."""
    recipe = load_as(Recipe, "finetune-lite", SIZE)
    images = read_images(photos, recipe.data)
    budget = CacheBudget(memory, disk=DiskCache(mib))
    _, train, validation = decode_images(images, recipe, recipe.data, budget, Console(quiet=True), crops=True)
    parts = (train.pixels, train.views, validation.pixels)
    return [pixels.image(row) for pixels in parts for row in range(len(pixels))]


def decoded_scenes(scenes: Path, mib: int, memory: int = 100) -> list[Tensor]:
    """The pixels of a segmentation: images, masks, counts and sizes."""
    spec = MaskDataSpec(cache_mib=memory, disk_cache_mib=mib)
    result: DecodedSet = decode_set(read_masked(scenes, spec), spec, 24, 40)
    pairs = (result.train, result.validation)
    rows = [pixels.image(row) for pair in pairs for pixels in (pair.images, pair.masks) for row in range(len(pixels))]
    return [*rows, *(part for pair in pairs for part in (pair.class_pixels, pair.sizes))]


@pytest.mark.parametrize("memory", [0, 100])
@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_second_run_has_the_same_pixels_and_does_not_decode(
    kind: str, memory: int, photos: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, data = (decoded, photos) if kind == "images" else (decoded_scenes, scenes)
    without, cold = load(data, 0, memory), load(data, LIMIT, memory)
    monkeypatch.setattr(decoding, "decode", no_decoding)
    monkeypatch.setattr(mask_cache, "decode", no_decoding)
    monkeypatch.setattr(mask_cache, "decode_mask", no_decoding)
    warm = load(data, LIMIT, memory)
    for images in (cold, warm):
        assert [image.stride() for image in images] == [image.stride() for image in without]
        assert all(image.equal(expected) for image, expected in zip(images, without, strict=True))


def no_decoding(path: Path, *_: object, **__: object) -> Tensor:
    raise AssertionError(f"{path} was decoded")


def flip_a_byte(folder: Path) -> None:
    for path in segment_files(folder):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def truncate(folder: Path) -> None:
    for path in segment_files(folder):
        os.truncate(path, path.stat().st_size // 2)


def swap_entries(folder: Path) -> None:
    import sqlite3

    with sqlite3.connect(folder / "index.sqlite") as index:
        rows = index.execute("SELECT start, key FROM entries").fetchall()
        for (start, _), (_, key) in zip(rows, rows[1:] + rows[:1], strict=True):
            index.execute("UPDATE entries SET start = ? WHERE key = ?", (start, key))


def wrong_types(folder: Path) -> None:
    import sqlite3

    with sqlite3.connect(folder / "index.sqlite") as index:
        index.execute("UPDATE entries SET facts = NULL")


def garbage_index(folder: Path) -> None:
    for path in folder.glob("index.sqlite*"):
        path.write_bytes(b"garbage" * 1000)


def garbage_within_the_index(folder: Path) -> None:
    path = folder / "index.sqlite"
    data = path.read_bytes()
    path.write_bytes(data[:4096] + bytes(len(data) - 4096))


def no_index(folder: Path) -> None:
    for path in folder.glob("index.sqlite*"):
        path.unlink()


DAMAGES = [
    flip_a_byte,
    truncate,
    swap_entries,
    wrong_types,
    garbage_index,
    garbage_within_the_index,
    no_index,
    shutil.rmtree,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_decoded_again(
    damage: Callable[[Path], None], folder: Path, reader: Reader, capfd: pytest.CaptureFixture[str]
) -> None:
    numbers = range(100)
    assert reader.check(DiskCache(LIMIT), numbers) == 100
    assert reader.check(DiskCache(LIMIT), numbers) == 0
    capfd.readouterr()
    gc.collect()  # closes the index, so that its file is complete
    damage(folder)
    assert 0 < reader.check(DiskCache(LIMIT), numbers) <= 100
    notes = capfd.readouterr().err.count("note: the cache of decoded images")
    assert notes == (0 if damage in {no_index, shutil.rmtree} else 1)
    reader.check(DiskCache(LIMIT), numbers)  # an index that was found damaged is new from here on
    assert reader.check(DiskCache(LIMIT), numbers) == 0


def test_results_do_not_depend_on_the_cache(
    photos: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(name: str, mib: int) -> Run:
        fields: dict[str, Any] = {"epochs": 1, "batch_size": 8, "model.backbone": "test_resnet", "model.weights": None}
        fields |= {**SIZE, "hardware": HARDWARE, "snapshots.images": 0, "data.disk_cache_mib": mib}
        return train(photos, "finetune-lite", out=tmp_path / name, overrides=fields, quiet=True)

    runs = [trained("off", 0), trained("cold", LIMIT), trained("warm", LIMIT)]
    flip_a_byte(folder)
    runs.append(trained("damaged", LIMIT))
    weights = [(run.path / "checkpoints/last.safetensors").read_bytes() for run in runs]
    predictions = [run.predictions() for run in runs]
    assert len(set(weights)) == 1
    assert all(table.equals(predictions[0]) for table in predictions)
    first = evaluate(runs[1], photos, quiet=True)
    monkeypatch.setattr(decoding, "decode", no_decoding)
    assert (evaluate(runs[1], photos, quiet=True).probabilities == first.probabilities).all()


def fill(reader: Reader, numbers: range, forever: bool = False) -> None:
    disk = DiskCache(LIMIT)
    reader.check(disk, numbers)
    while forever:
        numbers = range(numbers.stop, numbers.stop + 10)
        reader.check(disk, numbers)


def test_processes_share_entries_and_write_at_once(reader: Reader, folder: Path) -> None:
    parts = [range(150), range(150), range(50, 250), range(100, 300)]
    processes = [PROCESSES.Process(target=fill, args=(reader, part)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert reader.check(DiskCache(LIMIT), range(300)) == 0
    assert len(segment_files(folder)) <= len(parts)


def test_a_process_killed_while_writing_leaves_no_wrong_image(reader: Reader, folder: Path) -> None:
    for start in range(0, 4000, 1000):
        process = PROCESSES.Process(target=fill, args=(reader, range(start, start + 1), True))
        process.start()
        deadline = time.monotonic() + 120
        while len(segment_files(folder)) <= start // 1000 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.02 * start / 1000)
        process.kill()
        process.join()
    again = sum(reader.check(DiskCache(LIMIT), range(start, start + 20)) for start in range(0, 4000, 1000))
    assert again < 80
    assert reader.check(DiskCache(LIMIT), range(20)) == 0


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in segment_files(folder))


def test_the_limit_is_kept_and_what_was_used_last_stays(
    tmp_path: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reader = Reader(tmp_path / "files", side=100)  # 30 kB each: 34 in one MiB
    reader.check(DiskCache(1), range(10))
    reader.check(DiskCache(1), range(10, 25))
    old = time.time() - 1000
    for path in segment_files(folder):
        os.utime(path, (old, old))
    reading = DiskCache(1)
    assert reader.check(reading, range(10)) == 0  # now these were used last
    assert reader.check(DiskCache(1), range(25, 45)) == 20
    assert size_of(folder) <= 2**20
    assert reader.check(DiskCache(1), range(4)) == 0
    assert reader.check(reading, range(10)) == 0
    assert "keeps no more images" not in capfd.readouterr().err


def test_a_run_deletes_nothing_of_its_own(tmp_path: Path, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    reader, disk = Reader(tmp_path / "files", side=100), DiskCache(1)
    assert reader.check(disk, range(60)) == 60
    assert size_of(folder) <= 2**20
    assert 25 < 60 - reader.check(disk, range(60)) < 36
    assert capfd.readouterr().err.count("it is full (data.disk_cache_mib=1") == 1


def test_a_deleted_file_can_still_be_read_by_who_uses_it(reader: Reader, folder: Path) -> None:
    disk = DiskCache(LIMIT)
    reader.check(disk, range(20))
    reader.check(disk, range(20))
    shutil.rmtree(folder)
    assert reader.check(disk, range(20)) == 0
    assert reader.check(disk, range(20, 40)) == 20
    assert reader.check(DiskCache(LIMIT), range(20)) == 20


def test_a_full_disk_stops_keeping(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    disk = DiskCache(LIMIT)
    reader.check(disk, range(10))
    write = os.write

    def half_then_full(file: int, data: memoryview) -> int:
        if len(data) < 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[: len(data) // 2])

    monkeypatch.setattr(segments.os, "write", half_then_full)
    assert reader.check(disk, range(30)) == 20
    assert reader.check(disk, range(30)) == 20
    error = capfd.readouterr().err
    assert error.count("note:") == error.count("No space left on device") == 1
    monkeypatch.undo()


def test_at_most_half_of_the_free_disk_is_used(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    total = 2 * 2**20
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(total, size_of(folder), total - size_of(folder)))
    Reader(tmp_path / "files", side=100).check(DiskCache(16), range(50))
    assert 0.7 * 2**20 < size_of(folder) <= 2**20
    assert "half of what the disk has free" in capfd.readouterr().err


def test_a_folder_that_cannot_be_used_costs_one_note(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "file"))
    disk = DiskCache(LIMIT)
    assert reader.check(disk, range(5)) == reader.check(disk, range(5)) == 5
    assert capfd.readouterr().err.count("note: the cache of decoded images is not used") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(reader: Reader, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    assert reader.check(DiskCache(LIMIT), range(5)) == 5
    assert capfd.readouterr().err.count("note:") == 1
    folder.chmod(0o700)


def test_an_index_that_may_not_be_written(reader: Reader, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "index.sqlite").mkdir(parents=True)  # also root cannot open it
    assert reader.check(DiskCache(LIMIT), range(5)) == 5
    assert capfd.readouterr().err.count("note:") == 1


def test_zero_keeps_nothing(reader: Reader, folder: Path) -> None:
    assert reader.check(DiskCache(0), range(5)) == reader.check(DiskCache(0), range(5)) == 5
    assert not folder.exists()


def test_a_file_that_is_cut_while_it_is_mapped_is_not_used_again(tmp_path: Path, folder: Path) -> None:
    """The process would end (SIGBUS) if it read what is missing."""
    part = segments.Segments(folder, LIMIT * 2**20, lambda name: None)
    place = part.append(memoryview(bytes(range(256)) * 64))
    assert place is not None
    name, length = place[0], 256 * 64
    assert part.mapped(name, length)[-1] == 255
    os.truncate(folder / name, 5000)
    with pytest.raises(OSError, match="shorter than 16384 bytes"):
        part.mapped(name, length)
    assert part.mapped(name, 5000)[4999] == 4999 % 256
    (folder / name).unlink()
    assert part.mapped(name, 5000)[0] == 0, "a deleted file stays readable"
