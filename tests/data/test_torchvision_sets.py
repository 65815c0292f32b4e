"""Built-in sets are written whole, also where two processes want one, or one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

IMAGES = 40  # of each side

# torchvision with one small set. The process called "first" stops in the middle until the second one has opened the
# set too, or a second has gone by: it never does where it waits for the first, as it should. The second one stops until
# the first is done.
SCRIPT = """
import fcntl, os, sys, time, types
from pathlib import Path
from PIL import Image

role, home, locks = sys.argv[1], Path(os.environ["SNELLEN_DATA"]), sys.argv[2]

def wait_for(name):
    deadline = time.monotonic() + 1
    while not (home / name).exists() and time.monotonic() < deadline:
        time.sleep(0.01)

class CIFAR10:
    classes = ["cat", "dog"]

    def __init__(self, root, train, download):
        (home / f"{role}-opened").touch()

    def __len__(self):
        return int(sys.argv[3])

    def __getitem__(self, number):
        if role == "first" and number == 20:
            (home / "first-halfway").touch()
            wait_for("second-opened")
        if role == "second" and number == 5 and (home / "first-halfway").exists():
            wait_for("first-done")
        return Image.new("RGB", (4, 4), (number, 0, 0)), number % 2

torchvision = types.ModuleType("torchvision")
torchvision.datasets = types.SimpleNamespace(CIFAR10=CIFAR10)
sys.modules["torchvision"] = torchvision
if locks == "without":
    def no_locks(file, how):
        raise OSError(38, "Function not implemented")
    fcntl.flock = no_locks
from snellen.data.torchvision_sets import write_set
folder = write_set("cifar10")
print(len(list(folder.rglob("*.png"))))
(home / f"{role}-done").touch()
"""


def start(role: str, home: Path, locks: str = "with") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, role, locks, str(IMAGES)]
    environment = {**os.environ, "SNELLEN_DATA": str(home)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


@pytest.mark.parametrize("locks", ["with", "without"])
def test_two_processes_want_one_set(tmp_path: Path, locks: str) -> None:
    first = start("first", tmp_path, locks)
    wait_for(tmp_path / "first-halfway", first)
    second = start("second", tmp_path, locks)
    for process in (first, second):
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert int(out) == 2 * IMAGES
    assert len(list((tmp_path / "CIFAR10").rglob("*.png"))) == 2 * IMAGES
    assert not list(tmp_path.glob("*.partial")) + list(tmp_path.glob(".*.partial"))


def test_a_killed_process_leaves_no_partial_set(tmp_path: Path) -> None:
    first = start("first", tmp_path)
    wait_for(tmp_path / "first-halfway", first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert not (tmp_path / "CIFAR10").exists()
    (tmp_path / "first-halfway").unlink()  # the second one has nothing to wait for
    second = start("second", tmp_path)
    out, err = second.communicate()
    assert second.returncode == 0, err
    assert int(out) == 2 * IMAGES
    assert not list(tmp_path.glob(".*.partial"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = start("second", tmp_path / "file")
    _, err = process.communicate()
    assert "UserError" in err
    assert "SNELLEN_DATA" in err
