"""A run on shards is the run on the folder that they were made from, to the bit, for every kind of task."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.faults.kinds import CASES, QUIET, assert_same_bits

from snellen import shard


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
