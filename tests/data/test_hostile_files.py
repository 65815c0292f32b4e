"""Files that lie about themselves: odd EXIF in sound images, damaged bytes, headers that claim more than there is."""

from __future__ import annotations

import contextlib
import io
import resource
import struct
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_image
from tests.commands.test_cli import snellen
from tests.hardware import ARGUMENTS

from snellen.data.bands import Bands, tiff_header
from snellen.data.decode import UnreadableImageError, decode
from snellen.data.depth import measure_depth

PHOTO = Image.fromarray(load_sample_image("china.jpg")).resize((48, 32))
ORIENTATION, X_RESOLUTION, ASCII, SHORT, RATIONAL, SIGNED = 0x0112, 0x011A, 2, 3, 5, 10
TURNED = (ORIENTATION, SHORT, 1, struct.pack("<HH", 6, 0))
TINY = ["epochs=1", "batch_size=4", "model.backbone=airnet", "model.width=0.125", "augmentation.size=16"]
TINY += ["augmentation.resize=null", "evaluation.size=16", "snapshots.images=0", *ARGUMENTS]


def exif(*entries: tuple[int, int, int, bytes], claimed: int | None = None, data: bytes = b"") -> bytes:
    """An EXIF block, little-endian: (tag, type, count, value or offset) of each entry, then `data` behind them."""
    count = len(entries) if claimed is None else claimed
    directory = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, count) + directory + (b"" if claimed else bytes(4)) + data


def chained_headers(entries: int) -> bytes:
    """The offset of what lies behind so many entries."""
    return struct.pack("<I", 8 + 2 + 12 * entries + 4)


# What the EXIF is, and whether a viewer turns the image.
ODD: dict[str, tuple[bytes, bool]] = {
    "resolution -1/0": (
        exif(TURNED, (X_RESOLUTION, SIGNED, 1, chained_headers(2)), data=struct.pack("<ii", -1, 0)),
        True,
    ),
    "resolution 0/0": (exif(TURNED, (X_RESOLUTION, RATIONAL, 1, chained_headers(2)), data=bytes(8)), True),
    "resolution as text": (exif(TURNED, (X_RESOLUTION, ASCII, 3, b"72\0\0")), True),
    "resolution nowhere": (exif(TURNED, (X_RESOLUTION, RATIONAL, 1, struct.pack("<I", 2**31))), True),
    "unknown type": (exif(TURNED, (X_RESOLUTION, 99, 1, bytes(4))), True),
    "truncated directory": (exif(TURNED, claimed=5), True),
    "no directory": (b"Exif\0\0II*\0" + struct.pack("<I", 2**31), False),
    "not EXIF": (b"Exif\0\0what is this", False),
    "orientation 0": (exif((ORIENTATION, SHORT, 1, bytes(4))), False),
    "orientation 9": (exif((ORIENTATION, SHORT, 1, struct.pack("<HH", 9, 0))), False),
    "orientation as text": (exif((ORIENTATION, ASCII, 4, b"six\0")), False),
    "orientation twice": (exif((ORIENTATION, SHORT, 2, struct.pack("<HH", 6, 6))), True),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_exif_leaves_the_image_readable_and_upright(kind: str, tmp_path: Path) -> None:
    block, transpose = ODD[kind]
    PHOTO.save(tmp_path / "plain.jpg", quality=95)
    PHOTO.save(tmp_path / "odd.jpg", quality=95, exif=block)
    expected = decode(tmp_path / "plain.jpg").permute(1, 2, 0).numpy()
    pixels = decode(tmp_path / "odd.jpg").permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(pixels, np.rot90(expected, -1) if transpose else expected)


@pytest.fixture
def odd_photos(tmp_path: Path) -> Path:
    for number, (block, _) in enumerate(2 * list(ODD.values())):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number // 2}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        PHOTO.rotate(number).save(path, exif=block)
    return tmp_path / "photos"


def test_odd_exif_goes_through_every_command_in_silence(
    odd_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    commands: list[list[Any]] = [
        ["check", odd_photos],
        ["train", "airnet-scratch", odd_photos, *TINY, "--out", run],
        ["train", "airnet-scratch", odd_photos, *TINY, "data.unreadable=skip", "--out", tmp_path / "other"],
        ["predict", run, odd_photos, "--out", tmp_path / "p.csv"],
        ["evaluate", run, odd_photos],
    ]
    for command in commands:
        with warnings.catch_warnings(record=True) as records:
            warnings.simplefilter("always")
            code, text = snellen(*command, capsys=capsys)
        assert code == 0 or (code == 1 and command[0] == "check"), text  # 1: all are one photograph, turned
        assert "unreadable" not in text.replace("0 unreadable", "")
        messages = [str(entry.message) for entry in records if "PIL" in entry.filename or "rasterio" in entry.filename]
        assert not messages, command[0]
    assert (tmp_path / "p.csv").read_text().count("\n") == 1 + 2 * len(ODD)


def encoded(kind: str) -> bytes:
    data = io.BytesIO()
    PHOTO.save(data, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    return data.getvalue()


SOUND = {
    "png": encoded("PNG"),
    "jpg": encoded("JPEG"),
    "tif": encoded("TIFF"),
    "webp": encoded("WEBP"),
    "gif": encoded("GIF"),
    "bmp": encoded("BMP"),
}


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from(sorted(SOUND)),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
    is_near=st.booleans(),
)
def test_damaged_bytes_raise_one_error_only(
    suffix: str, cut: float, changes: list[tuple[float, int]], is_near: bool, tmp_path: Path
) -> None:
    content = bytearray(SOUND[suffix])
    for position, value in changes:  # half of the time in the header, where sizes and offsets stand
        content[int(position * (min(len(content), 200) if is_near else len(content)) * 0.999)] = value
    path = tmp_path / f"image.{suffix}"
    path.write_bytes(content if cut > 0.5 else content[: int(2 * cut * len(content))])
    start_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit = 0
    with contextlib.suppress(UnreadableImageError):
        pixels = decode(path)
        assert pixels.shape[0] == 3
        limit = 40 * pixels[0].numel()
    growth = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start_memory)
    assert growth < 2**28 + limit


def claims(path: Path, width: int, height: int, bands: int = 3, bits: int = 8) -> Path:
    """A TIFF of a few KB whose directory claims so many pixels, in strips that are not there."""
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, bits),
        (259, 3, 1, 1),
        (262, 3, 1, 2 if bands == 3 else 1),
        (273, 4, 1, 8),
        (277, 3, 1, bands),
        (278, 4, 1, height),
        (279, 4, 1, 1),
    ]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    header = b"II*\0" + struct.pack("<IH", 8, len(entries))
    path.write_bytes((header + directory + bytes(4)).ljust(8192, b"\0"))
    return path


