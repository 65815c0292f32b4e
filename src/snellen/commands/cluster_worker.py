"""What a worker of a Ray cluster does with a run of a study.

PyTorch is imported late: the environment must tell it first which threads and GPUs it has.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snellen.errors import UserError

_RELEASE = 120  # seconds for a dead worker's lock to be released: NFS keeps that of a lost machine for 90


@dataclass(frozen=True)
class Order:
    """A run to be trained, or to be resumed if it has begun. Paths are absolute.

    run, study: folders. fields: of its recipe, the mode filled in. data: the images, fingerprint: a hash of them.
    threads: of each process. cpus, gpus: of the whole run. versions: of packages, and command: as typed, where the
    study was started.
    """

    run: Path
    study: Path
    fields: dict[str, Any]
    data: str
    fingerprint: str
    threads: int
    cpus: int
    gpus: int
    versions: dict[str, str]
    command: list[str]


def train_here(order: Order) -> str:
    """Trains or resumes a run in this process, which does nothing else. Returns its state; its log says the rest.

    Raises UserError if this machine cannot train for the study: other versions, or folders that are not shared.
    """
    os.environ["OMP_NUM_THREADS"] = str(order.threads)
    os.environ.pop("SLURM_STEP_NUM_TASKS", None)  # of the step that has started Ray
    if not order.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    sys.argv = order.command

    from snellen.commands.study_runs import log_of
    from snellen.data.store import JOBS
    from snellen.study.directory import state_of

    os.environ[JOBS] = str(max(1, (os.cpu_count() or 1) // order.cpus))  # runs that share this machine's memory
    _check_machine(order)
    order.run.parent.mkdir(exist_ok=True)
    with log_of(order.run).open("a", buffering=1) as log, redirect_stdout(log), redirect_stderr(log):
        try:
            _train(order)
        except UserError as error:
            print(f"error: {error}", file=log)
        except Exception:
            traceback.print_exc(file=log)  # as a process of its own would; the other runs go on
    return state_of(order.run)


def _check_machine(order: Order) -> None:
    """Raises UserError if results here would not be those of the machine that has started the study."""
    from snellen.engine.environment import versions
    from snellen.run.claim import is_locked

    here = os.uname().nodename
    for name, version in versions().items():
        if version != order.versions[name]:
            raise UserError(
                f"{here}: {name} {version} is installed, and {order.versions[name]} where the study was started. "
                "Install the same versions on all machines of the Ray cluster."
            )
    for path in (order.study / "study.json", Path(order.data)):
        if not str(path).startswith("torchvision:") and not path.exists():
            raise UserError(
                f"{here}: there is no {path}. The images and the folder of the study must be on storage that all "
                "machines of the Ray cluster share, at the same paths."
            )
    if not is_locked(order.study):
        raise UserError(
            f"{here}: {order.study} is locked by the command that runs the study, but not for this machine. Without "
            "locks, two machines could train one run at a time. Use a file system whose locks reach all machines, such "
            "as NFS 4, or Lustre mounted with flock."
        )


def _train(order: Order) -> None:
    from rich.console import Console

    from snellen.commands.train import resume, train_on
    from snellen.run.claim import is_locked
    from snellen.study.directory import state_of
    from snellen.tasks.kinds import load_for

    deadline = time.monotonic() + _RELEASE
    while is_locked(order.run) and time.monotonic() < deadline:
        time.sleep(1)
    if state_of(order.run) != "not started":
        resume(order.run)
        return
    kind, recipe = load_for("train", order.fields, {})
    images = kind.data.read(order.data, recipe)
    if images.fingerprint != order.fingerprint:
        raise UserError(f"{order.data}: the images here are not those that the study was started with.")
    train_on(kind, images, order.data, recipe, order.run, Console(stderr=True))
