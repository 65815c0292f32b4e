"""What processes exchange equals what one process computes of all images."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.ranks.processes import in_processes
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from snellen import ranks
from snellen.models.synced_norm import synchronise_norms


def test_a_single_process_exchanges_nothing() -> None:
    tensor = torch.arange(3.0)
    assert (ranks.rank(), ranks.size(), ranks.is_first()) == (0, 1, True)
    assert ranks.part(7) == slice(0, 7)
    assert ranks.joined(tensor) is tensor
    assert ranks.total(tensor) is tensor
    assert ranks.agreed([1.0]) == [1.0]


def _parts(count: int) -> list[int]:
    mine = ranks.part(count)
    return [mine.start, mine.stop]


@pytest.mark.parametrize("count", [0, 1, 2, 7, 128])
def test_parts_are_all_images_once(count: int) -> None:
    parts = in_processes(_parts, 3, count)
    assert [stop for _, stop in parts[:-1]] == [start for start, _ in parts[1:]]
    assert (parts[0][0], parts[-1][1]) == (0, count)
    lengths = [stop - start for start, stop in parts]
    assert max(lengths) - min(lengths) <= 1


def _contrast(rows: Tensor) -> Tensor:
    """A loss of each row against all others."""
    return (rows @ rows.T).logsumexp(1).mean()


def _gradient_of_joined(rows: Tensor) -> Tensor:
    mine = rows[ranks.part(len(rows))].clone().requires_grad_()
    _contrast(ranks.joined(mine)).backward()
    assert mine.grad is not None
    return mine.grad / ranks.size()  # as data-parallel training averages


def test_the_gradient_of_joined_rows_is_that_of_one_process() -> None:
    rows = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    alone = rows.clone().requires_grad_()
    _contrast(alone).backward()
    assert alone.grad is not None
    torch.testing.assert_close(torch.cat(in_processes(_gradient_of_joined, 3, rows)), alone.grad)


def _collect(rows: Tensor) -> list[Tensor]:
    return ranks.collected(rows[ranks.part(len(rows))])


def test_tensors_of_different_lengths_are_collected() -> None:
    rows = torch.arange(14).reshape(7, 2)
    for collected in in_processes(_collect, 3, rows):
        assert torch.cat(collected).equal(rows)


def _agree() -> list[float]:
    return ranks.agreed([ranks.rank() + 1.0, 5.0])


def test_the_first_decides() -> None:
    assert in_processes(_agree, 2) == [[1.0, 5.0]] * 2


NETWORKS = {
    "two axes": nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU()),
    "images": nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, momentum=0.4), nn.ReLU()),
    "no affine, mean of all": nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, affine=False, momentum=None)),
    "timm's, with its activation": nn.Sequential(nn.Conv2d(3, 5, 3), BatchNormAct2d(5)),
}


def _trained(model: nn.Module, x: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Gradients and buffers after a pass on this process's part of a batch, and the outputs in evaluation."""
    model = copy.deepcopy(model)
    synchronise_norms(model)
    mine = ranks.part(len(x))
    (model(x[mine]) * weight[mine]).sum().backward()
    out = {name: ranks.total(p.grad) for name, p in model.named_parameters() if p.grad is not None}
    out |= {name: buffer.clone() for name, buffer in model.named_buffers()}
    return out | {"scored": model.eval()(x).detach()}


@pytest.mark.parametrize("name", NETWORKS)
def test_batch_norm_over_processes_is_that_over_the_batch(name: str) -> None:
    torch.manual_seed(0)
    model = NETWORKS[name]
    x = torch.randn(7, 3) if name == "two axes" else torch.randn(7, 3, 6, 6)
    whole = copy.deepcopy(model)
    out = whole(x)
    weight = torch.randn_like(out)
    (out * weight).sum().backward()
    expected = {name: p.grad for name, p in whole.named_parameters()} | dict(whole.named_buffers())
    for result in in_processes(_trained, 3, model, x, weight):
        torch.testing.assert_close(result.pop("scored"), whole.eval()(x).detach(), atol=1e-5, rtol=1e-4)
        for key in expected:
            # The gradient of a bias before batch-norm is zero but for rounding.
            torch.testing.assert_close(result[key], expected[key], atol=1e-4, rtol=1e-4)
