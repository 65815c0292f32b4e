"""The fastest mode is chosen from measurements, once for each machine and network, and measuring changes nothing."""

from __future__ import annotations

import dataclasses
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from snellen.engine import decisions, measuring
from snellen.engine.device import find_device, prepare_process
from snellen.engine.measuring import measure
from snellen.engine.mode import NAMED_MODES, Loss, Mode, ModeTiming, Workload
from snellen.engine.out_of_memory import memory_explained
from snellen.engine.precision import candidates, choose, fastest, variants
from snellen.engine.spec import HardwareSpec
from snellen.errors import UserError
from snellen.files import cache_folder
from snellen.tasks.classification.recipe import Recipe

CPU = torch.device("cpu")
PLAIN, LAST, HALF = Mode("fp32", False, False), Mode("fp32", True, False), Mode("bf16", True, False)
QUIET = Console(quiet=True)
RECIPE = {"name": "small", "epochs": 1, "augmentation": {"size": 16}, "model": {"backbone": "airnet"}}
CPU_ALLOCATOR = RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory: you tried")


@pytest.fixture(autouse=True)
def _measuring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No decision of another test, and none that `pytest --mode` forces."""
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SNELLEN_MODE", raising=False)


def _loss(network: nn.Module, batch: Tensor) -> Tensor:
    value: Tensor = network(batch).float().square().mean()
    return value


def _work(accumulation: int = 1, network: str = "small") -> Workload:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
    return Workload(model, torch.randn(6, 3, 8, 8), _loss, accumulation, network, steps=100)


def test_candidates_keep_to_what_the_recipe_fixes() -> None:
    assert candidates(HardwareSpec(), CPU) == [PLAIN, LAST, Mode("bf16", False, False), HALF]
    assert candidates(HardwareSpec(precision="bf16", channels_last=True), CPU) == [HALF]
    assert all(mode.compiled for mode in candidates(HardwareSpec(compile=True), CPU))
    assert variants(HardwareSpec(), CPU, HALF) == [NAMED_MODES["bf16-last-unfolded"]]
    assert variants(HardwareSpec(unfold=False), CPU, HALF) == []
    assert variants(HardwareSpec(), torch.device("cuda"), HALF) == [Mode("bf16", True, compiled=True)]


@pytest.mark.parametrize(
    ("seconds", "expected"), [((1.0, 0.9, 0.5), HALF), ((1.0, 0.9, 2.0), LAST), ((1.0, 0.98, 0.975), PLAIN)]
)
def test_the_plain_mode_stays_unless_another_saves_three_percent(seconds: tuple[float, ...], expected: Mode) -> None:
    timings = [ModeTiming(mode, 8, value) for mode, value in zip((PLAIN, LAST, HALF), seconds, strict=True)]
    assert fastest(timings) == expected


@pytest.mark.parametrize("accumulation", [1, 3])
def test_measuring_leaves_the_network_alone(accumulation: int) -> None:
    work = _work(accumulation)
    before = {name: tensor.clone() for name, tensor in work.model.state_dict().items()}
    timings = measure([PLAIN, LAST], lambda mode: [], work, QUIET)
    assert timings[0].mode in (PLAIN, LAST)
    assert all(entry.seconds > 0 and entry.images == 6 and entry.rounds >= 3 for entry in timings)
    assert max(entry.rounds for entry in timings) >= 7
    assert all(tensor.equal(before[name]) for name, tensor in work.model.state_dict().items())
    assert all(parameter.grad is None for parameter in work.model.parameters())


def test_a_batch_is_split_as_training_splits_it() -> None:
    part_sizes: list[int] = []

    def loss(network: nn.Module, batch: Tensor) -> Tensor:
        part_sizes.append(len(batch))
        return _loss(network, batch)

    work = _work(accumulation=3)
    measure([PLAIN], lambda mode: [], Workload(work.model, work.images, loss, 3, "", 1), QUIET)
    assert set(part_sizes) == {2}, "6 images in 3 parts"


def test_a_mode_that_raises_is_no_candidate() -> None:
    def loss(network: nn.Module, batch: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("No working C++ compiler")
        return _loss(network, batch)

    work = _work()
    work = Workload(work.model, work.images, loss, 1, "raises", 1)
    choice = choose(HardwareSpec(), work, QUIET)
    assert choice.mode.precision == "fp32"
    assert {entry.mode.precision for entry in choice.timings} == {"fp32"}
    with pytest.raises(RuntimeError, match="No working"):
        choose(HardwareSpec(precision="bf16"), work, QUIET)


class Clock:
    """In place of `time`, so that no test depends on how fast this machine is."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(measuring, "time", fake)
    return fake


