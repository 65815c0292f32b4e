"""Saliency maps: against a network whose map is known, on planted patches, and in the report."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.saliency import count_hits, hit_share, plant
from PIL import Image
from tests.images import write_digits
from tests.recipes import DIGITS
from torch import Tensor, nn

from snellen import Run, load, report, train
from snellen.models.classifier import Classifier, build_classifier
from snellen.models.spec import ModelSpec
from snellen.recipe.text import RECIPES
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.classification.saliency import layer_of, randomised, saliency_maps
from snellen.tasks.kinds import load_recipe

SIZE, CELL = 32, 4


class Cells(nn.Module):
    """The mean colour of a square in each cell of CELL x CELL px, then ReLU, then the mean over all cells.

    side: of the squares, which lie at the top left of their cells.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(3, 3, side, stride=CELL, groups=3, bias=False)
        nn.init.constant_(convolution.weight, 1 / side**2)
        self.cells = nn.Sequential(convolution, nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.cells(images)
        return x.mean((2, 3))


def colours(weights: list[list[float]], side: int = CELL, frozen: bool = False) -> Classifier:
    """A classifier with the given weights of red, green and blue for each class. side: as in Cells."""
    head = nn.Linear(3, len(weights), bias=False)
    head.weight.data = torch.tensor(weights)
    return Classifier(Cells(side), nn.Sequential(head), frozen).eval()


def test_by_hand() -> None:
    """Its gradient is weight / cells at every cell, so the map is the weighted sum of the colours, where positive."""
    classifier = colours([[1.0, 2, -3], [-1, 0, 4]], frozen=True)
    cells = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = cells.repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
    maps = saliency_maps(classifier, images, torch.tensor([0, 1]))
    expected = torch.stack([cells[0, 0] + 2 * cells[0, 1] - 3 * cells[0, 2], 4 * cells[1, 2] - cells[1, 0]]).relu()
    resized = torch.nn.functional.interpolate(expected[:, None], SIZE, mode="bilinear")[:, 0]
    inner = slice(2, -2)  # between the outer positions
    ratio = maps[:, inner, inner].sum((1, 2)) / resized[:, inner, inner].sum((1, 2))
    torch.testing.assert_close(
        maps[:, inner, inner], ratio[:, None, None] * resized[:, inner, inner], rtol=0, atol=1e-5
    )
    torch.testing.assert_close(maps, ratio[:, None, None] * resized, rtol=0.02, atol=0.02)


def test_no_position_raises_a_score_that_all_lower() -> None:
    assert not saliency_maps(colours([[-1.0, -1, -1]]), torch.rand(1, 3, SIZE, SIZE), torch.tensor([0])).any()


@pytest.mark.parametrize("side", [CELL, 2, 1])
def test_the_maximum_lies_in_the_patch_that_decides(side: int) -> None:
    """Also if the network reads only a pixel in the corner of each cell. The patch holds a whole cell."""
    generator = np.random.default_rng(0)
    images = torch.from_numpy(generator.uniform(0, 0.5, (50, 3, SIZE, SIZE)).astype(np.float32))
    places = generator.integers(0, SIZE - 2 * CELL, (50, 2))
    for image, (top, left) in zip(images, places, strict=True):
        image[0, top : top + 2 * CELL, left : left + 2 * CELL] = 3
    maps = saliency_maps(colours([[1.0, 0, 0], [0, 1, 0]], side), images, torch.zeros(50, dtype=torch.int64))
    assert count_hits(maps, places.tolist(), 2 * CELL) == 50


def test_a_token_of_a_transformer_lights_up_at_its_place() -> None:
    """If only one token of the layer is not zero, the map is where the patch of that token is."""
    classifier, _ = build_classifier(ModelSpec(backbone="test_vit"), 8, 160, 0)
    classifier.eval()
    images = torch.randn(1, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    layer = layer_of(classifier, 160)
    for row, column in ((0, 0), (2, 7), (9, 4)):
        one = copy.deepcopy(classifier)

        def only(_: nn.Module, __: object, tokens: Tensor, index: int = 1 + 10 * row + column) -> Tensor:
            kept = torch.zeros_like(tokens)
            kept[:, index] = 1
            return tokens * kept

        one.backbone.get_submodule(layer.name).register_forward_hook(only)
        maps = [saliency_maps(one, images, torch.tensor([number]), layer)[0] for number in range(8)]
        lit = torch.stack(maps).amax(0)
        assert lit.any()
        y, x = divmod(int(lit.argmax()), 160)
        assert (y // 16, x // 16) == (row, column)
        lit[max(0, 16 * row - 16) : 16 * row + 32, max(0, 16 * column - 16) : 16 * column + 32] = 0
        assert not lit.any()


def test_random_weights_leave_nothing_of_the_trained_ones() -> None:
    classifier, _ = build_classifier(ModelSpec(backbone="test_vit"), 3, 160, 0)
    before, state = copy.deepcopy(classifier.state_dict()), torch.random.get_rng_state()
    first, again, other = (randomised(classifier, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in classifier.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(first[name], again[name])
        if value.unique().numel() > 2:  # neither constant, as the weights of a norm, nor a counter
            assert not torch.equal(first[name], value)
            assert not torch.equal(first[name], other[name])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("saliency")
    return train(write_digits(folder / "digits"), DIGITS | {"epochs": 1}, out=folder / "run", quiet=True)


def test_the_report_shows_the_most_confident_mistakes(run: Run) -> None:
    page = run.report()
    mistakes = run.predictions().query("correct == 0").sort_values("confidence", ascending=False)
    (section,) = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["saliency"]
    paths = [image["path"] for image in section["images"]]
    assert paths == mistakes["path"].head(12).tolist()
    assert section["layer"] == layer_of(run.model(), 16).name  # type: ignore[arg-type]
    assert all(-1 <= image["rank_correlation"] <= 1 for image in section["images"])
    text = page.read_text(encoding="utf-8")
    assert text.count("where the network looked for") == len(paths) > 0
    assert 'id="saliency"' in text


def test_without_images_or_weights_the_report_is_made_without_maps(run: Run, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(run.path, tmp_path / "run"))
    (copied / "checkpoints" / "best.safetensors").unlink(missing_ok=True)
    (copied / "checkpoints" / "last.safetensors").unlink()
    text = load(copied).report().read_text(encoding="utf-8")
    assert "No maps: " in text
    assert "where the network looked for" not in text
    data = json.loads((copied / "data.json").read_text(encoding="utf-8"))
    (copied / "data.json").write_text(json.dumps(data | {"root": str(tmp_path / "gone")}), encoding="utf-8")
    assert 'id="saliency"' not in load(copied).report().read_text(encoding="utf-8")


def test_the_pictures_are_shared_out_among_the_runs_of_a_page(run: Run, tmp_path: Path) -> None:
    page = report([run, run, run, run], tmp_path / "all.html")
    sections = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["saliency"]
    assert [len(section["images"]) for section in sections] == [3] * 4


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES.names())
def test_every_shipped_classifier_can_be_explained(name: str) -> None:
    recipe = load_recipe(name)
    if not isinstance(recipe, Recipe):
        pytest.skip("not a classifier")
    size = recipe.evaluation.size
    classifier, _ = build_classifier(recipe.model.model_copy(update={"weights": None}), 5, size, 0)
    classifier.eval()
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    maps = saliency_maps(classifier, image.expand(5, -1, -1, -1), torch.arange(5))
    assert maps.shape == (5, size, size)
    assert maps.min() >= 0
    assert set(maps.amax((1, 2)).tolist()) <= {0, 1}  # untrained, a class may have no position in its favour
    assert maps.any()
    assert layer_of(classifier, size).side >= 5


@pytest.mark.slow
def test_a_network_that_learnt_a_patch_looks_at_it(tmp_path: Path) -> None:
    """The benchmark in small: the colour of a patch at a random place decides the class."""
    side = 12
    places = plant(tmp_path / "data", [Image.new("RGB", (48, 48), (90, 90, 90))], 400, 100, size=48, side=side, seed=0)
    fields = DIGITS | {
        "epochs": 8,
        "augmentation": {"size": 48},
        "evaluation": {"size": 48},
        "model": {"backbone": "airnet", "width": 0.25},
    }
    run = train(tmp_path / "data", fields, out=tmp_path / "run", quiet=True)
    assert run.status.score is not None
    assert run.status.score > 0.95
    assert hit_share(run, places, side).hits >= 95
