"""A trained classifier as a file with its preprocessing, and such a file in place of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.export import ExportedProgram

from snellen.data.augment.pipeline import Augmentation
from snellen.data.decode import decode
from snellen.data.disk_cache import DiskCache
from snellen.data.in_memory import ImageInMemory
from snellen.data.listing import Source
from snellen.data.normalization import Normalization
from snellen.data.spread import spread
from snellen.errors import UserError
from snellen.exporting.agreement import Agreement, agreement
from snellen.exporting.graph import Graph
from snellen.exporting.network import LOGITS, add_normalisation, assembled, network_graph, with_properties
from snellen.exporting.odd_images import odd_images
from snellen.exporting.onnx_file import INPUT, OnnxFile, open_session, run_session
from snellen.exporting.preprocessing import add_view
from snellen.exporting.publishing import (
    check_room,
    licence_of,
    metadata_of,
    present,
    refuse_disagreement,
    write_file,
)
from snellen.exporting.quantization import LOSS, Int8Change, images_per_second, quantized, refuse_loss
from snellen.exporting.torch_file import DYNAMIC, Normalised, Views, program_bytes, program_of, running
from snellen.insight.groups import group_numbers
from snellen.insight.paired import images_to_exclude, paired
from snellen.models.backbones import weights_licence
from snellen.recipe.load import validate, with_data_overrides
from snellen.recipe.text import parse_yaml
from snellen.run.directory import RunDirectory
from snellen.tasks.arithmetic import plain_arithmetic
from snellen.tasks.classification.evaluate import Evaluated, evaluate_with
from snellen.tasks.classification.inference import (
    ClassPredictor,
    PredictedBatch,
    Predictor,
    predicted_batch,
    read_ahead,
)
from snellen.tasks.classification.predict import predicted_bits, write_table
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.classification.record import load_model, recipe_of
from snellen.tasks.decoding import view_reader
from snellen.tasks.kind import Exported, ExportOptions, Options, Predicted

if TYPE_CHECKING:
    from onnx import ModelProto

PROBABILITIES = "probabilities"
_BATCH = 64  # images whose probabilities are collected at once; each goes through the network alone
_CALIBRATION_IMAGES, _CALIBRATION_BATCH = 256, 16
_SPEED_IMAGES = 16

Images = Sequence[Path | ImageInMemory]


def export(run: RunDirectory, out: Path, options: ExportOptions, console: Console) -> Exported:
    """Writes the chosen epoch's network with its preprocessing: images in, probabilities out.

    Raises UserError, and writes nothing, if it does not give the run's answers in fp32, or if int8 loses too much.
    """
    recipe = recipe_of(run)
    model = _Scored(load_model(run, "best"), recipe.evaluation.flip).eval()
    check_room(out, model, options.int8)
    if options.format == "torch":
        with console.status("writing the network with torch.export"):
            program = _program(model, run, recipe)
            file = FilePredictor(running(program), recipe.data.bits)
        found = _compared(run, recipe, file, console)
        refuse_disagreement(out, found)
        write_file(out, program_bytes(program, _properties(run, recipe, found, options, "fp32")))
        return Exported(out, found)
    with console.status("writing the network as ONNX"):
        network = network_graph(model, torch.zeros(2, 3, recipe.evaluation.size, recipe.evaluation.size))
        whole = with_preprocessing(network, run, recipe)
    fp32 = FilePredictor.of(whole, recipe.data.bits)
    found = _compared(run, recipe, fp32, console)
    refuse_disagreement(out, found)
    change = None
    if options.int8:
        with console.status("measuring the ranges of int8"):
            whole = with_preprocessing(quantized(network, _calibration(run, recipe)), run, recipe)
        change = _change(run, FilePredictor.of(whole, recipe.data.bits), fp32, console)
        refuse_loss(out, change, options.force)
    precision = "fp32" if change is None else f"int8. {change}"
    write_file(out, with_properties(whole, _properties(run, recipe, found, options, precision)))
    return Exported(out, found, None if change is None else str(change))


def _properties(
    run: RunDirectory, recipe: Recipe, found: Agreement, options: ExportOptions, precision: str
) -> dict[str, str]:
    return metadata_of(
        recipe,
        recipe.task,
        run.classes,
        output=f"{PROBABILITIES}: float32 (N, {len(run.classes)}), rows sum to 1, in the order of the classes",
        weights=licence_of(recipe.model.weights, weights_licence(recipe.model)),
        precision=precision,
        found=found,
        format=options.format,
    ).properties()


def predict_file(file: OnnxFile, images: Images, out: Path | None, options: Options, console: Console) -> Predicted:
    """The table that `predict` writes, with the network of a file."""
    bits = predicted_bits(recipe_of_file(file), options, file.path)
    file.session()
    return write_table(FilePredictor(file.run, bits), file.metadata.classes, bits, images, out, options, console)


def evaluate_file(file: OnnxFile, data: Source, overrides: Mapping[str, Any] | None, console: Console) -> Evaluated:
    """The figures of `evaluate`, with the network of a file. Raises as `evaluate`."""
    recipe = with_data_overrides(recipe_of_file(file), overrides, "evaluate")
    file.session()
    predictor = FilePredictor(file.run, recipe.data.bits)
    return evaluate_with(predictor, file.metadata.classes, None, recipe, data, console)


def recipe_of_file(file: OnnxFile) -> Recipe:
    """The recipe in the metadata of a file. Raises UserError if it is not one of a classifier."""
    label = f"recipe in '{file.path}'"
    return validate(Recipe, parse_yaml(file.metadata.recipe, label), label)


class FilePredictor:
    """A network with its preprocessing. run: images (1, H, W, 3) uint8 to probabilities (1, C). bits: of 16-bit files.

    Each image goes through alone, as many at once as there are cores, so memory holds few decoded images.
    """

    def __init__(self, run: Callable[[NDArray[np.uint8]], NDArray[np.float32]], bits: int | None) -> None:
        self.run, self._bits = run, bits

    @classmethod
    def of(cls, model: ModelProto, bits: int | None) -> FilePredictor:
        """Of a model that is not yet a file."""
        session = open_session(model.SerializeToString())
        return cls(lambda images: run_session(session, images), bits)

    def predict(self, images: Images) -> Iterator[PredictedBatch]:
        """Probabilities of the images, in their order, a batch at a time."""
        return map(predicted_batch, read_ahead(images, self._probabilities, _BATCH))

    def _probabilities(self, image: Path | ImageInMemory) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = self.run(whole_image(image, self._bits)[None])[0]
        return probabilities


def whole_image(image: Path | ImageInMemory, bits: int | None) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB, upright, at its full size."""
    pixels = decode(image, bits=bits) if isinstance(image, Path) else image.decode(bits)
    return np.asarray(pixels.permute(1, 2, 0))