@pytest.mark.parametrize(("bands", "bits"), [(3, 8), (1, 8), (1, 16), (3, 16), (6, 16)])
def test_a_small_file_that_claims_much_is_refused_by_its_header(bands: int, bits: int, tmp_path: Path) -> None:
    path = claims(tmp_path / "bomb.tif", 240_000, 200_000, bands, bits)
    with pytest.raises(UnreadableImageError, match=r"bomb\.tif: (.*pixels, more than|damaged|not an image)"):
        decode(path)


LIMITED = """
import resource, sys
import torch
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**30,) * 2)
from snellen.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("bits", [8, 16])
def test_no_command_gives_it_the_memory_it_claims(bits: int, tmp_path: Path) -> None:
    for number in range(12):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number // 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PHOTO.rotate(number).save(path)
    bomb = claims(tmp_path / "photos" / "a" / "7.tif", 240_000, 200_000, 3 if bits == 8 else 1, bits)
    claims(tmp_path / "photos" / "a" / "8.tif", 240_000, 200_000, 3 if bits == 8 else 1, bits)

    def run(*arguments: object) -> tuple[int, str]:
        command = [sys.executable, "-c", LIMITED, *map(str, arguments)]
        process = subprocess.run(command, capture_output=True, text=True, check=False, env=None)
        text = " ".join((process.stdout + process.stderr).split())
        assert "Traceback" not in text
        assert "MemoryError" not in text
        return process.returncode, text

    train = ["train", "airnet-scratch", tmp_path / "photos", *TINY, "--out", tmp_path / "run"]
    code, text = run(*train)
    assert (code, str(bomb) in text.replace(" ", "")) == (2, True)
    code, text = run(*train, "data.unreadable=skip")
    assert (code, "2 unreadable images left out" in text) == (0, True)
    code, text = run("check", tmp_path / "photos")
    assert (code, "unreadable:" in text) == (0, True)


def test_threads_that_decode_leave_the_warnings_of_the_process_alone(tmp_path: Path) -> None:
    for number, (block, _) in enumerate(ODD.values()):
        PHOTO.save(tmp_path / f"{number}.jpg", exif=block)
    state = list(warnings.filters), warnings.showwarning, Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(decode, 20 * sorted(tmp_path.iterdir())))) == 20 * len(ODD)
    assert (list(warnings.filters), warnings.showwarning, Image.MAX_IMAGE_PIXELS) == state


def test_huge_blocks_of_a_small_file_are_refused(tmp_path: Path) -> None:
    """A sparse TIFF of one block, which GDAL would decode as a whole, again for each part that is read."""
    path = tmp_path / "sparse.tif"
    side = {"width": 32768, "height": 32768, "blockxsize": 32768, "blockysize": 32768}
    with rasterio.open(path, "w", driver="GTiff", count=1, dtype="uint16", tiled=True, SPARSE_OK=True, **side):
        pass
    assert path.stat().st_size < 4096
    assert measure_depth([path]).files == 0
    header = tiff_header(path)
    assert header is not None
    with pytest.raises(UnreadableImageError, match=r"sparse\.tif: stored in blocks of 32,768 x 32,768 px"):
        Bands(path, header, 16)
