"""A network with its preprocessing as a file of torch.export, which needs torch alone to run."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional as F

from snellen.data.augment.framing import MOST_RESIZED, filter_weights
from snellen.data.augment.spec import EvaluationTransformSpec
from snellen.data.normalization import Normalization
from snellen.errors import UserError
from snellen.exporting.network import quietly
from snellen.words import why_failed

SUFFIX = ".pt2"
DYNAMIC = torch.export.Dim.DYNAMIC


def program_of(
    module: nn.Module, examples: tuple[Any, ...], dynamic_shapes: tuple[Any, ...], *, slices: bool = False
) -> ExportedProgram:
    """A module, on the CPU and in evaluation mode, for any sizes. Raises UserError if torch cannot translate it.

    examples: of its arguments, with no side that is 0 or 1. dynamic_shapes: as torch.export takes them. slices: whether
    it cuts parts of unknown sizes, which torch.export would else refuse to run where they happen to be contiguous.
    """
    config: Any = torch.fx.experimental._config
    try:
        with quietly(), torch.no_grad(), config.patch(backed_size_oblivious=slices):
            program = torch.export.export(module, examples, dynamic_shapes=dynamic_shapes)
    except Exception as error:  # the exporter raises what its parts raise
        raise UserError(f"this network cannot be written by torch.export: {why_failed(error)}") from error
    _without_traces(program.graph_module)
    return program


def program_bytes(program: ExportedProgram, properties: Mapping[str, str]) -> bytes:
    """The content of the file: the program with its metadata, as extra files."""
    content = io.BytesIO()
    with quietly():
        torch.export.save(program, content, extra_files=dict(properties))
    return content.getvalue()


def running(program: ExportedProgram) -> Callable[..., NDArray[np.float32]]:
    """What the file computes, written and loaded again: images (N, H, W, 3) uint8 and further arguments to an array."""
    with quietly():
        module = torch.export.load(io.BytesIO(program_bytes(program, {}))).module()

    def run(images: NDArray[np.uint8], *arguments: int) -> NDArray[np.float32]:
        with torch.inference_mode():
            result: NDArray[np.float32] = module(torch.from_numpy(images), *arguments).numpy()
        return result

    return run


def _without_traces(graph_module: torch.fx.GraphModule) -> None:
    """Removes what the exporter notes on each node: lines of source with their paths on this machine."""
    for module in graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)


class Views(nn.Module):
    """Images (N, H, W, 3) uint8 of any size to (N, 3, S, S) uint8: the same as `evaluation_view` of each."""

    def __init__(self, spec: EvaluationTransformSpec) -> None:
        super().__init__()
        self._spec = spec

    def forward(self, images: Tensor) -> Tensor:
        spec, pixels = self._spec, images.permute(0, 3, 1, 2)
        size, mode = spec.size, spec.interpolation
        if spec.squash:
            return F.interpolate(pixels, size=(size, size), mode=mode, antialias=True)
        height, width = pixels.shape[2:]
        target, shorter = spec.resize or size, cast("int", torch.sym_min(height, width))
        rows, columns = height * target // shorter, width * target // shorter
        top, left = _corner(rows, size), _corner(columns, size)

        def whole(pixels: Tensor) -> Tensor:
            resized = F.interpolate(pixels, size=(rows, columns), mode=mode, antialias=True)
            lines = torch.arange(size)  # a slice of all lines would be refused when the file is run
            view = resized.index_select(2, lines + top).index_select(3, lines + left)
            return view.clone(memory_format=torch.contiguous_format)

        def strip(pixels: Tensor) -> Tensor:  # as `resized_by_matrices`
            across = _weights(left, width, columns, size, mode)
            narrow = (pixels.float() @ across.T).round().clamp(0, 255)
            view = (_weights(top, height, rows, size, mode) @ narrow).round().clamp(0, 255).byte()
            return view.clone(memory_format=torch.contiguous_format)

        is_strip = rows * columns > max(MOST_RESIZED, 8 * size**2)
        view: Tensor = torch.cond(is_strip, strip, whole, (pixels,))
        return view


def _corner(length: int, size: int) -> int:
    """The first line of the centre, half to even, as torch rounds."""
    half, odd = (length - size) // 2, (length - size) % 2
    return half + odd * (half % 2)


def _weights(first: int, length: int, scaled: int, size: int, interpolation: str) -> Tensor:
    """(size, length) share of each source line in each line of the view."""
    lines, one = (torch.arange(size) + first)[None], torch.ones(1, dtype=torch.int64)
    inside = torch.ones_like(lines, dtype=torch.bool)
    return filter_weights(lines, inside, 0 * one, one * length, one * scaled, length, interpolation)[0]


class Normalised(nn.Module):
    """(…, 3, h, w) uint8 pixels as a network takes them, by the arithmetic of `Normalizer`: float32."""

    def __init__(self, normalization: Normalization) -> None:
        super().__init__()
        self.factor: Tensor
        self.offset: Tensor
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (normalization.mean, normalization.std))
        self.register_buffer("factor", 1 / (255 * std))
        self.register_buffer("offset", mean / std)

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.float() * self.factor - self.offset
