"""Runs in Weights & Biases: where, online or offline, and in which project, wandb's own WANDB_… variables say."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from snellen.errors import UserError
from snellen.run.status import Status
from snellen.tracking.tracker import PROJECT, ElsewhereError, Entry, Row, Subject, end_of

if TYPE_CHECKING:
    from wandb import Run as WandbRun

_FINISH_SECONDS = 20.0  # for what is not uploaded yet


def check_login() -> None:
    """Raises UserError if wandb would ask for a key, which a run cannot answer. Nothing is sent."""
    wandb = _wandb()
    settings = wandb.setup().settings
    # An own run of the caller's shows that they are logged in.
    if settings.mode in {"online", "shared"} and wandb.run is None and not wandb.login(prompt=False, verify=False):
        raise UserError(
            "trackers=wandb: wandb is not logged in. Log in with: wandb login; or record on this machine only: "
            "WANDB_MODE=offline"
        )


class ToWandb:
    """A run in Weights & Biases; one of the caller's own is left alone."""

    def __init__(self) -> None:
        self._wandb = _wandb()
        self._run: WandbRun | None = None

    def open(self, subject: Subject, entry: Entry | None) -> tuple[Entry, int, str]:
        """As in Tracker."""
        settings = self._wandb.setup().settings
        project = settings.project or PROJECT
        offline = settings.mode in {"offline", "dryrun"}
        store = "/".join(filter(None, [settings.base_url, settings.entity, project]))
        if entry is not None and entry.store != store:
            raise ElsewhereError(f"its run is in {entry.store}, and wandb's settings now say {store}")
        with _quiet_log():
            run = self._wandb.init(
                id=uuid.uuid4().hex[:12] if entry is None else entry.run,
                project=project,
                name=subject.name,
                group=subject.study,
                config=dict(subject.fields) | {"snellen": dict(subject.facts)},
                # Offline nothing can be asked about an earlier part; both parts have one number.
                resume=None if entry is None or offline else "must",
                reinit="create_new",
                settings=self._wandb.Settings(
                    console="off",
                    silent=True,
                    finish_timeout=_FINISH_SECONDS,
                    finish_timeout_raises=True,
                ),
            )
        self._run = run
        folder = run.dir.removesuffix("/files")
        where = f"offline; to upload it: wandb sync {folder}" if offline else str(run.url)
        # The first step that is not there yet: epochs are steps, and step 0 is before the first epoch.
        return Entry(run.id, store), max(0, run.starting_step - 1), where

    def write(self, rows: Sequence[Row]) -> None:
        """As in Tracker."""
        assert self._run is not None
        for row in rows:
            self._run.log({**row.values, "epoch": row.epoch}, step=row.epoch, commit=True)

    def close(self, status: Status) -> None:
        """As in Tracker."""
        assert self._run is not None
        self._run.summary.update({**end_of(status), "state": status.state, "measure": status.measure})
        self._run.finish(exit_code=0 if status.finished else 1)


@contextmanager
def _quiet_log() -> Iterator[None]:
    """Around the start of a run: else wandb's log file prints a traceback for each line that a full disk refuses."""
    shown, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        logging.raiseExceptions = shown
    for handler in logging.getLogger("wandb").handlers:
        handler.handleError = lambda record: None  # type: ignore[method-assign]


def _wandb() -> Any:
    # wandb reports its own errors to its makers unless told otherwise; who wants that sets the variable.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb
