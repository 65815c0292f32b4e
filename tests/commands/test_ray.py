"""A study on the machines of a Ray cluster: here two nodes on one machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.faults.kinds import assert_same_bits

from snellen import Study, UserError, compare, load
from snellen.commands import cluster as on_driver
from snellen.commands.cluster_worker import Order, train_here
from snellen.engine.environment import versions
from snellen.engine.mode import NAMED_MODES
from snellen.engine.processes import size_given
from snellen.run.claim import locked

QUIET = Console(quiet=True)
MODE = "bf16-last"  # of the machine that starts the study; a worker that measured its own would have another
STUDY: dict[str, Any] = {
    "name": "machines",
    "seeds": [0],
    "recipe": {
        "epochs": 3,
        "batch_size": 32,
        "augmentation": {"size": 16, "crop": "random"},
        "evaluation": {"size": 16, "choose": "last"},
        "model": {"backbone": "airnet", "width": 0.125},
        "hardware": {"device": "cpu", "threads": 1},
        "snapshots": {"images": 0},
    },
    "settings": [
        {"name": "slow", "changes": {"optimizer.lr": 0.001}},
        {"name": "fast", "changes": {"optimizer.lr": 0.01}},
    ],
}
KILLED_STEP = 5  # of 12, in the second epoch


PROBE = "import ray; ray.init(num_cpus=1, include_dashboard=False); ray.get(ray.remote(lambda: 0).remote())"


@pytest.fixture(scope="module")
def ray_starts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where Ray itself does not start, as in some containers: its libraries would end this process."""
    said = tmp_path_factory.mktemp("ray") / "said"  # a pipe would be held open by what Ray leaves behind
    with said.open("w") as output:
        try:
            code = subprocess.run([sys.executable, "-c", PROBE], stdout=output, stderr=output, timeout=180).returncode
        except subprocess.TimeoutExpired:
            code = None
    if code != 0:
        pytest.skip(f"Ray does not start here (exit code {code}): {said.read_text()[-500:]}")


