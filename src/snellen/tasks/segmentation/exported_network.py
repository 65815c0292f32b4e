"""A segmenter with what comes before and after it, from pixels of tiles to logits: as an ONNX graph, and in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional as F

from snellen.data.normalization import Normalization
from snellen.exporting.any_size import replace_layers
from snellen.exporting.graph import Graph, Value
from snellen.exporting.network import LOGITS, add_normalisation, assembled, network_graph
from snellen.exporting.onnx_file import INPUT, SIZE
from snellen.exporting.torch_file import DYNAMIC, Normalised, program_of
from snellen.models.segmenters.segmenter import Segmenter
from snellen.run.directory import RunDirectory
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.tasks.segmentation.tiling import ALIGN

if TYPE_CHECKING:
    from onnx import ModelProto

SCORES = "scores"


def segmenter_graph(model: Segmenter) -> ModelProto:
    """The network alone, for images whose sides are multiples of its stride."""
    return network_graph(_Main(model).eval(), torch.zeros(2, 3, *_example_size(model)), model.stride)


def with_preprocessing(network: ModelProto, stride: int, run: RunDirectory, recipe: SegmentationRecipe) -> ModelProto:
    """The network with what comes before and after it: tiles (N, H, W, 3) uint8 to scores (N, C, H, W).

    They are padded to the recipe's multiple, and at least to the height and width in the optional input SIZE: the tiles
    at the edges of a scene are padded further than small images.
    """
    from onnx import TensorProto, helper, numpy_helper

    before, after = Graph("before_"), Graph("after_")
    normalised = add_normalisation(
        before,
        before.add("Transpose", INPUT, perm=[0, 3, 1, 2]),
        Normalization.recorded(run.data["normalization"]),
    )
    views = _add_padding(before, normalised, recipe.evaluation.multiple, SIZE)
    if recipe.evaluation.flip:
        views = before.add("Concat", views, _add_mirrored(before, views), axis=0)
    images = _add_padding(before, views, stride, np.zeros(2, np.int64))
    logits = _add_cropped(after, LOGITS, views)
    if recipe.evaluation.flip:
        first, second = after.add_several(2, "Split", logits, axis=0, num_outputs=2)
        both = after.add("Add", first, _add_mirrored(after, second))
        logits = after.add("Mul", both, np.float32(0.5))
    cropped = _add_cropped(after, logits, normalised)
    after.nodes.append(helper.make_node("Identity", [cropped], [SCORES]))
    shape: list[str | int] = ["N", len(run.classes), "H", "W"]
    size = numpy_helper.from_array(np.zeros(2, np.int64), SIZE)
    return assembled(before, images, network, after, {SCORES: (int(TensorProto.FLOAT), shape)}, [size])


def segmenter_program(model: Segmenter, run: RunDirectory, recipe: SegmentationRecipe) -> ExportedProgram:
    """The same in torch: tiles (N, H, W, 3) uint8, and the height and width that they are padded to at least."""
    height, width = _example_size(model)
    examples = torch.zeros(2, height - 3, width - 5, 3, dtype=torch.uint8), height + 1, width - 1
    sides = dict.fromkeys((0, 1, 2), DYNAMIC)
    scored = _Scored(model, Normalization.recorded(run.data["normalization"]), recipe)
    return program_of(scored.eval(), examples, (sides, DYNAMIC, DYNAMIC), slices=True)


def _example_size(model: Segmenter) -> tuple[int, int]:
    side = 4 * max(model.stride, ALIGN)
    return side, side + model.stride


class _Main(nn.Module):
    """The main head: images whose sides are multiples of the stride, to logits."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self._model = model
        replace_layers(self)

    def forward(self, images: Tensor) -> Tensor:
        return self._model.heads(images)[0]


class _Scored(nn.Module):
    """As `with_preprocessing`."""

    def __init__(self, model: Segmenter, normalization: Normalization, recipe: SegmentationRecipe) -> None:
        super().__init__()
        self._main, self._normalised = _Main(model), Normalised(normalization)
        self._stride, self._multiple, self._flip = model.stride, recipe.evaluation.multiple, recipe.evaluation.flip

    def forward(self, images: Tensor, height: int, width: int) -> Tensor:
        pixels = self._normalised(images.permute(0, 3, 1, 2))
        own_height, own_width = pixels.shape[2:]
        rows = cast("int", torch.sym_max(_multiple_of(self._multiple, own_height), height))
        columns = cast("int", torch.sym_max(_multiple_of(self._multiple, own_width), width))
        views = F.pad(pixels, (0, columns - own_width, 0, rows - own_height))
        logits = self._logits(views, rows, columns)
        if self._flip:
            logits = (logits + self._logits(views.flip(-1), rows, columns).flip(-1)) * 0.5
        return logits[:, :, :own_height, :own_width].clone(memory_format=torch.contiguous_format)

    def _logits(self, views: Tensor, rows: int, columns: int) -> Tensor:
        below, beside = (_multiple_of(self._stride, side) - side for side in (rows, columns))
        logits: Tensor = self._main(F.pad(views, (0, beside, 0, below)))
        return logits[:, :, :rows, :columns]


def _multiple_of(number: int, length: int) -> int:
    """The smallest one that is at least `length`."""
    return (length + number - 1) // number * number


def _add_padding(graph: Graph, images: str, multiple: int, least: Value) -> str:
    """(N, 3, h, w) padded at the right and bottom with zeros, the mean, to multiples and at least to (2,) sides."""
    sides = graph.add("Slice", graph.add("Shape", images), np.array([2]), np.array([4]))
    beyond = graph.add("Mod", graph.add("Neg", sides), np.array([multiple]))  # with the sign of the divisor
    missing = graph.add("Sub", graph.add("Max", graph.add("Add", sides, beyond), least), sides)
    return graph.add("Pad", images, graph.add("Concat", np.zeros(6, np.int64), missing, axis=0), np.float32(0))


def _add_cropped(graph: Graph, logits: str, images: str) -> str:
    """(N, C, H, W) logits without what lies beyond the images."""
    sides = graph.add("Slice", graph.add("Shape", images), np.array([2]), np.array([4]))
    return graph.add("Slice", logits, np.array([0, 0]), sides, np.array([2, 3]))


def _add_mirrored(graph: Graph, images: str) -> str:
    """(N, C, H, W) with its columns from right to left."""
    last, before_first = np.array([-1]), np.array([np.iinfo(np.int64).min])
    return graph.add("Slice", images, last, before_first, np.array([3]), np.array([-1]))
