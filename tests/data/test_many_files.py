"""Sets of so many files that reading them all takes minutes; and what is known of files from earlier commands."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from tests.faults.kinds import CASES, assert_same_bits

from snellen import UserError
from snellen.data import fingerprint, kept_hashes
from snellen.data.fingerprint import content_hash, content_hashes
from snellen.data.listing import DataSpec
from snellen.data.masks import cache
from snellen.data.masks.sources import read_masked
from snellen.data.masks.spec import MaskDataSpec
from snellen.data.sources import read_images


@pytest.fixture
def split_digits(digits: Path, tmp_path: Path) -> Path:
    """The digits with train/ and val/."""
    for part, numbers in (("train", range(30)), ("val", range(30, 40))):
        for label in "012":
            folder = tmp_path / "digits" / part / label
            folder.mkdir(parents=True)
            for number in numbers:
                shutil.copy(digits / label / f"{number}.png", folder)
    return tmp_path / "digits"


def _count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose bytes are read for a hash from now on, as by a new process."""
    reads: list[Path] = []
    read = fingerprint._hash_of_bytes

    def counted(path: Path) -> str:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(fingerprint, "_hash_of_bytes", counted)
    monkeypatch.setattr(fingerprint, "_known", {})
    return reads


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_SETTLED", 0)


@pytest.mark.usefixtures("settled")
def test_a_file_that_has_not_changed_is_hashed_once(
    split_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    files = sorted(split_digits.rglob("*.png"))
    expected = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    reads = _count_reads(monkeypatch)
    assert content_hashes(files) == expected
    assert len(reads) == len(files)
    reads = _count_reads(monkeypatch)
    assert content_hashes(files) == expected
    assert not reads
    changed = files[3]
    changed.write_bytes(files[4].read_bytes())
    assert content_hash(changed) == expected[4]
    assert reads == [changed]


@pytest.mark.usefixtures("settled")
def test_damaged_hashes_are_made_again(split_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    files = sorted(split_digits.rglob("*.png"))
    expected = content_hashes(files)
    index = kept_hashes.hash_folder() / "index.sqlite"
    for damage in (b"not a database" * 100, b""):
        index.write_bytes(damage)
        for _ in range(2):
            reads = _count_reads(monkeypatch)
            assert content_hashes(files) == expected
        assert not reads, "kept again after the first time"


@pytest.mark.usefixtures("settled")
def test_many_images_with_a_split_are_not_read_before_training(
    split_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES["classification"]
    whole = case.start(split_digits, tmp_path / "whole")
    monkeypatch.setattr(fingerprint, "_MANY", 20)
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    reads = _count_reads(monkeypatch)
    images = read_images(split_digits, DataSpec())
    assert not reads
    assert any("snellen check" in note for note in images.notes)
    run = case.start(split_digits, tmp_path / "run")
    assert_same_bits(run, whole)
    victim = split_digits / "train" / "1" / "7.png"
    victim.write_bytes(victim.read_bytes()[:100])
    with pytest.raises(UserError, match="damaged"):
        case.start(split_digits, tmp_path / "damaged")
    assert not (tmp_path / "damaged" / "recipe.yaml").exists()
    assert read_images(split_digits, DataSpec()).fingerprint != images.fingerprint


@pytest.mark.usefixtures("settled")
def test_many_pairs_with_a_split_are_decoded_while_training(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few are looked at before, for classes and sizes; only those counts differ in what a run records."""
    case = CASES["segmentation"]
    whole = case.start(scenes, tmp_path / "whole")
    monkeypatch.setattr(fingerprint, "_MANY", 10)
    monkeypatch.setattr(cache, "_LOOKED_AT", 4)
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    reads = _count_reads(monkeypatch)
    images = read_masked(scenes, MaskDataSpec())
    assert not reads
    assert any("snellen check" in note for note in images.notes)
    run = case.start(scenes, tmp_path / "run")
    assert_same_bits(run, whole)
    assert any("counted in 4 training and 3 validation masks" in note for note in run.data["notes"])
    victim = scenes / images.train[1].mask
    content = victim.read_bytes()
    victim.write_bytes(content[:100])
    with pytest.raises(UserError, match=victim.name):
        case.start(scenes, tmp_path / "damaged")
    victim.write_bytes(content)