@pytest.fixture(scope="module")
def nodes(ray_starts: None) -> Iterator[Any]:
    """A Ray cluster of two nodes with a CPU each."""
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this module
    folder = tempfile.mkdtemp(prefix="ray-")  # the paths of sockets in it must be short
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)  # of the file with the cluster's address too
        cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
        cluster.add_node(**node)
        yield cluster
        cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def whole(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study, trained in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNELLEN_MODE", MODE)
        study = compare(STUDY, digits, out=tmp_path_factory.mktemp("whole") / "study", console=QUIET)
    assert study is not None
    return study


def _assert_same(study: Study | None, whole: Study) -> None:
    assert study is not None
    assert study.finished
    for run, other in zip(study.runs, whole.runs, strict=True):
        assert_same_bits(load(run.path), load(other.path))
        assert load(run.path).mode == NAMED_MODES[MODE]
        assert load(run.path).environment.measured == []
    assert study.table()["mean"].tolist() == whole.table()["mean"].tolist()


@pytest.mark.ray
def test_a_run_that_no_machine_has_room_for_is_refused(nodes: Any, digits: Path, tmp_path: Path) -> None:
    study = STUDY | {"changes": {"hardware.devices": 2}}
    with pytest.raises(UserError, match="a run takes 2 CPUs, and no machine of the Ray cluster has as many"):
        compare(study, digits, out=tmp_path / "study", ray=nodes.address, console=QUIET)


def _kill_the_worker(driver: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _lose_the_node(driver: int) -> None:
    time.sleep(600)  # the test removes the node meanwhile


def _interrupt_the_command(driver: int) -> None:
    os.kill(driver, signal.SIGINT)
    handler: Any = signal.getsignal(signal.SIGINT)
    while not handler.__self__.requested:
        time.sleep(0.05)


@pytest.fixture
def _heeds_ctrl_c() -> Iterator[None]:
    """As a command does; the workers of pytest-xdist ignore it."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.ray
@pytest.mark.usefixtures("_heeds_ctrl_c")
@pytest.mark.parametrize("fault", [_kill_the_worker, _interrupt_the_command, _lose_the_node])
def test_a_fault_changes_no_bit(
    fault: Callable[[int], None],
    nodes: Any,
    whole: Study,
    digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One of two runs, that on the second node, is struck in the middle, once, and then resumed."""
    driver, steps = os.getpid(), tmp_path / "steps.txt"
    head = nodes.head_node.all_processes["raylet"][0].process.pid

    def trained_with_a_fault(order: Order) -> str:
        from snellen.engine import checkpoint, loop

        one_step = loop.one_step

        def step(*arguments: Any) -> Any:
            number = arguments[-1]
            if number == KILLED_STEP and not steps.exists():
                steps.write_text(f"{order.run.name} was struck\n")
                fault(driver)
            if steps.exists() and steps.read_text().startswith(order.run.name):
                with steps.open("a") as file:
                    file.write(f"{number}\n")
            return one_step(*arguments)

        if os.getppid() != head or steps.exists():
            loop.one_step = step
            checkpoint.Checkpoint.due = True  # after every step, else by the clock
        return train_here(order)

    def remove_node() -> None:
        while not steps.exists():
            time.sleep(0.1)
        nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)

    if fault is _lose_the_node:
        threading.Thread(target=remove_node, daemon=True).start()
    monkeypatch.setattr(on_driver, "train_here", trained_with_a_fault)
    monkeypatch.setenv("SNELLEN_MODE", MODE)
    study = compare(STUDY, digits, out=tmp_path / "study", ray=nodes.address, console=QUIET)
    if fault is _interrupt_the_command:
        assert study is not None
        assert "interrupted" in [run.state for run in study.runs]
        study = compare(STUDY, digits, out=tmp_path / "study", ray=nodes.address, console=QUIET)
    _assert_same(study, whole)
    resumed = [int(line) for line in steps.read_text().splitlines()[1:]]
    assert resumed[-7:] == list(range(KILLED_STEP, 12))


def _order(study: Path, data: Path, **changes: Any) -> Order:
    fields: dict[str, Any] = {
        "run": study / "runs" / "one",
        "study": study,
        "fields": {},
        "data": str(data),
        "fingerprint": "",
        "threads": 1,
        "cpus": 1,
        "gpus": 0,
        "versions": versions(),
        "command": sys.argv,
    }
    return Order(**fields | changes)


@pytest.fixture
def _like_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a task changes in its process is restored."""
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "SNELLEN_JOBS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(sys, "argv", sys.argv)


@pytest.mark.usefixtures("_like_a_worker")
def test_a_machine_that_would_give_other_results_is_refused(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"torch .* is installed, and 0\.1 where the study was started"):
        train_here(_order(tmp_path, digits, versions=versions() | {"torch": "0.1"}))
    with pytest.raises(UserError, match=r"there is no .*study\.json.* at the same paths"):
        train_here(_order(tmp_path, digits))
    (tmp_path / "study.json").touch()
    with pytest.raises(UserError, match=r"there is no .*nowhere"):
        train_here(_order(tmp_path, tmp_path / "nowhere"))
    with pytest.raises(UserError, match="locked by the command that runs the study, but not for this machine"):
        train_here(_order(tmp_path, digits))
    with locked(tmp_path):
        order = _order(tmp_path, digits, fields=STUDY["recipe"], fingerprint="of others")
        assert train_here(order) == "not started"
    assert "not those that the study was started with" in (tmp_path / "runs" / "one.log").read_text()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", r"nothing answers there .* `ray start --head`"),
        ("ray://here:10001", "expected auto, local, or the HOST:PORT"),
        ("here", "expected auto, local, or the HOST:PORT"),
    ],
)
def test_an_address_without_a_cluster_is_refused_at_once(
    address: str, message: str, digits: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        compare(STUDY, digits, out=tmp_path / "study", ray=address, console=QUIET)


def test_without_ray_the_error_says_how_to_install_it(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'snellen\[ray\]'"):
        compare(STUDY, digits, out=tmp_path / "study", ray="local", console=QUIET)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    "variables",
    [
        {"WORLD_SIZE": "2", "RANK": "0"},
        {"SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"},
    ],
    ids=["torchrun", "srun"],
)
def test_a_study_is_started_by_one_process(
    variables: dict[str, str], digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", os.environ | variables)
    with pytest.raises(UserError, match=r"started in 2 processes .* changes\.hardware\.devices=N"):
        compare(STUDY, digits, out=tmp_path / "study", console=QUIET)


def test_a_batch_script_of_slurm_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ | {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"})
    assert size_given() == 1
