"""A network of which each process holds a part (FSDP2): weights, gradients, the optimiser's state and the average.

The parts are changed in place, so whoever holds the network or the optimiser holds the parts from then on.
Source: Zhao et al. 2023, "PyTorch FSDP", arXiv 2304.11277; torch.distributed.fsdp.fully_shard.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from snellen import ranks

if TYPE_CHECKING:
    from timm.utils import ModelEmaV3

_LEAST = 1 / 32  # of a network's weights in a block that is gathered by itself; smaller ones cost more than they save


def shard(model: nn.Module, optimizer: Optimizer, ema: ModelEmaV3 | None) -> None:
    """Leaves in each of the connected processes its part of all of them. Called once, by all, with equal contents."""
    # What segmenters return is a view, which nobody changes.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    before = dict(model.named_parameters())
    _shard_weights(model)
    after = dict(model.named_parameters())
    part_of = {whole: after[name] for name, whole in before.items()}
    for group in optimizer.param_groups:
        group["params"] = [part_of[whole] for whole in group["params"]]
        group["fused"] = False  # torch has no fused SGD for parts
    states = dict(optimizer.state)
    optimizer.state.clear()
    for whole, state in states.items():
        part = part_of[cast("nn.Parameter", whole)]
        optimizer.state[part] = {name: _like(value, part) for name, value in state.items()}
    if ema is not None:
        _shard_weights(ema.module)
        ema.foreach = False  # the average of a network that is partly parts is taken tensor by tensor


def is_sharded(model: nn.Module) -> bool:
    """Whether each process holds a part of the network only."""
    if ranks.size() == 1:
        return False
    from torch.distributed.fsdp import FSDPModule

    return isinstance(model, FSDPModule)


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """All weights in each process while entered, by all: it then uses the network without waiting for the others."""
    if not is_sharded(model):
        yield
        return
    from torch.distributed.fsdp import FSDPModule

    units = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    yield
    for unit in units:
        unit.set_reshard_after_forward(unit is not model, recurse=False)
        unit.reshard()


@contextmanager
def unsynchronised(model: nn.Module) -> Iterator[None]:
    """Gradients are added up in each process while entered."""
    from torch.distributed.fsdp import FSDPModule

    assert isinstance(model, FSDPModule)
    model.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        model.set_requires_gradient_sync(True)


def _shard_weights(model: nn.Module) -> None:
    """Blocks of the network (elements of a sequence) are gathered one at a time, what lies between with the whole."""
    from torch.distributed.fsdp import fully_shard

    for block in _blocks(model, _LEAST * _size(model)):
        fully_shard(block)
    fully_shard(model, reshard_after_forward=False)


def _blocks(module: nn.Module, least: float) -> list[nn.Module]:
    """The smallest blocks inside `module` with at least so many weights. A list of modules is none: nobody calls it."""
    blocks = []
    for child in module.children():
        inside = _blocks(child, least)
        is_block = isinstance(module, nn.Sequential | nn.ModuleList) and not isinstance(child, nn.ModuleList)
        if is_block and not inside and _size(child) >= least:
            inside = [child]
        blocks += inside
    return blocks


def _size(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _like(value: Any, part: nn.Parameter) -> Any:
    """A tensor of the optimiser's state, distributed as the weight it belongs to; other values as they are."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(part, DTensor)
    if isinstance(value, Tensor) and value.dim() and value.shape == part.shape:
        return distribute_tensor(value, part.device_mesh, part.placements)
    return value
