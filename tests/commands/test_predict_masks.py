"""`snellen predict` with a segmentation run: what it writes is what validation counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import torch
from PIL import Image
from rasterio.transform import from_origin
from rich.console import Console
from tests.hardware import KEYS
from tests.reporting.fake_masks import Scenes, draw_scenes

from snellen import Run, UserError, predict, train
from snellen.tasks.segmentation.task import confusion_counts

FAST = {
    "epochs": 2,
    "batch_size": 4,
    "model.architecture": "fpn/test_resnet",
    "model.weights": None,
    "augmentation.size": [32, 32],
    "augmentation.resize": None,
    "evaluation.resize": None,
    **KEYS,
}
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    return draw_scenes(tmp_path_factory.mktemp("scenes"), 12, (45, 70))


@pytest.fixture(scope="module")
def trained_run(scenes: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "one"
    return train(scenes.root, "segment-lite", out=out, console=QUIET, overrides=FAST)


def counts(run: Run, scenes: Scenes, out: Path, size: tuple[int, int] = (45, 70)) -> np.ndarray:
    """(N, C, C) pixels by [truth, prediction] of the written index masks."""
    predicted, truth = [], []
    for row in np.flatnonzero(~scenes.train):
        with Image.open(out / "index" / f"{Path(scenes.names[row]).name}_sat.png") as image:
            assert image.size == size[::-1]
            predicted.append(np.asarray(image))
        truth.append(scenes.labels[row])
    pair = (torch.from_numpy(np.array(masks)).long() for masks in (predicted, truth))
    return np.asarray(confusion_counts(*pair, len(run.classes)))


@pytest.mark.parametrize(
    "evaluation", [{}, {"evaluation.resize": [32, 64], "evaluation.flip": True, "evaluation.multiple": 1}]
)
def test_predicting_is_what_validation_did(scenes: Scenes, tmp_path: Path, evaluation: dict[str, object]) -> None:
    run = train(scenes.root, "segment-lite", out=tmp_path / "run", console=QUIET, overrides=FAST | evaluation)
    predicted = predict(run, scenes.root / "validation" / "*_sat.jpg", tmp_path / "masks", console=QUIET)
    assert (predicted.predicted, predicted.unreadable) == (4, 0)
    expected = run.validation().confusion
    difference = np.abs(counts(run, scenes, tmp_path / "masks") - expected).sum()
    assert difference <= 0.002 * expected.sum(), "but for pixels between two classes"


def test_every_image_is_listed(trained_run: Run, scenes: Scenes, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for folder_name in ("a", "b"):
        (folder / folder_name).mkdir(parents=True)
        Image.open(scenes.root / f"{scenes.names[0]}_sat.jpg").save(folder / folder_name / "x.png")
    (folder / "b" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    predicted = predict(trained_run, folder, tmp_path / "out", probabilities=True, overlays=True, console=QUIET)
    assert (predicted.predicted, predicted.unreadable) == (2, 1)
    table = pd.read_csv(tmp_path / "out" / "masks.csv").set_index("path")
    assert table["mask"].dropna().tolist() == ["index/a/x.png", "index/b/x.png"]
    assert (
        "damaged" in table.loc[str(folder / "b" / "broken.jpg"), "error"] or "image" in table["error"].dropna().iloc[0]
    )
    with Image.open(tmp_path / "out" / "index" / "a" / "x.png") as index:
        labels = np.asarray(index)
    shares = table.loc[str(folder / "a" / "x.png"), trained_run.classes].to_numpy(dtype=float)
    np.testing.assert_allclose(shares, np.bincount(labels.ravel(), minlength=6) / labels.size, atol=1e-6)
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {"masks.csv"} | {
        f"{kind}/{folder_name}/x.{'npy' if kind == 'probabilities' else 'png'}"
        for kind in ("index", "colour", "overlays", "probabilities")
        for folder_name in ("a", "b")
    }


def test_a_geotiff_gives_geotiffs(trained_run: Run, tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "count": 3, "height": 130, "width": 200, "dtype": "uint8"}
    profile |= {"crs": "EPSG:25832", "transform": from_origin(600_000, 5_500_000, 2, 2)}
    with rasterio.open(tmp_path / "scene.tif", "w", **profile) as file:
        file.write(np.random.default_rng(0).integers(0, 256, (3, 130, 200), np.uint8))
    predict(trained_run, tmp_path / "scene.tif", tmp_path / "out", tile=96, overlap=32, console=QUIET)
    with rasterio.open(tmp_path / "out" / "index" / "scene.tif") as file:
        assert (file.crs.to_epsg(), file.transform) == (25832, profile["transform"])
        assert file.read(1).max() < len(trained_run.classes)


def test_arguments_of_the_other_kind_of_run(trained_run: Run, scenes: Scenes, tmp_path: Path) -> None:
    for arguments, message in [
        ({"top_k": 3}, "no top_k"),
        ({"tile": 32}, "half a tile"),
        ({"overlap": 500}, "half a tile"),
    ]:
        with pytest.raises(UserError, match=message):
            predict(trained_run, scenes.root, tmp_path, console=QUIET, **arguments)  # type: ignore[arg-type]
