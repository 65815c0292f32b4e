"""The layer of a backbone whose features still have positions, and how these lie on the image."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SIDES = (5, 3, 2)  # the deepest layer with 5 x 5 positions or more; a network of small images may have fewer


@dataclass(frozen=True)
class PositionLayer:
    """A layer of a backbone. name: as in `named_modules`. side: its grid has side x side positions.

    leading: tokens before those of the positions, such as a class token. first, pitch: the centre of the first position
    and the distance to the next, in pixels of the image, from the centre of its first pixel, for rows and columns; if
    padding were the same on both sides.
    """

    name: str
    side: int
    leading: int
    first: float
    pitch: float

    def as_grid(self, features: Tensor) -> Tensor:
        """(B, D, side, side) view of the layer's output, or of its gradient."""
        grid = _as_grid(features, self.leading)
        assert grid is not None
        return grid

    def centres(self, positions: Tensor) -> Tensor:
        """(B, 2) row and column in pixels of the centres of positions, (B,) counted row by row."""
        return self.first + self.pitch * torch.stack([positions // self.side, positions % self.side], dim=1)

    def on_image(self, maps: Tensor, shifts: Tensor, size: int) -> Tensor:
        """(B, size, size) from values at each position, (B, side, side): bilinear between the positions' centres.

        Beyond the outer centres their values are repeated, less 1% per pitch: a maximum is at a centre. shifts: (B, 2)
        pixels down and to the right.
        """
        pixels = torch.arange(size, device=maps.device)
        indices = (pixels - self.first - shifts[:, :, None]) / self.pitch  # (B, 2, size)
        inside = indices.clamp(0, self.side - 1)
        kept_rows, kept_columns = (1 - 0.01 * (indices - inside).abs()).unbind(1)
        rows, columns = (2 * inside / (self.side - 1) - 1).unbind(1)  # as grid_sample counts
        shape = (len(maps), size, size)
        grid = torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], dim=3)
        resized = F.grid_sample(maps[:, None].float(), grid.float(), padding_mode="border", align_corners=True)[:, 0]
        return (resized * kept_rows[:, :, None] * kept_columns[:, None, :]).float()


def find_position_layer(backbone: nn.Module, size: int) -> PositionLayer | None:
    """The deepest layer through which all that the features take from the image passes, position by position.

    backbone: images (B, 3, size, size) to pooled features (B, D). Runs it on one random image a few times; it is not
    changed. A layer counts if nothing bypasses it, if it is a block or an activation (the output of a convolution, a
    projection or a normalisation has no meaningful zero), and if the features depend on several of its positions: in a
    transformer that reads its class token, that excludes the last block. None if there is no such layer.
    """
    network = copy.deepcopy(backbone).eval().requires_grad_(False)
    leading = _leading_tokens(backbone)
    device = next(backbone.parameters()).device
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    sides = _sides(network, image, leading)
    for fewest in _SIDES:
        for name, side in reversed(sides.items()):
            if side < fewest or _is_projection(network.get_submodule(name)):
                continue
            layer = PositionLayer(name, side, leading, *_even(size, side))
            if not _is_bypassed(network, name, image) and _positions_used(network, layer, image) > 1:
                return layer
    return None


def _leading_tokens(backbone: nn.Module) -> int:
    """Tokens before those of the positions, in timm's and in torchvision's transformers."""
    return int(getattr(backbone, "num_prefix_tokens", hasattr(backbone, "class_token")))


def _as_grid(features: Tensor, leading: int) -> Tensor | None:
    """(B, D, h, h) from (B, D, h, h), (B, h, h, D) or (B, leading + h², D), or (B, h², D); None for anything else."""
    if features.ndim == 4:
        _, first, second, third = features.shape
        return features if second == third else features.permute(0, 3, 1, 2) if first == second else None
    if features.ndim != 3:
        return None
    for before in (leading, 0):  # some transformers add the class token after their last block with positions
        side = math.isqrt(max(0, features.shape[1] - before))
        if side * side == features.shape[1] - before:
            return features[:, before:].transpose(1, 2).reshape(len(features), features.shape[2], side, side)
    return None


def _sides(network: nn.Module, image: Tensor, leading: int) -> dict[str, int]:
    """The layers that are called once and return a grid, in the order in which they return, with its side."""
    calls: Counter[str] = Counter()
    sides: dict[str, int] = {}

    def note(name: str, output: object) -> None:
        calls[name] += 1
        grid = _as_grid(output, leading) if isinstance(output, Tensor) and len(output) == 1 else None
        if grid is not None:
            sides[name] = grid.shape[-1]

    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: note(name, output))
        for name, module in network.named_modules()
        if name
    ]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for handle in handles:
            handle.remove()
    return {name: side for name, side in sides.items() if calls[name] == 1}


def _is_projection(module: nn.Module) -> bool:
    return next(module.children(), None) is None and next(module.parameters(), None) is not None


def _is_bypassed(network: nn.Module, name: str, image: Tensor) -> bool:
    """Whether the features depend on the image also by another way than through the layer."""
    with _hooked(network, name, lambda output: output.detach()):
        return _features(network, image).requires_grad


def _positions_used(network: nn.Module, layer: PositionLayer, image: Tensor) -> int:
    """The number of the layer's positions that the features depend on."""
    outputs: list[Tensor] = []
    with _hooked(network, layer.name, outputs.append):
        features = _features(network, image)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1)).to(features)
    (gradient,) = torch.autograd.grad((features * weights).sum(), outputs[0])
    return int(layer.as_grid(gradient).abs().sum(1).count_nonzero())


def _even(size: int, side: int) -> tuple[float, float]:
    """The centre of the first position and their distance, for positions in the middle of the image.

    If they do not divide the image evenly, pooling has left out its border, or padding has extended it: then the
    distance is a power of two.
    """
    pitch = size / side if size % side == 0 else 2.0 ** round(math.log2(size / side))
    return (size - 1) / 2 - pitch * (side - 1) / 2, pitch


def _features(network: nn.Module, image: Tensor) -> Tensor:
    with torch.enable_grad():
        features: Tensor = network(image.detach().requires_grad_())
    return features


@contextmanager
def _hooked(network: nn.Module, name: str, change: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Passes the output of a layer to `change`, and on what that returns, if anything."""
    handle = network.get_submodule(name).register_forward_hook(lambda _, __, output: change(output))
    try:
        yield
    finally:
        handle.remove()
