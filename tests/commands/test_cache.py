"""What is kept outside runs is listed and cleared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.commands.test_cli import snellen

from snellen.data.disk_cache import DiskCache, Entry, pixel_folder
from snellen.engine.decisions import mode_folder


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A measured mode and one decoded image."""
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    mode_folder().mkdir(parents=True)
    (mode_folder() / "a.json").write_text("{}")
    (tmp_path / "image").write_text("content")
    DiskCache(8).fetch(tmp_path / "image", "x", lambda path: Entry(torch.zeros(3, 500, 1000, dtype=torch.uint8)))


@pytest.mark.usefixtures("parts")
def test_parts_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = snellen("cache", capsys=capsys)
    assert code == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines()}
    assert rows["modes"][3:] == ["1", "2", "bytes", str(mode_folder())]
    assert rows["pixels"][-3:] == ["1.5", "MB", str(pixel_folder())]


@pytest.mark.usefixtures("parts")
def test_parts_are_cleared(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = snellen("cache", "clear", "pixels", capsys=capsys)
    assert code == 0
    assert "1.5 MB" in out
    assert not pixel_folder().exists()
    assert mode_folder().exists()
    code, out = snellen("cache", "clear", capsys=capsys)
    assert out == "deleted 1 file, 2 bytes\n"
    assert not mode_folder().exists()
    assert snellen("cache", "clear", capsys=capsys) == (0, "deleted 0 files, 0 bytes\n")
    assert snellen("cache", capsys=capsys)[0] == 0


@pytest.mark.usefixtures("parts")
def test_an_unknown_part_deletes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = snellen("cache", "clear", "modes", "pixel", capsys=capsys)
    assert code == 2
    assert "Did you mean 'pixels'?" in out
    assert mode_folder().exists()
    code, out = snellen("clear", capsys=capsys)
    assert code == 2
    assert "snellen cache clear" in out
