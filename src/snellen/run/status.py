"""status.json: how far a run has got, what it cost and how it scores; written and read here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["running", "finished", "interrupted", "failed"]


@dataclass(frozen=True)
class Status:
    """The state, progress, cost and score of a run.

    images_per_second: in training; None before the first step. chosen_epoch: None before any score. measure: "top-1",
    "mIoU", … score: of the chosen epoch, without an interval, during the run; when it is finished, the headline of its
    report with its 95% interval [low, high], over `images`. error: what stopped a failed run. diverged: whether it
    cannot be resumed.
    """

    state: State
    epochs_done: int
    epochs: int
    steps_done: int
    seconds_training: float
    seconds_evaluating: float
    images_per_second: float | None
    peak_memory_mib: float
    chosen_epoch: int | None
    measure: str
    score: float | None
    low: float | None
    high: float | None
    images: int
    error: str | None = None
    diverged: bool = False

    @property
    def finished(self) -> bool:
        """Whether the run has reached its end."""
        return self.state == "finished"

    @property
    def seconds(self) -> float:
        """Of training and scoring."""
        return self.seconds_training + self.seconds_evaluating

    def as_dict(self) -> dict[str, Any]:
        """For JSON: without the last two fields unless the run has failed."""
        return {key: value for key, value in asdict(self).items() if self.error or key not in {"error", "diverged"}}