def _counted(
    slow: str, seconds: float = 0.0, clock: Clock | None = None, fails_after: int | None = None
) -> tuple[Loss, list[str]]:
    """A loss that takes so long in one precision, and a millisecond in the other, or that runs out of memory in it; and
    the precisions of its calls."""
    calls: list[str] = []

    def loss(network: nn.Module, batch: Tensor) -> Tensor:
        precision = "bf16" if torch.is_autocast_enabled("cpu") else "fp32"
        calls.append(precision)
        if clock is not None:
            clock.now += seconds if precision == slow else 0.001
        if fails_after is not None and precision == slow and calls.count(slow) > fails_after:
            raise torch.OutOfMemoryError("1 GiB")
        return _loss(network, batch)

    return loss, calls


def test_a_mode_whose_step_takes_too_long_is_not_measured_further(clock: Clock) -> None:
    """As bf16 where the processor has no instructions for it: hundreds of times as slow."""
    work, output = _work(), io.StringIO()
    loss, calls = _counted("bf16", 0.5, clock)
    modes = [PLAIN, Mode("bf16", False, False)]
    work = Workload(work.model, work.images, loss, 1, "slow", 1)
    timings = measure(modes, lambda mode: [], work, Console(file=output, width=200))
    assert [entry.mode for entry in timings] == [PLAIN]
    assert calls.count("bf16") == 2, "two steps of two images"
    assert "bf16 is not measured further: a step takes" in output.getvalue()


def test_a_round_ends_when_time_is_up(clock: Clock) -> None:
    """Steps of 15 s with a limit of 10 s: one round of the first mode, and no other is tried."""
    work, output = _work(), io.StringIO()
    loss, calls = _counted("fp32", 15.0, clock)
    work = Workload(work.model, work.images, loss, 1, "slow", 1)
    timings = measure([PLAIN, LAST, HALF], lambda mode: [HALF], work, Console(file=output, width=200))
    assert [(entry.mode, entry.rounds) for entry in timings] == [(PLAIN, 1)]
    assert len(calls) == 6, "two to learn the cost, two and one to warm up, one timed"
    assert output.getvalue().count("are used up") == 3


@pytest.mark.parametrize("steps", [0, 2, 3, 5])
def test_a_mode_that_runs_out_of_memory_at_any_step_is_no_candidate(steps: int) -> None:
    work = _work()
    loss, _ = _counted("bf16", fails_after=steps)
    choice = choose(HardwareSpec(unfold=False), Workload(work.model, work.images, loss, 1, "large", 1), QUIET)
    assert choice.mode.precision == "fp32"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("1 GiB"), MemoryError(), CPU_ALLOCATOR])
@pytest.mark.parametrize("accumulation", [1, 8, 16])
def test_out_of_memory_is_reported_with_what_helps(error: Exception, accumulation: int) -> None:
    recipe = Recipe.model_validate(RECIPE | {"batch_size": 32, "accumulation": accumulation})
    parts = rf"accumulation={2 * accumulation} \(the same batch in smaller parts\) or " if accumulation < 16 else ""
    advice = rf"the device cpu ran out of memory with batch_size=32\. Try {parts}a smaller batch_size\.$"
    with pytest.raises(UserError, match=advice), memory_explained(recipe, CPU):
        raise error
    with pytest.raises(RuntimeError, match="another"), memory_explained(recipe, CPU):
        raise RuntimeError("another")


