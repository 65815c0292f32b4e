"""Schedules against torch's own."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from snellen.engine.optimizer import set_momentum
from snellen.engine.schedule import ScheduleSpec, factor, momentum
from snellen.errors import UserError
from snellen.tasks.kinds import load_recipe

STEPS = 50


def torchs(make: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)  # type: ignore[operator]
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(STEPS):
            rates.append(optimizer.param_groups[0]["lr"])
            scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("spec", "make"),
    [
        (ScheduleSpec(name="cosine"), lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS - 1)),
        (ScheduleSpec(name="cosine", final=0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS - 1, 0.1)),
        (ScheduleSpec(name="poly", power=0.9), lambda o: lr_scheduler.PolynomialLR(o, STEPS - 1, 0.9)),
        (ScheduleSpec(name="linear", final=0.2), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, STEPS - 1)),
        (
            # torch's cycle turns at pct_start * total - 1
            ScheduleSpec(name="onecycle", warmup=0.3, start=0.04, final=0.001),
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, STEPS, pct_start=16 / STEPS, div_factor=25, final_div_factor=40),
        ),
    ],
    ids=lambda value: value.name if isinstance(value, ScheduleSpec) else "",
)
def test_torchs_schedule(spec: ScheduleSpec, make: object) -> None:
    assert [factor(spec, step, STEPS) for step in range(STEPS)] == pytest.approx(torchs(make), abs=1e-9)


@given(
    st.sampled_from(["constant", "cosine", "onecycle", "linear", "poly"]),
    st.floats(0, 0.9),
    st.floats(0, 1),
    st.integers(1, 40),
)
def test_ends_where_it_says(name: str, warmup: float, final: float, steps: int) -> None:
    spec = ScheduleSpec(name=name, warmup=warmup, final=final)  # type: ignore[arg-type]
    rates = [factor(spec, step, steps) for step in range(steps)]
    assert all(0 <= rate <= 1 for rate in rates)
    if name != "constant" and steps - round(warmup * steps) > 1:
        assert rates[-1] == pytest.approx(final)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_momentum_of_torchs_one_cycle(kind: type[torch.optim.Optimizer]) -> None:
    """Over a run, step by step, set on the optimiser as the loop sets it."""
    spec = ScheduleSpec(name="onecycle", warmup=0.3, start=0.04, final=4e-6, momentum=(0.85, 0.95))
    reference, optimizer = (kind([torch.nn.Parameter(torch.zeros(1))], lr=1.0) for _ in range(2))
    if kind is torch.optim.SGD:
        reference.param_groups[0]["momentum"] = optimizer.param_groups[0]["momentum"] = 0.9
    scheduler = lr_scheduler.OneCycleLR(
        reference, 1.0, STEPS, pct_start=16 / STEPS, div_factor=25, final_div_factor=1e4,
        base_momentum=0.85, max_momentum=0.95,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(STEPS):
            value = momentum(spec, step, STEPS)
            assert value is not None
            set_momentum(optimizer, value)
            for key in ("betas", "momentum"):
                if key in reference.defaults:
                    assert optimizer.param_groups[0][key] == pytest.approx(reference.param_groups[0][key], abs=1e-9)
            assert factor(spec, step, STEPS) == pytest.approx(reference.param_groups[0]["lr"], abs=1e-9)
            scheduler.step()


def test_momentum_that_cannot_move_is_refused() -> None:
    assert momentum(ScheduleSpec(name="onecycle"), 3, 10) is None
    with pytest.raises(ValueError, match="onecycle only"):
        ScheduleSpec(name="cosine", momentum=(0.85, 0.95))
    fields = {"schedule": {"name": "onecycle", "momentum": [0.85, 0.95]}}
    with pytest.raises(UserError, match=r"schedule\.momentum works with optimizer\.name=sgd, adam, adamw"):
        load_recipe({"optimizer": {"name": "lion"}} | fields)
