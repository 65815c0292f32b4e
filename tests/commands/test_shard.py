"""`snellen shard`: complete or not there at all, bounded tar files, and nothing replaced or deleted unasked."""

from __future__ import annotations

import errno
import fcntl
import shutil
import tarfile
from pathlib import Path

import pytest
from tests.commands.test_cli import snellen
from tests.faults.kinds import QUIET

from snellen import UserError, check, shard
from snellen.data.shards.sources import data_path
from snellen.data.shards.write import ShardWriter, _header


def members(folder: Path, pattern: str = "*.tar") -> list[str]:
    names: list[str] = []
    for file in sorted(folder.glob(pattern)):
        with tarfile.open(file) as tar:
            names += tar.getnames()
    return names


def test_the_command_writes_and_says_what(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = snellen("shard", str(digits), str(tmp_path / "shards"), capsys=capsys)
    assert code == 0
    assert "120 images, 3 classes, in 1 tar file" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shards"]
    code, out = snellen("shard", str(digits), str(tmp_path / "shards"), capsys=capsys)
    assert code == 2
    assert "already exists. To replace it: --force" in out
    assert snellen("shard", str(digits), str(tmp_path / "shards"), "--force", capsys=capsys)[0] == 0
    code, out = snellen("check", str(tmp_path / "shards"), capsys=capsys)
    assert code == 0
    assert "class folders" in out


def test_samples_are_named_as_webdataset_takes_names_apart(digits: Path, tmp_path: Path) -> None:
    """One key per image, also for names that differ only by suffix or dots; the class as a number."""
    for number, name in enumerate(["b/x.png", "b/x.JPG", "b/x.1.png", "b/x_1.png", "c10/y.png", "c2/é.png"]):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(digits / "0" / f"{number}.png", tmp_path / "data" / name)
    out = shard(tmp_path / "data", tmp_path / "out", console=QUIET)
    keys = ["b/x_1", "b/x", "b/x-2", "b/x_1-2", "c10/y", "c2/é"]
    images = ["png", "jpg", "png", "png", "png", "png"]
    expected = [f"{key}.{suffix}" for key, image in zip(keys, images, strict=True) for suffix in (image, "cls")]
    assert members(out) == expected
    with tarfile.open(out / "shard-00000.tar") as tar:
        labels = {name: tar.extractfile(name).read() for name in tar.getnames() if name.endswith(".cls")}  # type: ignore[union-attr]
    assert {key[0:3]: label for key, label in labels.items()} == {"b/x": b"0", "c10": b"2", "c2/": b"1"}


@pytest.mark.parametrize("name", ["a", "a/b.png", "x" * 100, "x" * 101, "é.png", "d/" * 60 + "x.png", "ab" * 200])
@pytest.mark.parametrize("size", [0, 1, 4095, 8**11 - 1, 8**11])
def test_headers_are_those_of_tarfile(name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    assert _header(name, size) == info.tobuf(tarfile.PAX_FORMAT)


def test_masks_lie_next_to_their_images(scenes: Path, tmp_path: Path) -> None:
    out = shard(scenes, tmp_path / "out", console=QUIET)
    assert members(out)[:4] == [f"train/000{n}_sat.{suffix}" for n in (0, 1) for suffix in ("jpg", "mask.png")]
    assert {path.name for path in out.glob("*.tar")} == {"train-00000.tar", "validation-00000.tar"}


def test_tar_files_are_bounded_and_the_same_each_time(digits: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with ShardWriter(tmp_path / name, 5000) as writer:
            for file in sorted(digits.rglob("*.png"))[:20]:
                writer.add("x", [(file.name, file.read_bytes())])
        sizes = [path.stat().st_size for path in sorted((tmp_path / name).iterdir())]
        assert [shard.size for shard in writer.shards] == sizes
        assert len(sizes) > 3
        assert max(sizes) < 5000 + 2048 + 1024
    assert [f.read_bytes() for f in sorted((tmp_path / "a").iterdir())] == [
        f.read_bytes() for f in sorted((tmp_path / "b").iterdir())
    ]


def test_images_that_cannot_be_decoded_are_kept(digits: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(digits, data)
    (data / "1" / "3.png").write_bytes((data / "1" / "3.png").read_bytes()[:90])
    (data / "1" / "4.png").write_bytes(b"")
    out = shard(data, tmp_path / "out", console=QUIET)
    reasons = [[entry.reason for entry in check(source, quiet=True).unreadable] for source in (data, out)]  # type: ignore[attr-defined]
    assert reasons[0] == reasons[1]
    assert len(reasons[0]) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_what_is_stopped_leaves_nothing_and_replaces_nothing(
    error: BaseException, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shard(digits, tmp_path / "out", console=QUIET)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    add = ShardWriter.add
    calls = []

    def fail(self: ShardWriter, prefix: str, files: list[tuple[str, bytes]]) -> list[tuple[int, int]]:
        calls.append(prefix)
        if len(calls) == 50:
            raise error
        return add(self, prefix, files)

    monkeypatch.setattr(ShardWriter, "add", fail)
    with pytest.raises((KeyboardInterrupt, UserError), match=r"out: cannot be written \(No space|^$"):
        shard(digits, out, force=True, console=QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_what_a_killed_process_left_is_removed(digits: Path, tmp_path: Path) -> None:
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    (partial / "shard-00007.tar").write_text("half")
    (partial / ".lock").touch()
    with (partial / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"another process is writing it"):
            shard(digits, tmp_path / "out", console=QUIET)
    out = shard(digits, tmp_path / "out", console=QUIET)
    assert {path.name for path in out.iterdir()} == {"shard-00000.tar", "index.safetensors"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_folders_are_neither_replaced_nor_filled(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match=r"mine: already exists, and is not a folder of shards"):
        shard(digits, tmp_path / "mine", force=True, console=QUIET)
    assert (tmp_path / "mine" / "thesis.txt").exists()
    with pytest.raises(UserError, match=r"lies in .*digits"):
        shard(digits, digits / "shards", console=QUIET)
    with pytest.raises(UserError, match=r"no such file or folder|no images"):
        shard(tmp_path / "nothing", tmp_path / "out", console=QUIET)
    with pytest.raises(UserError, match=r"data: expected a path, got"):
        shard(3, tmp_path / "out", console=QUIET)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"s3://bucket/x: shards are written to a folder"):
        shard(digits, "s3://bucket/x", console=QUIET)


def test_the_working_folder_is_data_too(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(digits)
    assert shard(".", tmp_path / "out", console=QUIET) == tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    assert len(data_path("out").entries()) == 3  # type: ignore[attr-defined]
    assert shard(tmp_path / "out", "again", quiet=True) == tmp_path / "again"


def test_a_table_of_images_elsewhere_is_refused(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "images.csv").write_text(f"path,class\n{digits}/0/1.png,x\n{digits}/1/1.png,y\n")
    with pytest.raises(UserError, match=r"images.csv: .*is not below its folder"):
        shard(tmp_path / "a" / "images.csv", tmp_path / "out", console=QUIET)


def test_a_missing_or_short_tar_file_is_said(digits: Path, tmp_path: Path) -> None:
    out = shard(digits, tmp_path / "out", console=QUIET)
    tar = out / "shard-00000.tar"
    content = tar.read_bytes()
    tar.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"shard-00000.tar: 246,783 bytes; expected 246,784 bytes"):
        data_path(out)
    tar.unlink()
    with pytest.raises(UserError, match=r"shard-00000.tar: missing"):
        data_path(out)
