"""Pooled features of images, by the backbone of a run or one with published weights; kept by the images' contents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from snellen.data.augment.pipeline import Augmentation, evaluation_view
from snellen.data.augment.spec import AugmentationSpec, EvaluationTransformSpec
from snellen.data.decode import decode
from snellen.data.disk_cache import DiskCache, Entry
from snellen.data.in_memory import ImageInMemory
from snellen.data.normalization import Normalization
from snellen.engine.device import find_device
from snellen.errors import UserError
from snellen.models.backbones import published_size
from snellen.models.classifier import start_backbone
from snellen.models.spec import BackboneSpec
from snellen.recipe.load import load_as, resolved_fields, validate
from snellen.run.directory import RunDirectory
from snellen.tasks.classification.inference import read_ahead
from snellen.tasks.classification.recipe import Recipe

_BATCH = 64
_PARTS = ("model.", "evaluation.", "hardware.")


@dataclass(frozen=True)
class FeatureSource:
    """Where features come from.

    text: for people. run: None for a backbone with published weights. learnt_labels: whether it is a run whose
    backbone was trained on labels.
    """

    backbone: nn.Module
    view: EvaluationTransformSpec
    normalization: Normalization
    device: torch.device
    text: str
    run: RunDirectory | None
    learnt_labels: bool


def open_features(features: str | Path, overrides: Mapping[str, Any]) -> FeatureSource:
    """The network that `features` names: the folder of a run of train or pretrain, or a backbone.

    overrides: for a backbone, model.weights (ImageNet's from its hub if not given) and evaluation.size (that of its
    published weights) as in a recipe. Raises UserError if there is no such network.
    """
    fields = {key: value for key, value in overrides.items() if key.startswith(_PARTS)}
    run = RunDirectory(Path(features)) if Path(features).is_dir() else None
    if run is None:
        recipe = _recipe_of_backbone(str(features), fields)
        spec: BackboneSpec = recipe.model
        view: EvaluationTransformSpec = recipe.evaluation
        learnt_labels = False
    else:
        for key in fields.keys() - {"hardware.device"}:
            raise UserError(f"{key}: a run has its own network and its own view of images. Omit it.")
        recipe = load_as(Recipe, {}, fields)
        spec, view, learnt_labels = _of_run(run)
    backbone, _, report = start_backbone(spec, view.size, seed=0)
    if report.normalization is None:
        raise UserError(f"features={features}: this backbone has no weights that say how its images are normalised.")
    device = find_device(recipe.hardware)
    weights = "ImageNet weights" if spec.weights == "imagenet" else Path(str(spec.weights)).name
    source = f"{spec.backbone} ({weights})" if run is None else f"the run {run.name}"
    return FeatureSource(
        backbone=backbone.eval().to(device).to(memory_format=torch.channels_last),
        view=view,
        normalization=report.normalization,
        device=device,
        text=f"features of {source} at {view.size} px",
        run=run,
        learnt_labels=learnt_labels,
    )


def extract(
    source: FeatureSource, paths: Sequence[Path], bits: int | None, disk: DiskCache, console: Console
) -> tuple[list[int], NDArray[np.float32]]:
    """(rows, (n, D) features) of the images that can be read, in the order of `paths`; with a progress bar.

    bits: as in `decode`. disk: where features are kept.
    """
    features: dict[int, NDArray[np.float32]] = {}

    def entries(rows: Sequence[int]) -> Iterator[tuple[int, Entry]]:
        for row, vector in _extracted(source, [paths[row] for row in rows], bits):
            yield rows[row], Entry(torch.from_numpy(vector.view(np.uint8)))

    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("extracting features", total=len(paths))
        for row, entry in disk.fetch_many(paths, _reading(source, bits), entries):
            features[row] = entry.pixels.numpy().view(np.float32)
            bar.advance(task)
    rows = sorted(features)
    return rows, np.stack([features[row] for row in rows]) if rows else np.zeros((0, 0), np.float32)


def _extracted(
    source: FeatureSource, paths: Sequence[Path], bits: int | None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """(row, (D,) features) of each image that can be read."""

    def view(path: Path | ImageInMemory) -> Tensor:
        assert isinstance(path, Path)
        return evaluation_view(decode(path, bits=bits), source.view)

    preparation = Augmentation(AugmentationSpec(), source.normalization, source.device)
    for batch in read_ahead(paths, view, _BATCH):
        readable = {row: image for row, image in batch.items() if isinstance(image, Tensor)}
        if not readable:
            continue
        with torch.inference_mode():
            images = preparation.evaluate(torch.stack(list(readable.values())))
            pooled = source.backbone(images.contiguous(memory_format=torch.channels_last)).float().cpu().numpy()
        yield from zip(readable, pooled, strict=True)


def _reading(source: FeatureSource, bits: int | None) -> str:
    """What features depend on besides the file."""
    weights = blake2b(digest_size=16)
    for name, tensor in source.backbone.state_dict().items():
        weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        weights.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    view = " ".join(f"{key}={value}" for key, value in sorted(source.view.model_dump().items()))
    return (
        f"features {type(source.backbone).__name__} {weights.hexdigest()} {view} {bits} "
        f"{source.normalization.mean} {source.normalization.std} {source.device.type}"
    )


def _recipe_of_backbone(name: str, fields: Mapping[str, Any]) -> Recipe:
    if "model.backbone" in fields:
        raise UserError("model.backbone: the backbone is named by features. Omit one of them.")
    if "/" in name.removeprefix("torchvision/"):
        raise UserError(f"features={name}: no such folder of a run, and no name of a backbone, such as resnet50.")
    given = {"model.backbone": name, "model.weights": "imagenet", **fields}
    recipe = load_as(Recipe, {}, given)
    size = published_size(name)
    return recipe if "evaluation.size" in fields or size is None else load_as(Recipe, recipe, {"evaluation.size": size})


def _of_run(run: RunDirectory) -> tuple[BackboneSpec, EvaluationTransformSpec, bool]:
    """Backbone, view, and whether labels trained it."""
    fields, label = resolved_fields(run.path / "recipe.yaml")
    model, evaluation = fields.get("model"), fields.get("evaluation")
    if not isinstance(model, dict) or not isinstance(evaluation, dict) or "backbone" not in model:
        raise UserError(f"{run.path}: it has no backbone for whole images. Use a run of a classifier or of pretrain.")
    if not (run.path / "checkpoints" / "best.safetensors").is_file():
        raise UserError(f"{run.path}: no checkpoints/best.safetensors; resume the run first.")
    own_model = {key: value for key, value in model.items() if key in BackboneSpec.model_fields}
    own_view = {key: value for key, value in evaluation.items() if key in EvaluationTransformSpec.model_fields}
    spec = validate(BackboneSpec, own_model, label).model_copy(update={"weights": str(run.path), "partial": False})
    task = Recipe.model_fields["task"].default
    learnt_labels = fields.get("task", task) == task and not model.get("freeze", False)
    return spec, validate(EvaluationTransformSpec, own_view, label), learnt_labels