def test_a_decision_is_kept_for_this_network_and_what_the_recipe_fixes() -> None:
    first = choose(HardwareSpec(), _work(), QUIET)
    assert first.timings
    second_choice = choose(HardwareSpec(), _work(), QUIET)
    assert (second_choice.mode, second_choice.timings, second_choice.remembered) == (first.mode, (), True)
    assert choose(HardwareSpec(), _work(network="another"), QUIET).timings
    assert choose(HardwareSpec(channels_last=True), _work(), QUIET).timings
    assert choose(HardwareSpec(remeasure=True), _work(), QUIET).timings
    fixed_spec = HardwareSpec(precision="fp32", channels_last=False, unfold=False)
    assert choose(fixed_spec, _work(network="fixed"), QUIET).mode == PLAIN
    assert not choose(fixed_spec, _work(network="fixed"), QUIET).remembered, "there was nothing to choose"


KEY = {"cpu": "some", "network": "small"}
MODE = Mode("bf16", channels_last=True, compiled=False, unfolded=True)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"mode": 1}', json.dumps({"key": KEY, "mode": {}}), "\x00\xff"])
def test_a_damaged_file_is_ignored(text: str, tmp_path: Path) -> None:
    decisions.write(KEY, MODE, [])
    assert decisions.read(KEY) == MODE
    file = next((tmp_path / "cache" / "modes").glob("*.json"))
    file.write_bytes(text.encode("latin-1"))
    assert decisions.read(KEY) is None
    decisions.write(KEY, MODE, [])
    assert decisions.read(KEY) == MODE


def test_a_damaged_choice_of_mode_is_ignored() -> None:
    wrong: dict[str, Any]
    for wrong in ({"precision": "fp8"}, {"unfolded": "yes"}):
        decisions.write(KEY, dataclasses.replace(MODE, **wrong), [])
        assert decisions.read(KEY) is None


def test_many_writers_and_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: decisions.write(KEY, MODE, []), range(40)))
    assert decisions.read(KEY) == MODE
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "file"))
    decisions.write(KEY, MODE, [])
    assert decisions.read(KEY) is None


def test_where_decisions_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SNELLEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "snellen"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder().name == "snellen"


@pytest.mark.parametrize("name", NAMED_MODES)
def test_a_mode_can_be_forced_on_what_the_recipe_leaves_open(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNELLEN_MODE", name)
    assert choose(HardwareSpec(), _work(), QUIET).mode == NAMED_MODES[name]
    assert choose(HardwareSpec(precision="fp32"), _work(), QUIET).mode.precision == "fp32"
    monkeypatch.setenv("SNELLEN_MODE", "fp8")
    with pytest.raises(UserError, match="not one of fp32, bf16"):
        choose(HardwareSpec(), _work(), QUIET)


def test_a_mode_written_out_leaves_nothing_to_measure() -> None:
    spec = HardwareSpec(remeasure=True, threads=1)
    for mode in NAMED_MODES.values():
        fixed_spec = mode.fixed(spec)
        assert candidates(fixed_spec, CPU) == [mode]
        assert not variants(fixed_spec, CPU, mode)
        assert (fixed_spec.threads, fixed_spec.remeasure) == (1, False)


def test_missing_devices_and_threads_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_device(HardwareSpec(device="cpu")) == CPU
    missing = f"cuda:{torch.cuda.device_count() + 3}"
    with pytest.raises(UserError, match=r"Try hardware\.device=auto"):
        find_device(HardwareSpec(device=missing))
    with pytest.raises(UserError, match=r"hardware\.threads=100000: this machine has \d+ cores"):
        prepare_process(HardwareSpec(threads=100000))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert find_device(HardwareSpec()).type != "mps", "nobody has tried it yet"
