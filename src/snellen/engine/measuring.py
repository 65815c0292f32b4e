"""Timing a step in several modes: at the real batch size, warmed up, in interleaved rounds."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from rich.console import Console
from rich.status import Status
from torch import nn

from snellen.engine.device import synchronise
from snellen.engine.mode import Mode, ModeTiming, Workload

_LIGHT_SECONDS = 10.0  # measuring may take this long in any run
_HEAVY_SECONDS = 60.0  # … and this long, or 2% of the run, if steps are slow
_SHARE_OF_RUN = 0.02
_FIRST_ROUNDS, _ROUNDS, _MOST_ROUNDS = 3, 7, 25
_TIMED_SECONDS = 1.0  # fast steps are timed more often: all rounds of all modes together take this long
_SLOW, _HOPELESS = 1.25, 2.0  # times the fastest: left out after the first rounds; given up at once
_TOO_SLOW = 5.0  # times the plainest mode, on few images: its step on the whole batch is not even tried


@dataclass
class Trial:
    """A copy of the network in one mode, `runner` as it would be trained, and the seconds of its timed steps."""

    mode: Mode
    model: nn.Module
    runner: nn.Module
    seconds: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, mode: Mode, work: Workload) -> Trial:
        """A fresh copy."""
        model = copy.deepcopy(work.model)
        mode.apply(model)
        model.train()
        runner: nn.Module = torch.compile(model) if mode.compiled else model  # type: ignore[assignment]
        return cls(mode, model, runner)

    def result(self, images: int) -> ModeTiming:
        return ModeTiming(self.mode, images, statistics.median(self.seconds), len(self.seconds))


def measure(
    modes: Sequence[Mode], variants: Callable[[Mode], list[Mode]], work: Workload, console: Console
) -> list[ModeTiming]:
    """Median times of a forward and backward pass of copies of the network, the first (plainest) of `modes` first.

    All `modes` are timed in three rounds; those not much slower than the fastest, and the `variants` of the fastest, in
    at least seven more, one step of each per round. Networks with slow steps are timed with fewer images. A mode that
    raises is left out, and so is one whose steps would take too long, with a note; when time is up the current round
    ends early. `work.model` is left unchanged.
    """
    with console.status("measuring precision and memory layout") as status:
        count, plain_seconds = _affordable_images(modes[0], work)
        clock = _Clock(_limit(plain_seconds * len(work.images) / count, work.steps), status)
        trials = _warmed_up(modes, work, count, clock)
        for number in range(_FIRST_ROUNDS):
            clock.show(f"round {number + 1} of {_FIRST_ROUNDS}")
            trials = _fast_enough(_timed_round(trials, work, count, number, clock), _HOPELESS)
            if clock.late(share=0.3):
                break
        first_timings = {trial.mode: trial.result(count) for trial in trials}
        trials = _fast_enough(trials, _SLOW)
        best = min(trials, key=lambda trial: first_timings[trial.mode].seconds).mode
        trials += _warmed_up(variants(best), work, count, clock, optional=True)
        if not clock.late(share=1.0):
            for trial in trials:
                trial.seconds.clear()
            trials = _timed_rounds(trials, work, count, clock)
        final_timings = {trial.mode: trial.result(count) for trial in trials if trial.seconds}
    for note in clock.notes:
        console.print(f"[yellow]note:[/] {note}", highlight=False, soft_wrap=True)
    return list((first_timings | final_timings).values())


def _timed_rounds(trials: list[Trial], work: Workload, count: int, clock: _Clock) -> list[Trial]:
    """Interleaved rounds: at least seven unless time is up, more if steps are fast. Returns the trials that ran."""
    start = time.perf_counter()
    for number in range(_MOST_ROUNDS):
        clock.show(f"round {number + 1} of {_ROUNDS}" if number < _ROUNDS else "")
        trials = _timed_round(trials, work, count, number, clock)
        enough = number + 1 >= _ROUNDS and time.perf_counter() - start > _TIMED_SECONDS
        if enough or clock.late(share=1.0):
            break
    return trials


class _Clock:
    """The time that measuring has taken and may take, its status line, and notes on what was left out."""

    def __init__(self, limit: float, status: Status) -> None:
        self._start, self._limit, self._status = time.perf_counter(), limit, status
        self.notes: list[str] = []
        self._plain = 0.0

    def late(self, share: float) -> bool:
        return time.perf_counter() - self._start > share * self._limit

    def show(self, text: str) -> None:
        if text:
            passed = time.perf_counter() - self._start
            self._status.update(f"measuring precision and memory layout: {text}, {passed:.0f} s")

    def affords(self, mode: Mode, first: bool, seconds: float) -> bool:
        """Whether a mode is measured further, judged by a step on few images; else adds a note. The first always is."""
        if first:
            self._plain = seconds
        if first or seconds <= _TOO_SLOW * self._plain:
            return True
        self.notes.append(f"{mode} is not measured further: a step takes {seconds / self._plain:.0f} times as long")
        return False

    def has_time(self, mode: Mode) -> bool:
        """Whether there is time to try another mode; if not, adds a note."""
        if not self.late(share=1.0):
            return True
        self.notes.append(f"{mode} is not measured: the {self._limit:.0f} s for measuring are used up")
        return False


def _limit(step: float, steps: int) -> float:
    """Seconds that measuring may take in a run of `steps` steps of `step` seconds."""
    return max(_LIGHT_SECONDS, min(_HEAVY_SECONDS, _SHARE_OF_RUN * step * steps))


def _affordable_images(mode: Mode, work: Workload) -> tuple[int, float]:
    """How many images of the batch there is time for, and the approximate seconds of a step on them in `mode`."""
    few, batch = _few_images(work), len(work.images)
    trial = Trial.of(mode, work)
    timed_step(trial, work, few)  # compiles primitives, allocates
    seconds = timed_step(trial, work, few)
    # Four modes warmed up and timed in three rounds, then about three in seven rounds: some thirty-odd steps.
    affordable = _limit(seconds * batch / few, work.steps) / 35 / seconds * few
    count = batch if affordable >= batch else max(few, int(affordable))
    return count, seconds * count / few


def _few_images(work: Workload) -> int:
    return min(2 * work.accumulation, len(work.images))


def _warmed_up(modes: Sequence[Mode], work: Workload, count: int, clock: _Clock, optional: bool = False) -> list[Trial]:
    """Warmed-up trials; modes that raise or take too long are left out. Raises if none is left, unless `optional`."""
    trials, failures = list[Trial](), list[Exception]()
    for mode in modes:
        first = not trials and not optional
        if not first and not clock.has_time(mode):
            continue
        clock.show(f"warming up {mode}")
        try:
            trial = Trial.of(mode, work)
            if not mode.compiled:  # it would be compiled for few images, and once more
                few = _few_images(work)
                seconds = min(timed_step(trial, work, few) for _ in range(2))  # the first compiles primitives
                if not clock.affords(mode, first, seconds):
                    continue
            timed_step(trial, work, count)
            trials.append(trial)
        except Exception as error:  # no compiler, an old GPU, no memory: a mode that raises here cannot be trained in
            failures.append(error)
    if trials or optional:
        return trials
    raise failures[0]


def _timed_round(trials: list[Trial], work: Workload, count: int, number: int, clock: _Clock) -> list[Trial]:
    """One timed step of each, in an order that changes from round to round; the first round is always complete.

    Returns the trials without those that ran out of memory. Raises if all of them did.
    """
    turn = number % len(trials)
    failures = dict[Mode, Exception]()
    for trial in trials[turn:] + trials[:turn]:
        if trial.seconds and clock.late(share=1.0):
            break
        try:
            trial.seconds.append(timed_step(trial, work, count))
        except torch.OutOfMemoryError as error:
            failures[trial.mode] = error
    if len(failures) == len(trials):
        raise failures[trials[0].mode]
    return [trial for trial in trials if trial.mode not in failures]


def _fast_enough(trials: list[Trial], times: float) -> list[Trial]:
    """The trials at most `times` as slow as the fastest; the plainest of them stays first."""
    best = min(min(trial.seconds) for trial in trials)
    return [trial for trial in trials if min(trial.seconds) <= times * best]


def timed_step(trial: Trial, work: Workload, count: int) -> float:
    """Seconds of a forward and backward pass of the first `count` images, split into parts as in training."""
    images = work.images[:count].contiguous(memory_format=trial.mode.memory_format)
    parts = images.chunk(work.accumulation) if count >= 2 * work.accumulation else (images,)
    synchronise(images.device)
    start = time.perf_counter()
    for part in parts:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=trial.mode.precision == "bf16"):
            loss = work.loss(trial.runner, part)
        loss.backward()  # type: ignore[no-untyped-call]
    synchronise(images.device)
    seconds = time.perf_counter() - start
    trial.model.zero_grad(set_to_none=True)
    return seconds
