"""The scale of 16-bit images is that of the training images' largest value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from snellen.data import bands
from snellen.data.decode import decode
from snellen.data.depth import measure_depth
from snellen.data.memory import free_memory


@pytest.mark.parametrize(("largest", "bits"), [(1, 8), (255, 8), (256, 9), (4095, 12), (4096, 13), (65535, 16)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_bits_hold_the_largest_value(tmp_path: Path, largest: int, bits: int, suffix: str) -> None:
    for n, top in enumerate((largest, largest // 2)):
        Image.fromarray(np.linspace(0, top, 64).astype(np.uint16).reshape(8, 8)).save(tmp_path / f"{n}.{suffix}")
    Image.new("L", (8, 8), 200).save(tmp_path / f"eight.{suffix}")
    depth = measure_depth(sorted(tmp_path.iterdir()))
    assert (depth.files, depth.largest, depth.bits) == (2, largest, bits)


def test_colour_png_of_twelve_bits_keeps_its_levels(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (3, 8, 9)).astype(np.uint16)
    with rasterio.open(tmp_path / "c.png", "w", driver="PNG", count=3, height=8, width=9, dtype="uint16") as file:
        file.write(values)
    assert measure_depth([tmp_path / "c.png"]).bits == 12
    np.testing.assert_array_equal(decode(tmp_path / "c.png", bits=12).numpy(), values >> 4)


def test_broken_files_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"\x89PNG but no more")
    (tmp_path / "b.tif").write_bytes(b"II*\0 but no more")
    assert measure_depth(sorted(tmp_path.iterdir())).files == 0


@pytest.mark.parametrize("shape", [(1, 100), (100, 1), (37, 41), (5, 400)])
def test_the_largest_value_is_found_in_every_part(
    shape: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bands, "_STRIP", 90)
    height, width = shape
    for number in range(6):
        values = np.zeros((3, height, width), np.uint16)
        values[number % 3, (height - 1) * number // 5, (width - 1) * number // 5] = 1000 + number
        profile = {"driver": "GTiff", "count": 3, "height": height, "width": width, "dtype": "uint16"}
        with rasterio.open(tmp_path / f"{number}.tif", "w", **profile) as file:
            file.write(values)
        assert measure_depth([tmp_path / f"{number}.tif"]).largest == 1000 + number


@pytest.mark.parametrize("version", [1, 2])
def test_free_memory_heeds_control_groups(tmp_path: Path, version: int) -> None:
    group = tmp_path / ("sys/fs/cgroup/memory/job" if version == 1 else "sys/fs/cgroup/job")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if version == 1 else ("memory.max", "memory.current")
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    (tmp_path / "proc/self/cgroup").write_text("4:cpu,memory:/job\n" if version == 1 else "0::/job\n")
    (group / names[0]).write_text("1000000\n")
    (group / names[1]).write_text("700000\n")
    (group / "memory.stat").write_text("anon 1\ninactive_file 100000\n")
    assert free_memory(tmp_path) == 400_000
    (group / names[0]).write_text("max\n" if version == 2 else "9223372036854771712\n")
    assert free_memory(tmp_path) == 8000 * 1024
