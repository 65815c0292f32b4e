"""A trained segmenter as a file with its preprocessing, and such a file in place of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from snellen.data.decode import UnreadableImageError
from snellen.data.in_memory import ImageInMemory
from snellen.data.listing import Source
from snellen.data.masks.classes import ClassTable
from snellen.data.masks.resize import TrainingSizes
from snellen.data.normalization import Normalization
from snellen.data.spread import spread
from snellen.errors import UserError
from snellen.exporting.agreement import MASK_IMAGES, MaskAgreement, mask_agreement
from snellen.exporting.network import with_properties
from snellen.exporting.odd_images import images_of
from snellen.exporting.onnx_file import INPUT, SIZE, OnnxFile, open_session, run_session
from snellen.exporting.publishing import (
    check_room,
    licence_of,
    metadata_of,
    present,
    refuse_disagreement,
    write_file,
)
from snellen.exporting.quantization import Int8Change, quantized, refuse_loss
from snellen.exporting.torch_file import program_bytes, running
from snellen.recipe.load import validate, with_data_overrides
from snellen.recipe.text import parse_yaml
from snellen.run.directory import RunDirectory
from snellen.tasks.arithmetic import plain_arithmetic
from snellen.tasks.kind import Exported, ExportOptions, Options, Predicted
from snellen.tasks.segmentation import int8
from snellen.tasks.segmentation.evaluate import EvaluatedMasks, Scorer, evaluate_with
from snellen.tasks.segmentation.exported_network import SCORES, segmenter_graph, segmenter_program, with_preprocessing
from snellen.tasks.segmentation.inference import TiledPredictor, check_tiles, predictor_of, training_sizes
from snellen.tasks.segmentation.predict import Trained, write_masks
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.tasks.segmentation.record import load_model, recipe_of
from snellen.tasks.segmentation.tiling import ALIGN, OVERLAP, TILE
from snellen.words import first_line

if TYPE_CHECKING:
    from onnx import ModelProto

_MASK_NAMES = 20  # kept, from which masks next to images are recognised
_SIZES = ((128, 128), (131, 257), (300, 410), (513, 300), (160, 700), (400, 530))  # of generated images
_SMALL_TILE = 256  # px, that generated images are cut into
_TILES = "uint8 RGB (N, H, W, 3), upright, decoded to sRGB and resized by the caller as the recipe's evaluation says"
_ONNX_INPUT = f"{INPUT}: {_TILES}; {SIZE} (optional): int64 (2,), height and width that they are padded to at least"
_TORCH_INPUT = f"{INPUT}: {_TILES}; height, width: ints, that they are padded to at least"
_PIXELS = Normalization((0.0, 0.0, 0.0), (1 / 255,) * 3, "none: pixels as they are")

Run = Callable[[NDArray[np.uint8], tuple[int, int]], NDArray[np.float32]]
"""Images (1, H, W, 3) uint8, padded to (height, width) inside, to scores (1, C, H, W)."""
Images = Sequence[Path | ImageInMemory]
_Masks = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def export(run: RunDirectory, out: Path, options: ExportOptions, console: Console) -> Exported:
    """Writes the chosen epoch's network with its preprocessing: tiles in, logits out.

    Raises UserError, and writes nothing, if it does not give the run's masks in fp32, or if int8 loses too much.
    """
    recipe, model = recipe_of(run), load_model(run, "best")
    check_room(out, model, options.int8)
    failure = f"{out}: not written, since {recipe.model.architecture} cannot be run as exported"
    if options.format == "torch":
        with console.status("writing the network with torch.export"):
            program = segmenter_program(model, run, recipe)
            module = running(program)
        found = _compared(run, recipe, _explained(lambda images, size: module(images, *size), failure), console)
        refuse_disagreement(out, found)
        properties = _properties(run, recipe, found, options, "fp32")
        write_file(out, program_bytes(program, properties))
        return Exported(out, found)
    with console.status("writing the network as ONNX"):
        network = segmenter_graph(model)
        whole = with_preprocessing(network, model.stride, run, recipe)
    fp32 = _session_of(whole, failure)
    found = _compared(run, recipe, fp32, console)
    refuse_disagreement(out, found)
    change = None
    if options.int8:
        with console.status("measuring the ranges of int8"):
            in_int8 = quantized(network, int8.calibration(run, recipe, model.stride))
            whole = with_preprocessing(in_int8, model.stride, run, recipe)
        change = _change(run, recipe, _session_of(whole, failure), fp32, console)
        refuse_loss(out, change, options.force)
    precision = "fp32" if change is None else f"int8. {change}"
    properties = _properties(run, recipe, found, options, precision)
    write_file(out, with_properties(whole, properties))
    return Exported(out, found, None if change is None else str(change))


def _properties(
    run: RunDirectory, recipe: SegmentationRecipe, found: MaskAgreement, options: ExportOptions, precision: str
) -> dict[str, str]:
    output = (
        f"{SCORES}: float32 (N, {len(run.classes)}, H, W), logits of each pixel in the order of the classes; the "
        "largest is the predicted class"
    )
    table = {key: value for key, value in ClassTable.recorded(run.data).as_dict().items() if key != "classes"}
    masks = list(spread(list(run.samples()["mask"]), _MASK_NAMES))
    return metadata_of(
        recipe,
        recipe.task,
        run.classes,
        images=_TORCH_INPUT if options.format == "torch" else _ONNX_INPUT,
        output=output,
        weights=licence_of(recipe.model.weights, None),
        precision=precision,
        found=found,
        data=table | {"training_sizes": run.data.get("training_sizes"), "masks": masks},
        format=options.format,
    ).properties()


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
    facts = _Facts.of(file)
    scorer = _scorer(_run_of(file), facts.training)
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


def _scorer(run: Run, training: TrainingSizes | None) -> Scorer:
    score = FileScoring(run)

    def logits_of(images: Tensor, sizes: Tensor) -> Tensor:
        pixels = images.round().byte().permute(0, 2, 3, 1).numpy()
        tiles = [tile[:height, :width] for tile, (height, width) in zip(pixels, sizes.tolist(), strict=True)]
        return score(tiles, (images.shape[2], images.shape[3]))

    return Scorer(logits_of, _PIXELS, torch.device("cpu"), channels_last=False, training=training)


def _change(run: RunDirectory, recipe: SegmentationRecipe, in_int8: Run, fp32: Run, console: Console) -> Int8Change:
    training = training_sizes(run.data)
    first, second = ((_scorer(part, training), _of_images(part)) for part in (in_int8, fp32))
    return int8.change(run, recipe, first, second, console)


def _of_images(run: Run) -> Callable[[NDArray[np.uint8]], object]:
    return lambda images: run(images, (0, 0))


def _run_of(file: OnnxFile) -> Run:
    """With the threads that torch would use."""
    threads = torch.get_num_threads()
    file.session(threads)
    return lambda images, size: file.run(images, size, threads)


def _session_of(model: ModelProto, failure: str) -> Run:
    """Of a model that is not yet a file. failure: the start of the message if onnxruntime fails."""
    try:
        session = open_session(model.SerializeToString(), torch.get_num_threads())
    except Exception as error:  # onnxruntime has an exception type for each of its failures
        raise UserError(f"{failure} ({first_line(error)}).") from error
    return _explained(lambda images, size: run_session(session, images, size), failure)


def _explained(run: Run, failure: str) -> Run:
    """failure: the start of the message if the network fails."""

    def explained(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
        try:
            return run(images, size)
        except Exception as error:  # torch and onnxruntime raise what their parts raise
            raise UserError(f"{failure} ({first_line(error)}).") from error

    return explained


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
        except (UserError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{file.path}: its metadata snellen.data is damaged. Export the run again.") from error