def with_preprocessing(network: ModelProto, run: RunDirectory, recipe: Recipe) -> ModelProto:
    """The network with what comes before and after it: images (N, H, W, 3) uint8 to probabilities (N, C)."""
    from onnx import TensorProto, helper

    before, after = Graph("before_"), Graph("after_")
    views = add_view(before, INPUT, recipe.evaluation)
    normalised = add_normalisation(before, views, Normalization.recorded(run.data["normalization"]))
    after.nodes.append(helper.make_node("Softmax", [LOGITS], [PROBABILITIES], axis=1))
    shape: list[str | int] = ["N", len(run.classes)]
    outputs = {PROBABILITIES: (int(TensorProto.FLOAT), shape)}
    return assembled(before, normalised, network, after, outputs)


def _program(model: nn.Module, run: RunDirectory, recipe: Recipe) -> ExportedProgram:
    """The same in torch."""
    normalised = Normalised(Normalization.recorded(run.data["normalization"]))
    whole = nn.Sequential(Views(recipe.evaluation), normalised, model, nn.Softmax(1)).eval()
    examples = torch.zeros(2, recipe.evaluation.size + 3, recipe.evaluation.size + 5, 3, dtype=torch.uint8)
    return program_of(whole, (examples,), (dict.fromkeys((0, 1, 2), DYNAMIC),))


class _Scored(nn.Module):
    """As `scored_logits` in fp32: (B, 3, S, S) normalised images to (B, C) logits."""

    def __init__(self, model: nn.Module, flip: bool) -> None:
        super().__init__()
        self._model, self._flip = model, flip

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self._model(images)
        return (logits + self._model(images.flip(-1))) / 2 if self._flip else logits


def _compared(run: RunDirectory, recipe: Recipe, file: ClassPredictor, console: Console) -> Agreement:
    """The answers of the run and of the file for validation images and for odd ones."""
    paths = [run.image(path) for path in run.part("validation")["path"]]
    odd = [ImageInMemory(number, image) for number, image in enumerate(odd_images())]
    images: Images = [*present(paths, run.data["root"], console), *odd]
    reference = _scores(Predictor(run, arithmetic=plain_arithmetic(run)), images, "predicting with the run", console)
    exported = _scores(file, images, "predicting with the file", console)
    return agreement(reference[0], exported[0], len(odd))


def _scores(
    predictor: ClassPredictor, images: Images, what: str, console: Console
) -> tuple[NDArray[np.float32], list[int]]:
    """(n, C) probabilities of the readable images, and which of them these are. what: for the progress bar."""
    steps = predictor.predict(images)
    batches = list(track(steps, what, console=console, transient=True, disable=not console.is_terminal))
    rows = [row for batch in batches for row in batch.rows]
    scored = [batch.probabilities for batch in batches if batch.rows]
    return np.concatenate(scored) if scored else np.empty((0, 0), np.float32), rows


def _calibration(run: RunDirectory, recipe: Recipe) -> Iterator[NDArray[np.float32]]:
    """Batches of normalised training images, as scoring sees them."""
    view = view_reader(recipe.evaluation, recipe.data.bits, DiskCache(0))
    arithmetic = plain_arithmetic(run)
    augmentation = Augmentation(recipe.augmentation, arithmetic.normalization, arithmetic.device)
    paths = spread([run.image(path) for path in run.part("train")["path"]], _CALIBRATION_IMAGES)
    for start in range(0, len(paths), _CALIBRATION_BATCH):
        views = torch.stack([view(path) for path in paths[start : start + _CALIBRATION_BATCH]])
        yield augmentation.evaluate(views).numpy()


def _change(run: RunDirectory, int8: FilePredictor, fp32: FilePredictor, console: Console) -> Int8Change:
    """int8 against fp32 on all validation images. Raises UserError if none can be read."""
    samples = run.part("validation")
    paths = [run.image(path) for path in samples["path"]]
    correct = []
    for predictor, what in ((int8, "scoring in int8"), (fp32, "scoring in fp32")):
        scores, rows = _scores(predictor, paths, what, console)
        if not rows:
            raise UserError(
                f"{run.path}: int8 is judged on the run's validation images, and none of them can be read in "
                f"{run.data['root']}. Put them back, or export without int8."
            )
        correct.append(scores.argmax(1) == samples["target"].to_numpy()[rows])
    groups = group_numbers(samples["group"].iloc[rows])
    test = paired(correct[0], correct[1], groups)
    images = [whole_image(paths[row], None)[None] for row in spread(rows, _SPEED_IMAGES)]
    speed = images_per_second(int8.run, fp32.run, images)
    return Int8Change(test, "top-1", speed, images_to_exclude(correct[0], correct[1], LOSS))
