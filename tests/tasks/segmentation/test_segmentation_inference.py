"""Files of masks are what the network says of each whole image, for any mixture of sizes and kinds."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from PIL import Image
from rasterio.transform import from_origin
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize as resize_by_torchvision

from snellen import UserError
from snellen.data import rasters
from snellen.data.batch import RawBatch
from snellen.data.decode import UnreadableImageError, decode
from snellen.data.masks.augment import MaskAugmentation
from snellen.data.masks.resize import Resize, TrainingSizes, evaluation_size, resized_size
from snellen.data.masks.spec import MaskAugmentationSpec, MaskEvaluationTransformSpec
from snellen.data.normalization import Normalization
from snellen.tasks.segmentation.inference import NetworkScoring, Rows, TiledPredictor
from snellen.tasks.segmentation.mask_files import MaskFiles, Outputs, output_names, refuse_overwriting

NORMALIZATION = Normalization((0.4, 0.5, 0.6), (0.2, 0.3, 0.25), "given")
COLOURS = [(0, 255, 255), (255, 255, 0), (255, 0, 255), (0, 255, 0), (0, 0, 255)]
SIZES = [(40, 50), (64, 64), (200, 130), (64, 64), (33, 257)]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 5, 5, padding=2)).eval()


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    generator = np.random.default_rng(0)
    paths = [tmp_path / "images" / f"{number}.png" for number in range(len(SIZES))]
    paths[0].parent.mkdir()
    for path, (height, width) in zip(paths, SIZES, strict=True):
        small = Image.fromarray(generator.integers(0, 256, (height // 4, width // 4, 3), np.uint8))
        small.resize((width, height), Image.Resampling.BICUBIC).save(path)
    return paths


def scoring(network: nn.Module) -> NetworkScoring:
    return NetworkScoring(network, NORMALIZATION, torch.device("cpu"))


def predictor(network: nn.Module) -> TiledPredictor:
    return TiledPredictor(scoring(network), 5, torch.device("cpu"), tile=96, overlap=32)


@torch.inference_mode()
def whole_image_scores(network: nn.Module, path: Path) -> NDArray[np.float32]:
    """Logits of the whole image, (C, h, w), padded to a multiple of 32 with the mean colour."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (NORMALIZATION.mean, NORMALIZATION.std))
    image = (decode(path).float() / 255 - mean) / std
    height, width = image.shape[1:]
    padded = nn.functional.pad(image, (0, -width % 32, 0, -height % 32))
    return np.asarray(network(padded[None])[0, :, :height, :width])


