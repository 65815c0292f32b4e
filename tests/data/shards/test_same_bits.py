"""A run on shards is the run on the folder that they were made from, to the bit, for every kind of task."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
from tests.engine.test_resume import StopAfter
from tests.faults.kinds import CASES, QUIET, assert_same_bits
from tests.hardware import FP32
from tests.recipes import DIGITS

import snellen
from snellen import resume, shard, train
from snellen.commands import execution
from snellen.data.decode import decode
from snellen.data.fingerprint import content_hash
from snellen.data.listing import DataSpec
from snellen.data.masks.sources import read_masked
from snellen.data.masks.spec import MaskDataSpec
from snellen.data.sources import read_images
from snellen.data.unlabelled import read_unlabelled


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_a_run_on_shards_is_the_run_on_the_folder(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both lie at the same place, one after the other, so that even the paths that a run records are the same."""
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    shutil.copytree(request.getfixturevalue(CASES[kind].images), data)
    on_folder = CASES[kind].start(data, tmp_path / "folder")
    image = next(data.rglob("*.png"))
    shard(data, tmp_path / "shards", shard_mib=1, console=QUIET)
    shutil.rmtree(data)
    (tmp_path / "shards").rename(data)
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "another cache"))  # nothing decoded is at hand
    on_shards = CASES[kind].start(data, tmp_path / "on shards")
    assert not image.exists()
    assert_same_bits(on_shards, on_folder)
    assert on_shards.data == on_folder.data
    pictures = [run.report().read_text(encoding="utf-8").count("data:image") for run in (on_shards, on_folder)]
    assert pictures[0] == pictures[1] > 0
    for tar in data.glob("*.tar"):
        tar.unlink()
    assert snellen.load(on_shards.path).report().is_file()  # without the pictures


@pytest.mark.slow
def test_two_processes_stopped_and_resumed_on_shards(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of images is that of the folder in every process, also after a stop in the middle of an epoch."""
    recipe = DIGITS | {"hardware": FP32 | {"devices": 2}}
    whole = train(digits, recipe, out=tmp_path / "whole", console=QUIET)
    out = shard(digits, tmp_path / "shards", console=QUIET)
    with monkeypatch.context() as patched:
        patched.setattr(execution, "StopRequest", StopAfter)
        patched.setattr(StopAfter, "queries", 5)
        stopped = train(out, recipe, out=tmp_path / "stopped", console=QUIET)
    assert stopped.status.state == "interrupted"
    assert_same_bits(resume(stopped, console=QUIET), whole)


def test_the_set_of_each_kind_is_the_same(digits: Path, scenes: Path, tmp_path: Path) -> None:
    """What the runs above start from; quick, so that it is always tried."""
    for number, (data, read) in enumerate(
        [
            (digits, partial(read_images, spec=DataSpec())),
            (scenes, partial(read_masked, spec=MaskDataSpec())),
            (digits, read_unlabelled),
        ]
    ):
        folder, shards = read(data), read(shard(data, tmp_path / str(number), console=QUIET))
        assert shards.fingerprint == folder.fingerprint
        for ours, theirs in zip(shards.training_files, folder.training_files, strict=True):
            assert decode(ours).equal(decode(theirs))
            assert content_hash(ours) == content_hash(theirs)
