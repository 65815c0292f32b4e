"""Who may write to a folder: killed set-ups, other processes, file systems without locks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.hardware import HARDWARE

from snellen import UserError, compare, train
from snellen.run.claim import is_locked, locked, new_run

QUIET = Console(quiet=True)
RECIPE: dict[str, Any] = {
    "name": "small",
    "epochs": 1,
    "batch_size": 32,
    "augmentation": {"size": 16, "crop": "random", "resize": 16},
    "evaluation": {"size": 16, "choose": "last"},
    "model": {"backbone": "airnet", "width": 0.125},
    "hardware": HARDWARE,
}
# Kills itself when a run that is being set up begins to decode: timings of a study decode as well, but lock nothing.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from rich.console import Console
import snellen
from snellen.tasks.classification import prepare

decode = prepare.decode_images

def killed(*arguments, **named):
    if list(Path(sys.argv[3]).rglob(".lock" if sys.argv[4] == "train" else "*-seed1-*/.lock")):
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(*arguments, **named)

prepare.decode_images = killed
what = json.loads(sys.argv[1])
if sys.argv[4] == "train":
    snellen.train(sys.argv[2], what, out=sys.argv[3], console=Console(quiet=True))
else:
    snellen.compare(what, sys.argv[2], out=sys.argv[3], console=Console(quiet=True))
"""


def run_killed(fields: dict[str, Any], data: Path, out: Path, command: str) -> None:
    arguments = [sys.executable, "-c", KILLED, json.dumps(fields), str(data), str(out), command]
    process = subprocess.run(arguments, stderr=subprocess.PIPE, text=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr


def test_a_run_killed_while_decoding_is_started_by_the_same_command(digits: Path, tmp_path: Path) -> None:
    run_killed(RECIPE, digits, tmp_path / "run", "train")
    assert [file.name for file in (tmp_path / "run").iterdir()] == [".lock"]
    run = train(digits, RECIPE, out=tmp_path / "run", console=QUIET)
    assert run.status.state == "finished"


@pytest.mark.slow
def test_a_study_killed_while_decoding_resumes(digits: Path, tmp_path: Path) -> None:
    study = {"name": "small", "seeds": [0, 1], "recipe": RECIPE, "settings": [{"name": "A"}]}
    run_killed(study, digits, tmp_path / "study", "compare")
    resumed_study = compare(study, digits, out=tmp_path / "study", console=QUIET)
    assert resumed_study is not None
    assert resumed_study.finished


@pytest.mark.parametrize("names", [(".lock",), (".lock", "samples.csv", "data.json", ".status.json.17.tmp")])
def test_leftovers_of_a_killed_set_up_are_removed(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_text("")
    with new_run(tmp_path, "run") as path:
        assert [file.name for file in path.iterdir()] == [".lock"]
        (path / "recipe.yaml").write_text("")


@pytest.mark.parametrize("names", [("data.json",), (".lock", "notes.txt"), (".lock", "checkpoints")])
def test_files_of_others_are_left_alone(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match="not an empty folder"), new_run(tmp_path, "run"):
        pass
    assert {file.name for file in tmp_path.iterdir()} == set(names)


def test_the_second_of_two_leaves_the_first_its_folder(tmp_path: Path) -> None:
    with new_run(tmp_path / "run", "run") as path:
        (path / "samples.csv").write_text("the first's")
        with pytest.raises(UserError, match="another process"), new_run(tmp_path / "run", "run"):
            pass
        assert (path / "samples.csv").read_text() == "the first's"
        assert is_locked(path)
        (path / "recipe.yaml").write_text("")
    assert not is_locked(path)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_reported_and_used(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path):
        assert f"{tmp_path}: files cannot be locked here" in capsys.readouterr().err
    assert not is_locked(tmp_path)