def test_tiles_are_normalised_as_validation_images_are() -> None:
    """Bit for bit, with the padding."""
    seen = []

    def network(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return images

    generator = np.random.default_rng(0)
    tiles = [generator.integers(0, 256, (height, 30, 3), np.uint8) for height in (40, 33)]
    scoring(network)(tiles, (64, 32))  # type: ignore[arg-type]
    pixels = torch.zeros(2, 3, 40, 30, dtype=torch.uint8)
    for canvas, tile in zip(pixels, tiles, strict=True):
        canvas[:, : len(tile)] = torch.from_numpy(tile).permute(2, 0, 1)
    spec = MaskEvaluationTransformSpec(multiple=32)
    augmentation = MaskAugmentation(MaskAugmentationSpec(), spec, NORMALIZATION, torch.device("cpu"))
    batch = RawBatch(pixels, torch.tensor([[40, 30], [33, 30]]), uniform=False)
    assert torch.equal(seen[0], augmentation.evaluate(batch))


def joined(parts: Iterable[Rows | UnreadableImageError]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    rows = [part for part in parts if isinstance(part, Rows)]
    assert [part.last for part in rows] == [False] * (len(rows) - 1) + [True]
    assert all(part.probabilities is not None for part in rows)
    return np.concatenate([part.labels for part in rows]), np.concatenate([part.probabilities for part in rows])


def test_masks_are_those_of_the_whole_image(network: nn.Module, images: list[Path]) -> None:
    results = {}
    for path, parts in groupby(predictor(network).predict(images, probabilities=True), key=lambda part: part.path):
        results[path] = joined(parts)
    assert list(results) == images
    for path, (labels, probabilities) in results.items():
        logits = torch.from_numpy(whole_image_scores(network, path))
        np.testing.assert_allclose(probabilities, logits.softmax(0).permute(1, 2, 0), atol=1e-3)
        first, second = logits.topk(2, 0).values
        clear = (first - second > 1e-4).numpy()
        assert clear.mean() > 0.99
        np.testing.assert_array_equal(labels[clear], logits.argmax(0).numpy()[clear])


def test_a_batch_holds_tiles_of_one_size(network: nn.Module, images: list[Path]) -> None:
    shapes: list[tuple[int, ...]] = []

    def noting(batch: Tensor) -> Tensor:
        shapes.append(tuple(batch.shape))
        return network(batch)

    paths = [images[1]] * 9
    assert sum(part.last for part in predictor(noting).predict(paths)) == 9  # type: ignore[arg-type, union-attr]
    assert shapes == [(9, 3, 64, 64)]


@torch.inference_mode()
def test_a_resized_image_is_scored_at_its_own_size(
    network: nn.Module, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By torchvision's resize and torch's interpolation, in several bands."""
    monkeypatch.setattr("snellen.tasks.segmentation.rescaled._BAND_SCORES", 5 * 130 * 70)
    transform, cpu = MaskEvaluationTransformSpec(resize=(128, 96)), torch.device("cpu")
    resized = TiledPredictor(scoring(network), 5, cpu, tile=96, overlap=32, transform=transform)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (NORMALIZATION.mean, NORMALIZATION.std))
    image = resize_by_torchvision(decode(images[2]), [128, 96], antialias=True)
    logits = nn.functional.interpolate(network(((image.float() / 255 - mean) / std)[None]), (200, 130), mode="bilinear")
    _, probabilities = joined(resized.predict(images[2:3], probabilities=True))
    np.testing.assert_allclose(probabilities, logits[0].softmax(0).permute(1, 2, 0), atol=2e-3)


@torch.inference_mode()
@pytest.mark.parametrize("by_parts", [False, True])
@pytest.mark.parametrize("resize", [32, (32, 48)])
def test_a_scene_is_predicted_in_tiles_at_the_learnt_scale(
    network: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_parts: bool,
    resize: Resize,
    photograph: Tensor,
) -> None:
    """Trained on 48 x 72 px brought to 32 x 48; a scene of 360 x 500 px goes through at 2/3, in tiles."""
    scene = torch.cat([photograph[:, :360, :250], photograph[:, 20:380, 300:550]], 2)
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", count=3, height=360, width=500, dtype="uint8", crs="EPSG:3035",
        transform=from_origin(4_321_000, 3_210_000, 0.25, 0.25),
    ) as file:  # fmt: skip
        file.write(scene.numpy())
    read = []
    original = rasters._Windowed.read

    def noting(self: rasters._Windowed, *part: int) -> NDArray[np.uint8]:
        read.append(part[2] * part[3])
        return original(self, *part)

    monkeypatch.setattr(rasters._Windowed, "read", noting)
    if by_parts:
        monkeypatch.setattr("snellen.tasks.segmentation.inference._SMALL", 0)
        monkeypatch.setattr("snellen.tasks.segmentation.rescaled._BAND_SCORES", 5 * 500 * 7)
    training = TrainingSizes.of([(48, 72), (48, 72), (48, 70), (40, 72)])
    transform = MaskEvaluationTransformSpec(resize=resize)
    predictor = TiledPredictor(
        *(scoring(network), 5, torch.device("cpu")), tile=96, overlap=32, transform=transform, training=training
    )
    _, probabilities = joined(predictor.predict([tmp_path / "scene.tif"], probabilities=True))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (NORMALIZATION.mean, NORMALIZATION.std))
    image = (resize_by_torchvision(scene, [240, 333], antialias=True).float() / 255 - mean) / std
    padded = nn.functional.pad(image, (0, -333 % 32, 0, -240 % 32))
    logits = nn.functional.interpolate(network(padded[None])[:, :, :240, :333], (360, 500), mode="bilinear")
    np.testing.assert_allclose(probabilities, logits[0].softmax(0).permute(1, 2, 0), atol=1e-2 if by_parts else 2e-3)
    assert len(read) > 4 if by_parts else len(read) == 1
    assert max(read) < 150 * 150 if by_parts else max(read) == 360 * 500


def test_images_as_large_as_the_training_images_are_resized_as_before() -> None:
    training = TrainingSizes.of([(360, 480), (360, 480), (720, 960)])
    for size in ((360, 480), (100, 90), (720, 500), (500, 4000)):
        assert evaluation_size(size, 352, training) == resized_size(size, 352)
    assert evaluation_size((7200, 9600), 352, training) == (7040, 9387)
    assert evaluation_size((7200, 9600), None, training) == (7200, 9600)
    assert evaluation_size((7200, 9600), 352, None) == resized_size((7200, 9600), 352)
    assert evaluation_size((700, 900), (180, 240), training) == (180, 240)
    assert evaluation_size((7200, 9600), (180, 240), training) == (3600, 4800)


def test_unreadable_images_are_reported_and_the_others_predicted(network: nn.Module, images: list[Path]) -> None:
    images[2].write_bytes(b"no image")
    images[4].write_bytes(images[4].read_bytes()[:200])
    parts = list(predictor(network).predict(images))
    assert [part.path for part in parts if isinstance(part, UnreadableImageError)] == [images[2], images[4]]
    assert [part.path for part in parts if isinstance(part, Rows) and part.last] == [images[0], images[1], images[3]]


def written_masks(
    network: nn.Module, path: Path, out: Path, name: str, outputs: Outputs
) -> tuple[MaskFiles, NDArray[np.uint8], NDArray[np.float16]]:
    """Predicts one image into files, and gives what was written."""
    events = predictor(network).predict([path], outputs.probabilities)
    first = next(events)
    assert isinstance(first, Rows)
    parts = [first]
    with MaskFiles(out, name, first.raster, outputs) as files:
        files.write(first)
        for part in events:
            assert isinstance(part, Rows)
            files.write(part)
            parts.append(part)
    return files, *joined(parts)


def test_files(network: nn.Module, images: list[Path], tmp_path: Path) -> None:
    out, outputs = tmp_path / "out", Outputs(COLOURS, probabilities=True, overlays=True)
    files, labels, probabilities = written_masks(network, images[2], out, "a/scene", outputs)
    with Image.open(out / "index/a/scene.png") as index, Image.open(out / "colour/a/scene.png") as colour:
        assert (index.mode, colour.mode) == ("L", "P")
        np.testing.assert_array_equal(np.asarray(index), labels)
        np.testing.assert_array_equal(np.asarray(colour.convert("RGB")), np.array(COLOURS)[labels])
    np.testing.assert_array_equal(np.load(out / "probabilities/a/scene.npy"), probabilities)
    with Image.open(out / "overlays/a/scene.png") as overlay:
        image = decode(images[2]).permute(1, 2, 0).numpy()
        expected = (image.astype(float) + np.array(COLOURS)[labels]) / 2
        np.testing.assert_allclose(np.asarray(overlay), expected, atol=0.51)
    np.testing.assert_array_equal(files.pixels, np.bincount(labels.ravel(), minlength=5))


def test_georeferenced_files(network: nn.Module, tmp_path: Path) -> None:
    path, out = tmp_path / "scene.tif", tmp_path / "out"
    bands = np.random.default_rng(0).integers(1, 256, (3, 150, 170), np.uint8)
    bands[:, :20, :30] = 0
    georeference = {"crs": "EPSG:3035", "transform": from_origin(4_321_000, 3_210_000, 0.25, 0.25)}
    kind = {"driver": "GTiff", "count": 3, "height": 150, "width": 170, "dtype": "uint8", "nodata": 0}
    with rasterio.open(path, "w", **kind, **georeference) as file:
        file.write(bands)
    _, labels, probabilities = written_masks(network, path, out, "scene", Outputs(COLOURS, probabilities=True))
    labels[:20, :30] = 255
    for folder in ("index", "colour", "probabilities"):
        with rasterio.open(out / folder / "scene.tif") as file:
            assert (file.crs.to_epsg(), file.transform) == (3035, georeference["transform"])
            expected = np.moveaxis(probabilities, -1, 0) if folder == "probabilities" else labels[None]
            np.testing.assert_array_equal(file.read(), expected)
            if folder == "colour":
                assert [file.colormap(1)[number][:3] for number in range(5)] == COLOURS
                assert file.nodata == 255


def test_an_image_that_ends_early_leaves_no_file(network: nn.Module, images: list[Path], tmp_path: Path) -> None:
    part = next(part for part in predictor(network).predict(images[2:3]) if isinstance(part, Rows))
    files = MaskFiles(tmp_path / "out", "scene", part.raster, Outputs(COLOURS, overlays=True))
    with suppress(UnreadableImageError), files:
        files.write(part)
        raise UnreadableImageError(images[2], "damaged image")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a/x.jpg", "b/y.jpg"], ["x", "y"]),
        (["a/x.jpg", "b/c/x.jpg"], ["a/x", "b/c/x"]),
        (["a/x.jpg", "a/x.png"], ["x.jpg", "x.png"]),
        (["a/x.jpg", "a/X.jpg"], ["x.jpg-1", "X.jpg-2"]),
        (["x.jpg"], ["x"]),
    ],
)
def test_names_do_not_collide(files: list[str], names: list[str]) -> None:
    assert output_names([Path("somewhere") / file for file in files]) == names


def test_an_image_is_not_overwritten() -> None:
    with pytest.raises(UserError, match="would be overwritten"):
        refuse_overwriting([Path("index/a.png")], [Path("x/../index/a.png")])
