"""The methods against independent computations, in float64, and against lightly's own."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.utils import update_momentum
from pydantic import TypeAdapter
from torch import Tensor, nn

from snellen.tasks.pretraining.methods.build import build_method
from snellen.tasks.pretraining.methods.byol import Byol, target_momentum
from snellen.tasks.pretraining.methods.method import Method, projection_deviation
from snellen.tasks.pretraining.methods.moco import Moco
from snellen.tasks.pretraining.methods.spec import AnyMethodSpec, ByolSpec

SMALL: dict[str, dict[str, Any]] = {
    "byol": {"hidden": 16, "output": 8},
    "simclr": {"hidden": 16, "output": 8},
    "simsiam": {"hidden": 16, "output": 8, "bottleneck": 4},
    "moco": {"hidden": 16, "output": 8, "queue": 32},
    "barlow_twins": {"hidden": 16, "output": 8},
    "vicreg": {"hidden": 16, "output": 8},
    "dino": {"hidden": 16, "bottleneck": 4, "output": 8},
}


def small_backbone() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def build(name: str, **fields: Any) -> Method:
    torch.manual_seed(0)
    spec = TypeAdapter(AnyMethodSpec).validate_python({"name": name} | SMALL[name] | fields)
    return build_method(spec, small_backbone(), 6).train()


def two_views(count: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    first = torch.randn(count, 3, 8, 8, generator=generator)
    return first, first + 0.5 * torch.randn(first.shape, generator=generator)


def by_hand(method: Byol, first: Tensor, second: Tensor) -> np.float64:
    """BYOL's loss from its own formula, in numpy and float64, layer by layer for the heads."""

    def head(layers: nn.Sequential, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        linear, norm, _, last = layers
        x = x @ linear.weight.detach().numpy().T.astype(float) + (
            0 if linear.bias is None else linear.bias.detach().numpy()
        )
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + norm.eps)
        x = x * norm.weight.detach().numpy() + norm.bias.detach().numpy()
        return np.maximum(x, 0) @ last.weight.detach().numpy().T.astype(float) + last.bias.detach().numpy()

    def distance(p: np.ndarray[Any, Any], z: np.ndarray[Any, Any]) -> np.float64:
        p, z = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (p, z))
        return np.float64(((p - z) ** 2).sum(1).mean())

    features = [copy.deepcopy(method.backbone).double()(v.double()).detach().numpy() for v in (first, second)]
    projected = [head(method.projector.layers, f) for f in features]  # at the start, the target is the online network
    predicted = [head(method.predictor.layers, z) for z in projected]
    return distance(predicted[0], projected[1]) + distance(predicted[1], projected[0])


def test_byol_is_the_squared_distance_of_its_definition() -> None:
    method = build("byol")
    assert isinstance(method, Byol)
    views = two_views()
    loss, projections = method(*views)
    assert loss.item() == pytest.approx(by_hand(method, *views), rel=1e-5)
    assert projections.shape == (24, 8)
    assert not projections.requires_grad


def test_byol_against_lightlys_example() -> None:
    """Loss, gradients and moving average as in lightly's BYOL, whose loss is a quarter of ours, less a constant."""
    method = build("byol", momentum=0.9)
    assert isinstance(method, Byol)
    first, second = two_views()
    reference = copy.deepcopy(method)
    criterion = NegativeCosineSimilarity()
    online = nn.Sequential(reference.backbone, reference.projector, reference.predictor)
    target = nn.Sequential(reference.target_backbone, reference.target_projector)
    with torch.no_grad():
        targets = target(first), target(second)
    loss = 0.5 * (criterion(online(first), targets[1]) + criterion(online(second), targets[0]))
    loss.backward()
    actual, _ = method(first, second)
    actual.backward()
    assert actual.item() == pytest.approx(4 + 4 * loss.item(), rel=1e-5)
    for (name, parameter), reference_parameter in zip(method.named_parameters(), reference.parameters(), strict=True):
        if name.startswith("target"):
            assert parameter.grad is None
            continue
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, 4 * reference_parameter.grad, rtol=1e-4, atol=1e-6)

    for network in (method, reference):
        torch.optim.SGD(network.parameters(), lr=0.1 if network is reference else 0.025).step()
    update_momentum(reference.backbone, reference.target_backbone, m=0.9)
    update_momentum(reference.projector, reference.target_projector, m=0.9)
    method.after_step(1, 10)
    for parameter, reference_parameter in zip(method.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter, reference_parameter, rtol=1e-4, atol=1e-6)


def test_momentum_rises_to_one() -> None:
    spec = ByolSpec(momentum=0.96, momentum_schedule="cosine")
    values = [target_momentum(spec, step, 100) for step in (0, 50, 100)]
    assert values == pytest.approx([0.96, 0.98, 1.0])  # half way, the cosine is 0
    assert target_momentum(ByolSpec(momentum=0.96), 70, 100) == 0.96


@pytest.mark.parametrize("name", SMALL)
def test_every_method_learns_two_views(name: str) -> None:
    """A few steps on one batch lower the loss; what must not be trained by gradient is not."""
    method = build(name)
    views = two_views()
    frozen = {n for n, p in method.named_parameters() if not p.requires_grad}
    before = {n: p.clone() for n, p in method.named_parameters()}
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for step in range(1, 31):
        loss, projections = method(*views)
        assert 0 <= projection_deviation(projections) <= 1
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step == 1:
            assert all(torch.equal(before[n], p) for n, p in method.named_parameters() if n in frozen)
        method.after_step(step, 30)
    if name != "moco":  # one batch again and again: its own images fill the queue
        assert min(losses[-5:]) < losses[0]


def test_moco_distinguishes_views_from_the_queue() -> None:
    """InfoNCE of its definition, against the queue as it was; then the keys have taken the oldest places."""
    method = build("moco", temperature=0.3)
    assert isinstance(method, Moco)
    queue = method.loss.memory_bank.bank.clone()  # (32, 8)
    query, key = (nn.functional.normalize(method.projector(method.backbone(view)), dim=1) for view in two_views())
    logits = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], 1) / 0.3
    loss, _ = method(*two_views())
    assert loss.item() == pytest.approx(-logits.log_softmax(1)[:, 0].mean().item(), rel=1e-4)
    torch.testing.assert_close(method.loss.memory_bank.bank[:12], key.detach(), rtol=1e-4, atol=1e-5)
    assert method.loss.memory_bank.bank[12:].equal(queue[12:])


@pytest.mark.parametrize("name", ["byol", "simsiam", "simclr"])
def test_one_pass_for_both_views_differs_by_batch_norm_alone(name: str) -> None:
    views = two_views()
    losses = []
    for is_joint in (False, True):
        method = build(name, views_together=is_joint)
        for module in method.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        losses.append(method(*views)[0].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_deviation_of_projections() -> None:
    assert projection_deviation(torch.ones(10, 4)).item() == pytest.approx(0, abs=1e-3)
    assert projection_deviation(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item() == pytest.approx(1)
    assert projection_deviation(torch.tensor([[2.0, 0.0], [0.0, 3.0]])).item() == pytest.approx(np.sqrt(0.5))
