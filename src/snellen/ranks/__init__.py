"""The processes that train a run together: which of them this is, and what they exchange.

One process holds one device; all hold the same network and make different images of each batch. In a single process,
nothing is exchanged. The state is torch.distributed's own.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_control: Any = None  # a group on the CPU, for what the host needs at once; None: the default group is on the CPU


def _distributed() -> Any:
    """torch.distributed if several processes are connected, else None; torch is not imported for it."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed


def rank() -> int:
    """The number of this process, from 0."""
    distributed = _distributed()
    return 0 if distributed is None else int(distributed.get_rank())


def size() -> int:
    """How many processes there are."""
    distributed = _distributed()
    return 1 if distributed is None else int(distributed.get_world_size())


def is_first() -> bool:
    """Whether this process writes the files of the run and speaks to the user."""
    return rank() == 0


def connect_control() -> None:
    """Makes the group for `agreed` and `collected` if the default one is on another device. Called once, by all."""
    global _control
    distributed = _distributed()
    if distributed is not None and distributed.get_backend() != "gloo":
        _control = distributed.new_group(backend="gloo")


def part(count: int) -> slice:
    """Which of `count` images of a batch this process makes: consecutive ones, as many as the others, or one more."""
    quotient, rest = divmod(count, size())
    first = rank() * quotient + min(rank(), rest)
    return slice(first, first + quotient + (rank() < rest))


def total(tensor: Tensor) -> Tensor:
    """The sum over all processes; itself in a single one. Its gradient is the sum of the gradients in all processes."""
    if _distributed() is None:
        return tensor
    from snellen.ranks.differentiable import Total

    summed: Tensor = Total.apply(tensor)
    return summed


def joined(tensor: Tensor) -> Tensor:
    """The rows (N, …) of all processes, from the (n, …) of each, in their order. Gradients flow back to each.

    Its gradient is the sum of the gradients in all processes: if all compute the same loss of it and average their
    gradients, the result is the gradient of that loss.
    """
    if _distributed() is None:
        return tensor
    import torch

    from snellen.ranks.differentiable import Joined

    counts = torch.zeros(size(), dtype=torch.int64, device=tensor.device)
    counts[rank()] = len(tensor)
    lengths = total(counts).tolist()
    most = max(lengths)
    missing = most - len(tensor)
    padded = torch.cat([tensor, tensor.new_zeros(missing, *tensor.shape[1:])]) if missing else tensor
    rows: Tensor = Joined.apply(padded.contiguous())
    return torch.cat([piece[:length] for piece, length in zip(torch.split(rows, most), lengths, strict=True)])


def agreed(values: list[float]) -> list[float]:
    """The values of the first process, in all of them."""
    distributed = _distributed()
    if distributed is None:
        return values
    import torch

    sent = torch.tensor(values, dtype=torch.float64)
    distributed.broadcast(sent, 0, group=_control)
    return sent.tolist()


def collected(tensor: Tensor) -> list[torch.Tensor]:
    """The tensors of all processes, on the CPU: of the same dtype and number of axes, their sizes may differ."""
    distributed = _distributed()
    if distributed is None:
        return [tensor.cpu()]
    import torch

    mine = tensor.detach().cpu().contiguous()
    shape = torch.tensor(mine.shape, dtype=torch.int64)
    shapes = [torch.empty_like(shape) for _ in range(size())]
    distributed.all_gather(shapes, shape, group=_control)
    most = max(int(one.prod()) for one in shapes)
    flat = torch.zeros(most, dtype=mine.dtype)
    flat[: mine.numel()] = mine.flatten()
    received = [torch.empty_like(flat) for _ in range(size())]
    distributed.all_gather(received, flat, group=_control)
    return [one[: int(of.prod())].reshape(of.tolist()) for one, of in zip(received, shapes, strict=True)]


def whole(tree: Any) -> Any:
    """A nest of dictionaries and lists in which tensors of which each process holds a part are whole again."""
    if isinstance(tree, dict):
        return {key: whole(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [whole(value) for value in tree]
    return tree.full_tensor() if hasattr(tree, "full_tensor") else tree


def dealt(count: int) -> range:
    """The numbers below `count` that this process works on when they are dealt out in turn."""
    return range(rank(), count, size())


def in_order(pieces: list[Tensor]) -> Tensor:
    """The rows of all processes from batches that were dealt out in turn, one piece a batch, on the CPU.

    The first process has at least one piece; the pieces differ in their first axis only.
    """
    import torch

    if _distributed() is None:
        return torch.cat(pieces).cpu()
    axes = int(agreed([float(pieces[0].dim()) if pieces else 0.0])[0])
    shape = [int(side) for side in agreed([*map(float, pieces[0].shape[1:])] if pieces else [0.0] * (axes - 1))]
    dtype = _DTYPES[int(agreed([float(_DTYPES.index(str(pieces[0].dtype))) if pieces else 0.0])[0])]
    mine = torch.cat(pieces) if pieces else torch.empty(0, *shape, dtype=getattr(torch, dtype.removeprefix("torch.")))
    lengths = collected(torch.tensor([len(piece) for piece in pieces], dtype=torch.int64))
    queues = [iter(torch.split(rows, of.tolist())) for rows, of in zip(collected(mine), lengths, strict=True)]
    return torch.cat([next(queues[step % size()]) for step in range(sum(len(of) for of in lengths))])


_DTYPES = ("torch.float32", "torch.float64", "torch.int64", "torch.uint8", "torch.bool")
