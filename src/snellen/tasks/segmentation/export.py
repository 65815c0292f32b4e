"""A trained segmenter as an ONNX file with its preprocessing, and such a file in place of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from snellen.data.decode import UnreadableImageError
from snellen.data.in_memory import ImageInMemory
from snellen.data.listing import Source
from snellen.data.masks.classes import ClassTable
from snellen.data.masks.resize import TrainingSizes
from snellen.data.normalization import Normalization
from snellen.data.spread import spread
from snellen.errors import UserError
from snellen.exporting.agreement import MASK_IMAGES, MaskAgreement, mask_agreement
from snellen.exporting.any_size import replace_layers
from snellen.exporting.graph import Graph, Value
from snellen.exporting.network import LOGITS, add_normalisation, assembled, network_graph, with_properties
from snellen.exporting.odd_images import images_of
from snellen.exporting.onnx_file import INPUT, SIZE, OnnxFile, open_session, run_session
from snellen.exporting.publishing import licence_of, metadata_of, present, refuse_disagreement, write_file
from snellen.models.segmenters.segmenter import Segmenter
from snellen.recipe.load import validate, with_data_overrides
from snellen.recipe.text import parse_yaml
from snellen.run.directory import RunDirectory
from snellen.tasks.arithmetic import plain_arithmetic
from snellen.tasks.kind import Exported, ExportOptions, Options, Predicted
from snellen.tasks.segmentation.evaluate import EvaluatedMasks, Scorer, evaluate_with
from snellen.tasks.segmentation.inference import TiledPredictor, check_tiles, predictor_of, training_sizes
from snellen.tasks.segmentation.predict import Trained, write_masks
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.tasks.segmentation.record import load_model, recipe_of
from snellen.tasks.segmentation.tiling import ALIGN, OVERLAP, TILE
from snellen.words import first_line

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

SCORES = "scores"
_MASK_NAMES = 20  # kept, from which masks next to images are recognised
_SIZES = ((128, 128), (131, 257), (300, 410), (513, 300), (160, 700), (400, 530))  # of generated images
_SMALL_TILE = 256  # px, that generated images are cut into
_IMAGES = (
    f"{INPUT}: uint8 RGB (N, H, W, 3), upright, decoded to sRGB and resized by the caller as the recipe's "
    "evaluation says; "
    f"{SIZE} (optional): int64 (2,), height and width that they are padded to at least"
)
_PIXELS = Normalization((0.0, 0.0, 0.0), (1 / 255,) * 3, "none: pixels as they are")

Run = Callable[[NDArray[np.uint8], tuple[int, int]], NDArray[np.float32]]
"""Images (1, H, W, 3) uint8, padded to (height, width) inside, to scores (1, C, H, W)."""
Images = Sequence[Path | ImageInMemory]
_Masks = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def export(run: RunDirectory, out: Path, options: ExportOptions, console: Console) -> Exported:
    """Writes the chosen epoch's network with its preprocessing: tiles in, logits out.

    Raises UserError, and writes nothing, if it does not give the run's masks.
    """
    if options.int8:
        raise UserError(
            f"{run.path}: a segmentation run; int8 is only offered for classifiers, whose change in top-1 is measured. "
            "Export without int8."
        )
    recipe = recipe_of(run)
    with console.status("writing the network as ONNX"):
        whole = with_preprocessing(load_model(run, "best"), run, recipe)
    content = whole.SerializeToString()
    failure = f"{out}: not written, since onnxruntime cannot run {recipe.model.architecture} as exported"
    found = _compared(run, recipe, _runner(lambda threads: open_session(content, threads), failure), console)
    refuse_disagreement(out, found)
    output = (
        f"{SCORES}: float32 (N, {len(run.classes)}, H, W), logits of each pixel in the order of the classes; the "
        "largest is the predicted class"
    )
    weights = licence_of(recipe.model.weights, None)
    table = {key: value for key, value in ClassTable.recorded(run.data).as_dict().items() if key != "classes"}
    masks = list(spread(list(run.samples()["mask"]), _MASK_NAMES))
    data = table | {"training_sizes": run.data.get("training_sizes"), "masks": masks}
    metadata = metadata_of(recipe, recipe.task, run.classes, output, weights, "fp32", found, data, _IMAGES)
    write_file(out, with_properties(whole, metadata.properties()))
    return Exported(out, found)


def predict_file(file: OnnxFile, images: Images, out: Path | None, options: Options, console: Console) -> Predicted:
    """The masks that `predict` writes, with the network of a file."""
    return write_masks(trained_of_file(file), images, out, options, console)


def trained_of_file(file: OnnxFile) -> Trained:
    """What predicting needs of a file. Raises UserError if it is not one of a segmenter."""
    recipe, facts = recipe_of_file(file), _Facts.of(file)

    def predictor(tile: int, overlap: int, bits: int | None) -> TiledPredictor:
        check_tiles(tile, overlap, recipe.evaluation)
        classes = len(facts.classes)
        return _predictor(_run_of(file), classes, recipe, facts.training, tile, overlap, bits or recipe.data.bits)

    return Trained(file.path, recipe, facts.classes, facts.masks, predictor)


def evaluate_file(
    file: OnnxFile, data: Source, overrides: Mapping[str, Any] | None, console: Console
) -> EvaluatedMasks:
    """The figures of `evaluate`, with the network of a file. Raises as `evaluate`."""
    recipe = with_data_overrides(recipe_of_file(file), overrides, "evaluate")
    facts, score = _Facts.of(file), FileScoring(_run_of(file))

    def logits_of(images: Tensor, sizes: Tensor) -> Tensor:
        pixels = images.round().byte().permute(0, 2, 3, 1).numpy()
        tiles = [tile[:height, :width] for tile, (height, width) in zip(pixels, sizes.tolist(), strict=True)]
        return score(tiles, (images.shape[2], images.shape[3]))

    scorer = Scorer(logits_of, _PIXELS, torch.device("cpu"), channels_last=False, training=facts.training)
    return evaluate_with(scorer, facts.classes, None, recipe, data, console)


def recipe_of_file(file: OnnxFile) -> SegmentationRecipe:
    """The recipe in the metadata of a file. Raises UserError if it is not one of a segmenter."""
    label = f"recipe in '{file.path}'"
    return validate(SegmentationRecipe, parse_yaml(file.metadata.recipe, label), label)


class FileScoring:
    """Logits of tiles by an exported network, which pads them itself."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __call__(self, tiles: Sequence[NDArray[np.uint8]], size: tuple[int, int]) -> Tensor:
        """See inference.Scoring. Zero in the padding."""
        scores = [torch.from_numpy(self._run(np.ascontiguousarray(tile[None]), size)[0]) for tile in tiles]
        padded = torch.zeros(len(scores), scores[0].shape[0], *size)
        for canvas, part in zip(padded, scores, strict=True):
            canvas[:, : part.shape[1], : part.shape[2]] = part
        return padded


