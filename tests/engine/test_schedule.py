"""Schedules against torch's own."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from snellen.engine.schedule import ScheduleSpec, factor

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
