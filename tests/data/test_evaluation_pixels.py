"""Training's scoring, `evaluate` and `predict` see one function of the full-size upright image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from rich.console import Console
from tests.hardware import KEYS
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2.functional import pil_to_tensor

from snellen.commands.evaluate import evaluate
from snellen.commands.predict import predict
from snellen.commands.train import train
from snellen.models.classifier import Classifier
from snellen.runs import Run

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photograph: Tensor, flower: Tensor) -> Path:
    """Two classes; to score: a JPEG, one turned by its EXIF data, a PNG, and a line 1 px wide."""
    root = tmp_path_factory.mktemp("photographs")
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in (photograph, flower)]
    exif = Image.Exif()
    exif[0x0112] = 6
    for split in ("train", "val"):
        for name, picture in zip(("temple", "flower"), pictures, strict=True):
            class_folder = root / split / name
            class_folder.mkdir(parents=True)
            picture.save(class_folder / "plain.jpg", quality=92)
            picture.resize((2000, 1334)).save(class_folder / "large.jpg", quality=92)
            picture.save(class_folder / "turned.jpg", exif=exif, quality=92)
            picture.crop((30, 40, 300, 200)).save(class_folder / "small.png")
            picture.crop((30, 40, 31, 340)).save(class_folder / "line.png")
    return root


def reference(path: Path, evaluation: dict[str, Any], run: Run) -> Tensor:
    """By Pillow and torchvision's tensor transforms alone."""
    with Image.open(path) as file:
        image = pil_to_tensor(ImageOps.exif_transpose(file).convert("RGB"))
    mode = InterpolationMode(evaluation["interpolation"])
    chain = v2.Compose(
        [
            v2.Resize(evaluation["resize"], mode, antialias=True),
            v2.CenterCrop(evaluation["size"]),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(run.data["normalization"]["mean"], run.data["normalization"]["std"]),
        ]
    )
    return chain(image)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("cache", [0, 1000])
def test_scoring_evaluate_and_predict_see_torchvisions_resize_of_the_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interpolation: str, cache: int
) -> None:
    views: list[Tensor] = []
    features = Classifier.features

    def noting(self: Classifier, images: Tensor) -> Tensor:
        # Zeros count the network's operations, and gradients are for the report's saliency maps.
        if not self.training and images.any() and not images.requires_grad:
            views.extend(images.detach().clone())
        return features(self, images)

    monkeypatch.setattr(Classifier, "features", noting)
    evaluation = {"size": 56, "resize": 64, "interpolation": interpolation}
    overrides = KEYS | {"epochs": 1, "batch_size": 4, "data.cache_mib": cache, "snapshots.images": 0}
    overrides |= {f"evaluation.{key}": value for key, value in evaluation.items()}
    overrides |= {"augmentation.size": 56, "model.backbone": "test_resnet", "model.weights": None, "ema": None}
    run = train(folder, "finetune-lite", overrides=overrides, out=tmp_path / "run", console=QUIET)
    scored_views, views[:] = list(views), []
    paths = [run.image(path) for path in run.samples().query("split == 'validation'")["path"]]
    expected = [reference(path, evaluation, run) for path in paths]
    assert len(scored_views) == len(expected) == 10
    for result, expected_view in zip(scored_views, expected, strict=True):
        assert (result - expected_view).abs().max() < 1e-5
    evaluate(run, folder, console=QUIET)
    evaluated_views, views[:] = list(views), []
    predict(run, paths, out=tmp_path / "predictions.csv", console=QUIET)
    assert all(torch.equal(a, b) for a, b in zip(evaluated_views, scored_views, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(views, scored_views, strict=True))


def test_bicubic_is_not_bilinear(photograph: Tensor) -> None:
    from snellen.data.augment.pipeline import evaluation_view
    from snellen.data.augment.spec import EvaluationTransformSpec

    views = [
        evaluation_view(photograph, EvaluationTransformSpec(size=224, resize=256, interpolation=interpolation)).float()
        for interpolation in ("bilinear", "bicubic")
    ]
    assert (views[0] - views[1]).abs().mean() > 1


def test_a_jpeg_decoded_at_half_size_is_at_least_twice_the_requested_size(tmp_path: Path, photograph: Tensor) -> None:
    from snellen.data.decode import decode

    Image.fromarray(photograph.permute(1, 2, 0).numpy()).save(tmp_path / "p.jpg")
    assert decode(tmp_path / "p.jpg", enough=100).shape == (3, 214, 320)
    np.testing.assert_array_equal(decode(tmp_path / "p.jpg", enough=250), decode(tmp_path / "p.jpg"))