def with_preprocessing(model: Segmenter, run: RunDirectory, recipe: SegmentationRecipe) -> ModelProto:
    """The network with what comes before and after it: tiles (N, H, W, 3) uint8 to scores (N, C, H, W).

    They are padded to the recipe's multiple, and at least to the height and width in the optional input SIZE: the tiles
    at the edges of a scene are padded further than small images.
    """
    from onnx import TensorProto, helper, numpy_helper

    side = 4 * max(model.stride, ALIGN)
    network = network_graph(_Main(model).eval(), torch.zeros(2, 3, side, side + model.stride), model.stride)
    before, after = Graph("before_"), Graph("after_")
    normalised = add_normalisation(
        before,
        before.add("Transpose", INPUT, perm=[0, 3, 1, 2]),
        Normalization.recorded(run.data["normalization"]),
    )
    views = _add_padding(before, normalised, recipe.evaluation.multiple, SIZE)
    if recipe.evaluation.flip:
        views = before.add("Concat", views, _add_mirrored(before, views), axis=0)
    images = _add_padding(before, views, model.stride, np.zeros(2, np.int64))
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


class _Main(nn.Module):
    """The main head: images whose sides are multiples of the stride, to logits."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self._model = model
        replace_layers(self)

    def forward(self, images: Tensor) -> Tensor:
        return self._model.heads(images)[0]


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


def _compared(run: RunDirectory, recipe: SegmentationRecipe, file: Run, console: Console) -> MaskAgreement:
    """The masks of the run and of the file: of validation images as `predict` tiles them, of generated ones in more."""
    paths = [run.image(path) for path in run.part("validation")["path"]]
    photographs = present(paths, run.data["root"], console, MASK_IMAGES)
    odd = [ImageInMemory(number, image) for number, image in enumerate(images_of(_SIZES))]
    align = math.lcm(ALIGN, recipe.evaluation.multiple)
    small = max(_SMALL_TILE // align, 4) * align

    def pairs(images: Images, tile: int, overlap: int) -> Iterator[_Masks]:
        reference = predictor_of(run, tile, overlap, arithmetic=plain_arithmetic(run))
        training = training_sizes(run.data)
        exported = _predictor(file, len(run.classes), recipe, training, tile, overlap, recipe.data.bits)
        for image in track(images, "comparing", console=console, transient=True, disable=not console.is_terminal):
            masks = [_mask(predictor, image) for predictor in (reference, exported)]
            if masks[0] is not None and masks[1] is not None:
                yield masks[0], masks[1]

    return mask_agreement(chain(pairs(photographs, TILE, OVERLAP), pairs(odd, small, small // 4)), len(odd))


def _mask(predictor: TiledPredictor, image: Path | ImageInMemory) -> NDArray[np.uint8] | None:
    """(H, W) class numbers; None for an image that cannot be read."""
    parts = []
    for rows in predictor.predict([image]):
        if isinstance(rows, UnreadableImageError):
            return None
        parts.append(rows.labels)
    return np.concatenate(parts)


def _predictor(
    file: Run,
    classes: int,
    recipe: SegmentationRecipe,
    training: TrainingSizes | None,
    tile: int,
    overlap: int,
    bits: int | None,
) -> TiledPredictor:
    return TiledPredictor(
        FileScoring(file),
        classes,
        torch.device("cpu"),
        tile=tile,
        overlap=overlap,
        transform=recipe.evaluation,
        training=training,
        bits=bits,
    )


def _run_of(file: OnnxFile) -> Run:
    return _runner(file.session, f"{file.path}: onnxruntime cannot run it")


def _runner(open_with: Callable[[int], InferenceSession], failure: str) -> Run:
    """A session that uses the threads that torch would. failure: the start of the message if onnxruntime fails."""

    @contextmanager
    def explained() -> Iterator[None]:
        try:
            yield
        except Exception as error:  # onnxruntime has an exception type for each of its failures
            raise UserError(f"{failure} ({first_line(error)}).") from error

    with explained():
        session = open_with(torch.get_num_threads())

    def run(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
        with explained():
            return run_session(session, images, size)

    return run


@dataclass(frozen=True)
class _Facts:
    """What a file keeps of its run's data. masks: paths of some that it was trained with."""

    classes: ClassTable
    training: TrainingSizes | None
    masks: list[str]

    @classmethod
    def of(cls, file: OnnxFile) -> _Facts:
        data = file.metadata.data
        try:
            table = ClassTable.recorded({**data, "classes": file.metadata.classes})
            return cls(table, training_sizes(data), [str(name) for name in data["masks"]])
        except (UserError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{file.path}: its metadata snellen.data is damaged. Export the run again.") from error
