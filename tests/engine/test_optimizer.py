"""Which parameters are trained, with which rate and decay; and the optimisers by name."""

from __future__ import annotations

import pytest
import torch

from snellen.engine.optimizer import build_optimizer
from snellen.engine.spec import OptimizerSpec
from snellen.errors import UserError
from snellen.models.classifier import Classifier, build_classifier
from snellen.models.spec import ModelSpec


def network(**fields: object) -> Classifier:
    return build_classifier(ModelSpec(backbone="airnet", width=0.125, **fields), 3, 16, 0)[0]  # type: ignore[arg-type]


def test_groups() -> None:
    model = network()
    spec = OptimizerSpec(name="sgd", decay_vectors=False, backbone_rate=0.5, bias_rate=64)
    optimizer = build_optimizer(spec, model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    settings = {
        names[id(parameter)]: (group["scale"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert settings["backbone.blocks.0.conv1.weight"] == (0.5, spec.weight_decay)
    assert settings["backbone.blocks.0.norm1.bias"] == (0.5 * 64, 0)
    assert settings["head.1.weight"] == (1, spec.weight_decay)
    assert settings["head.1.bias"] == (1, 0)
    assert "backbone.whitening.weight" not in settings


def test_frozen_backbone_is_not_trained() -> None:
    optimizer = build_optimizer(OptimizerSpec(), network(freeze=True))
    assert sum(p.numel() for group in optimizer.param_groups for p in group["params"]) == 32 * 3 + 3


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lars", "lion", "lamb"])
def test_named_optimisers_learn(name: str) -> None:
    torch.manual_seed(0)
    model = network()
    optimizer = build_optimizer(OptimizerSpec(name=name, lr=0.003), model)
    images, target = torch.randn(12, 3, 16, 16), torch.arange(12) % 3
    losses = []
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(model(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'adamw'"):
        build_optimizer(OptimizerSpec(name="adamww"), network())


def test_second_order_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="adahessian: it needs second derivatives"):
        build_optimizer(OptimizerSpec(name="adahessian"), network())
