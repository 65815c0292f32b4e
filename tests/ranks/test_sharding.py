"""Each process holds a part of a network, and together they hold all of it."""

from __future__ import annotations

import copy

import torch
from tests.ranks.processes import in_processes
from torch import Tensor, nn

from snellen import ranks
from snellen.engine.sharding import gathered, is_sharded, shard


def _network() -> tuple[nn.Module, torch.optim.Optimizer]:
    """A small network after one step, so that the optimiser has a state."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(5, 40), nn.Sequential(nn.Linear(40, 41), nn.ReLU(), nn.LayerNorm(41)), nn.Linear(41, 3)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(7, 5)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    return model, optimizer


def _sharded(x: Tensor) -> tuple[float, dict[str, Tensor], dict[str, object], Tensor]:
    model, optimizer = _network()
    everything = sum(weight.numel() for weight in model.parameters())
    shard(model, optimizer, None)
    held = sum(weight.to_local().numel() for weight in model.parameters())  # type: ignore[attr-defined]
    with torch.no_grad(), gathered(model):
        for _ in range(ranks.rank() + 1):  # as often as a process likes
            out = model(x)
    return held / everything, ranks.whole(model.state_dict()), ranks.whole(optimizer.state_dict()), out


def test_parts_are_the_whole_network() -> None:
    model, optimizer = _network()
    x = torch.randn(4, 5)
    results = in_processes(_sharded, 2, x)
    assert sum(share for share, *_ in results) == 1
    assert max(share for share, *_ in results) < 0.55
    for _, weights, state, out in results:
        assert all(weights[name].equal(weight) for name, weight in model.state_dict().items())
        moments = optimizer.state_dict()["state"]
        assert all(state["state"][row][name].equal(moments[row][name]) for row in moments for name in moments[row])
        torch.testing.assert_close(out, model(x).detach())


def test_a_network_of_one_process_is_whole() -> None:
    model, _ = _network()
    before = copy.deepcopy(model.state_dict())
    with gathered(model):
        assert not is_sharded(model)
    assert all(model.state_dict()[name].equal(before[name]) for name in before)
