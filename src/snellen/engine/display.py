"""What a person sees during a run."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 60.0  # where there is no terminal, a line now and then


def metric_text(metric: str, value: float) -> str:
    """A task's training metric as text: 'top-1 61.2%', 'pixel accuracy 91.4%', 'projection deviation 0.93'."""
    name = "top-1" if metric == "top1" else metric.replace("_", " ")
    return f"{name} {value:.1%}" if metric in {"top1", "pixel_accuracy"} else f"{name} {value:.2f}"


def loss_text(loss: float) -> str:
    """A loss as text: '2.303', '2.7e+12'."""
    return f"{loss:.3f}" if abs(loss) < 10_000 else f"{loss:.2g}"


def per_second(speed: float) -> str:
    """A speed as text: '1234', '3.4', '0.34'."""
    return f"{speed:.0f}" if speed >= 10 else f"{speed:.2g}"


class Display:
    """A progress bar in a terminal, a line a minute elsewhere, and one line for each epoch.

    steps: of the whole run. steps_done: of these, before this start.
    """

    def __init__(self, console: Console, epochs: int, steps: int, steps_done: int) -> None:
        self._console = console
        self._epochs = epochs
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            speed_estimate_period=300,
        )
        self._task = self._bar.add_task("training", total=steps, completed=steps_done, figures="")
        self._steps = steps
        self._printed_at = time.monotonic()

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def step(self, epoch: int, step: int, loss: float, metric: str, images_per_second: float) -> None:
        """Shows the means of the epoch so far. metric: the training metric as `metric_text` writes it."""
        figures = f"loss {loss_text(loss)} · {metric} · {per_second(images_per_second)} images/s"
        self._bar.update(self._task, completed=step, description=f"epoch {epoch}/{self._epochs}", figures=figures)
        if not self._console.is_terminal and time.monotonic() - self._printed_at > _SECONDS_BETWEEN_LINES:
            self._print(f"epoch {epoch}/{self._epochs}, step {step}/{self._steps}: {figures}")

    def epoch(self, epoch: int, loss: float, metric: str, validation: str, images_per_second: float) -> None:
        """One line for a finished epoch. validation: its figures, or '' if it was not scored."""
        width = len(str(self._epochs))
        self._print(
            f"epoch {epoch:>{width}}/{self._epochs}  train loss {loss_text(loss)}, {metric}"
            f"{validation}  {per_second(images_per_second)} images/s"
        )

    def _print(self, line: str) -> None:
        self._printed_at = time.monotonic()
        self._console.print(line, highlight=False, soft_wrap=True)
