"""Optimisers by name, and the learning rate and weight decay of each parameter."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from snellen.engine.spec import OptimizerSpec
from snellen.errors import UserError
from snellen.words import did_you_mean

_SECOND_ORDER = ("adahessian",)


def build_optimizer(spec: OptimizerSpec, model: nn.Module) -> Optimizer:
    """The optimiser of the trainable parameters.

    Each group has `scale`, its rate as a factor of the recipe's. Raises UserError for an unknown name.
    """
    groups = _groups(spec, model)
    # Fused: one pass over the weights instead of many, on the CPU too.
    options: dict[str, Any] = {"lr": spec.lr, "weight_decay": spec.weight_decay, "fused": True}
    if spec.name == "sgd":
        return SGD(groups, momentum=spec.momentum, nesterov=spec.nesterov and spec.momentum > 0, **options)
    if spec.name in {"adam", "adamw"}:
        optimizer_type = Adam if spec.name == "adam" else AdamW
        return optimizer_type(groups, betas=spec.betas, eps=spec.eps, **options)
    return _timm_optimizer(spec, groups)


def set_momentum(optimizer: Optimizer, value: float) -> None:
    """Sets the momentum of sgd, or the first beta of adam and adamw."""
    for group in optimizer.param_groups:
        if "betas" in group:
            group["betas"] = (value, group["betas"][1])
        else:
            group["momentum"] = value


def _timm_optimizer(spec: OptimizerSpec, groups: list[dict[str, Any]]) -> Optimizer:
    import timm.optim

    known = sorted({"sgd", "adam", "adamw", *map(str, timm.optim.list_optimizers())})
    if spec.name not in known:
        hint = did_you_mean(spec.name, known) or f" Known: {', '.join(known)}."
        raise UserError(f"optimizer.name={spec.name}: no such optimiser.{hint}")
    if spec.name in _SECOND_ORDER:
        raise UserError(
            f"optimizer.name={spec.name}: it needs second derivatives, which are not computed here. Use adamw or "
            "another first-order optimiser."
        )
    options: dict[str, Any] = {"lr": spec.lr, "weight_decay": spec.weight_decay}
    if "sgd" in spec.name or spec.name.startswith(("lars", "nlars")):
        options["momentum"] = spec.momentum
    try:
        optimizer: Optimizer = timm.optim.create_optimizer_v2(groups, opt=spec.name, **options)
    except (ImportError, AssertionError, TypeError, ValueError) as error:
        raise UserError(f"optimizer.name={spec.name}: timm cannot build it here ({error}).") from error
    return optimizer


def _groups(spec: OptimizerSpec, model: nn.Module) -> list[dict[str, Any]]:
    """Parameters by (decayed or not, rate), in the order of the model."""
    norm_biases = {
        id(module.bias)
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.bias is not None
    }
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decayed = spec.decay_vectors or parameter.ndim > 1
        scale = spec.backbone_rate if name.startswith("backbone.") else 1.0
        if id(parameter) in norm_biases:
            scale *= spec.bias_rate
        groups.setdefault((decayed, scale), []).append(parameter)
    if not groups:
        raise UserError("model.freeze: nothing is left to train.")
    return [
        {"params": parameters, "scale": scale, "weight_decay": spec.weight_decay if decayed else 0.0}
        for (decayed, scale), parameters in groups.items()
    ]
