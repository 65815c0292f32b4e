"""Nothing in a tar file or an index leads out of it, fills the memory, or runs; nothing is written by its names."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tests.faults.kinds import QUIET

from snellen import UserError, shard
from snellen.data.decode import UnreadableImageError, decode
from snellen.data.shards import opened
from snellen.data.shards.index import INDEX, Shard, read_index
from snellen.data.shards.scan import scan
from snellen.data.shards.sources import data_path, inside_shards
from snellen.data.walk import files_below

PIXELS = b"\x89PNG\r\n\x1a\n" + bytes(500)


def member(name: str, **fields: Any) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(PIXELS)
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.PAX_FORMAT) + (PIXELS + bytes(-len(PIXELS) % 512) if info.size else b"")


def scanned(content: bytes) -> Any:
    return scan([(Shard("x.tar", len(content)), io.BytesIO(content))])


def with_size(header: bytes, field: bytes) -> bytes:
    """A header with another size, and its checksum."""
    changed = bytearray(header)
    changed[124:136] = field
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed[:512])
    return bytes(changed)


SPARSE = tarfile.TarInfo("a.png")
SPARSE.type = tarfile.GNUTYPE_SPARSE
HOSTILE: dict[str, tuple[bytes, str]] = {
    "parent": (member("../a.png"), "leads out of the folder"),
    "parent inside": (member("a/../../b.png"), "leads out of the folder"),
    "absolute": (member("/etc/a.png"), "leads out of the folder"),
    "doubled slash": (member("a//b.png"), "leads out of the folder"),
    "symbolic link": (member("a.png", type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0), "is a link"),
    "hard link": (member("a.png", type=tarfile.LNKTYPE, linkname="b.png", size=0), "is a link"),
    "device": (member("a.png", type=tarfile.CHRTYPE, size=0), "a device"),
    "pipe": (member("a.png", type=tarfile.FIFOTYPE, size=0), "a device"),
    "sparse": (SPARSE.tobuf(tarfile.GNU_FORMAT), "sparse"),
    "longer than its file": (with_size(member("a.png"), b"77777777777\0"), "ends behind the end"),
    "of negative size": (with_size(member("a.png"), b"\xff" * 10 + b"\xf0\0"), "not a plain tar file"),
    "huge long name": (
        with_size(member("././@LongLink", type=tarfile.GNUTYPE_LONGNAME), b"00077777777\0"),
        "a header of 16,777,216 bytes",
    ),
    "negative attributes": (
        with_size(member("a", type=tarfile.XHDTYPE), b"\xff" * 11 + b"\0"),
        "not a plain tar file",
    ),
    "headers of headers": (
        b"".join(member("././@LongLink", type=tarfile.GNUTYPE_LONGNAME) for _ in range(3000)),
        "not a plain tar file",
    ),
    "compressed": (b"\x1f\x8b" + bytes(3000), "not a plain tar file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_tar_file_is_refused(name: str) -> None:
    content, message = HOSTILE[name]
    with pytest.raises(UserError, match=rf"x.tar: .*{message}"):
        scanned(member("good.png") + content + bytes(1024))


@pytest.mark.parametrize("label", ["..", ".", ".hidden"])
def test_a_class_that_leads_out_is_refused(label: str) -> None:
    info = tarfile.TarInfo("good.cls")
    info.size = len(label)
    content = member("good.png") + info.tobuf() + label.encode() + bytes(512 - len(label) + 1024)
    with pytest.raises(UserError, match=r"good.cls: '.*' cannot be the name of a class"):
        scanned(content)


def _shards(tmp_path: Path, digits: Path) -> Path:
    return shard(digits, tmp_path / "out", console=QUIET)


def _arrays(**changes: Callable[[Any], Any]) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def change(arrays: dict[str, Any], facts: dict[str, Any]) -> None:
        for name, function in changes.items():
            arrays[name] = function(arrays[name])

    return change


def _renamed(name: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def change(arrays: dict[str, Any], facts: dict[str, Any]) -> None:
        names = arrays["names"].tobytes().split(b"\0")
        arrays["names"] = np.frombuffer(b"\0".join([name.encode(), *names[1:]]), np.uint8)

    return change


def _in_shard(name: Any, size: Any = 246_784) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda arrays, facts: facts.update(shards=[[name, size]])


def _added(values: Any, number: int) -> Any:
    return values + np.array(number, values.dtype)


CHANGES: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], None], str]] = {
    "a name above": (_renamed("../../.bashrc"), "leads out of the folder"),
    "an absolute name": (_renamed("/etc/passwd"), "leads out of the folder"),
    "a name twice": (_renamed("0/1.png"), "appears twice"),
    "not UTF-8": (_arrays(names=lambda names: _added(names, 128)), "not a valid index"),
    "a start below zero": (_arrays(start=lambda start: _added(start, -(2**62))), "outside its shard"),
    "an end beyond": (_arrays(size=lambda size: _added(size, 250_000)), "outside its shard"),
    "an end that overflows": (_arrays(size=lambda size: np.full_like(size, 2**63 - 1)), "outside its shard"),
    "a size below zero": (_arrays(size=lambda size: np.full_like(size, -5)), "outside its shard"),
    "a shard beyond": (_arrays(shard=lambda shard: _added(shard, 1)), "in no shard"),
    "a shard below zero": (_arrays(shard=lambda shard: _added(shard, -1)), "in no shard"),
    "columns of other types": (_arrays(size=lambda size: size.astype(np.float64)), "other types"),
    "shorter columns": (_arrays(size=lambda size: size[1:]), "different lengths"),
    "short digests": (_arrays(digest=lambda digest: np.ascontiguousarray(digest[:, :31])), "different lengths"),
    "a shard elsewhere": (_in_shard("../digits/0/1.png"), "not the name of a shard"),
    "an absolute shard": (_in_shard("/etc/passwd"), "not the name of a shard"),
    "a hidden shard": (_in_shard(".."), "not the name of a shard"),
    "a shard without a size": (_in_shard("shard-00000.tar", "x"), "not a valid index"),
    "another entry": (lambda arrays, facts: facts.update(entry="/etc/images.csv"), "is missing"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_hostile_index_is_refused(name: str, digits: Path, tmp_path: Path) -> None:
    change, message = CHANGES[name]
    file = _shards(tmp_path, digits) / INDEX
    arrays = load_file(file)
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    facts = json.loads(header["__metadata__"]["facts"])
    change(arrays, facts)
    save_file(arrays, file, {"format": "snellen-shards 1", "facts": json.dumps(facts)})
    with pytest.raises(UserError, match=rf"index.safetensors: not a valid index of shards \(.*{message}|{message}"):
        data_path(file.parent)


def test_an_index_says_where_it_lies_only_in_the_cache(digits: Path, tmp_path: Path) -> None:
    """Shards from others cannot make snellen request an address of their choice."""
    out = _shards(tmp_path, digits)
    (out / "origin.json").write_text('{"base": "http://127.0.0.1:9", "state": ""}')
    assert (data_path(out) / "0" / "1.png").read_bytes() == (digits / "0" / "1.png").read_bytes()


def test_a_file_that_does_not_fit_into_memory_is_not_read(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = data_path(_shards(tmp_path, digits))
    monkeypatch.setattr(opened, "_LARGE", 50)
    monkeypatch.setattr(opened, "free_memory", lambda: 100)
    with pytest.raises(UnreadableImageError, match=r"0.1.png: damaged image \(a file of \d+ bytes does not fit"):
        decode(root / "0" / "1.png")


def test_nothing_outside_is_reachable_by_a_path(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_text("secret")
    root = data_path(_shards(tmp_path, digits))
    (tmp_path / "out" / "also.png").write_text("not in the index")
    assert not (root / "also.png").exists()
    assert not (root / "shard-00000.tar").exists()
    assert len(list(files_below(root))) == 120
    with pytest.raises(OSError, match="read-only"):
        (root / "0" / "1.png").open("wb")
    with pytest.raises(OSError, match="No such file in the shards"):
        (root / "new.png").write_bytes(b"x")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_bytes_in_a_tar_file_are_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(member("a/b.png") + member("c.jpg", mode=0o600) + member("long" * 60 + ".png") + bytes(1024))
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    try:
        index = scanned(bytes(content))
    except UserError:
        return
    assert (index.start + index.size <= len(content)).all()
    assert not any(".." in name.split("/") or name.startswith("/") for name in index.names)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_bytes_in_an_index_are_read_or_refused(data: st.DataObject, tmp_path_factory: Any, digits: Path) -> None:
    folder = tmp_path_factory.getbasetemp() / "hostile-index"
    if not folder.exists():
        shard(digits, folder, console=QUIET)
    content = bytearray((folder / INDEX).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 700))
        content[position] = data.draw(st.integers(0, 255))
    (folder / "changed").write_bytes(content)
    try:
        index = read_index(folder / "changed")
    except UserError:
        return
    assert (index.start >= 0).all()
    assert (index.start + index.size <= np.array([shard.size for shard in index.shards])[index.shard]).all()
    assert not any(".." in name.split("/") or name.startswith("/") for name in index.names)


def test_a_path_that_is_too_long_is_in_no_shards() -> None:
    path = Path("/" + 300 * "9")
    assert inside_shards(path) == path
