"""The recipe that is picked when none is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from snellen.recipe.load import load_as
from snellen.tasks.classification import data as classification
from snellen.tasks.kinds import load_recipe
from snellen.tasks.pretraining import data as pretraining
from snellen.tasks.pretraining.recipe import PretrainingRecipe
from snellen.tasks.segmentation import data as segmentation
from snellen.tasks.segmentation.recipe import SegmentationRecipe


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (300, 200)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def icon(tmp_path: Path) -> Path:
    Image.new("RGB", (32, 40)).save(tmp_path / "icon.png")
    return tmp_path / "icon.png"


def test_by_size_and_hardware(photo: Path, icon: Path) -> None:
    assert classification.suggest([icon] * 5, gpu=True).name == "airnet-scratch"
    assert classification.suggest([photo] * 5, gpu=False).name == "finetune-lite"
    assert classification.suggest([photo] * 5, gpu=True).name == "finetune-large"


def test_enough_images_change_nothing(icon: Path, photo: Path) -> None:
    assert classification.suggest([icon] * 50_000, gpu=False).fields == {}
    assert classification.suggest([photo] * 3000, gpu=False).fields == {}


@pytest.mark.parametrize("images", [3, 50, 400, 3000, 20_000])
def test_few_images_get_as_many_steps(icon: Path, images: int) -> None:
    fields = classification.suggest([icon] * images, gpu=False).fields
    recipe = load_recipe("airnet-scratch", fields)
    assert recipe.epochs * images / recipe.batch_size >= 1000
    assert 32 <= recipe.batch_size <= 512
    assert recipe.optimizer.lr == pytest.approx(0.75 * recipe.batch_size / 512)


def test_masks_by_hardware_size_and_number(photo: Path, icon: Path) -> None:
    assert segmentation.suggest([photo] * 2000, gpu=True).name == "segment-large"
    few = segmentation.suggest([icon] * 20, gpu=False)
    assert few.name == "segment-lite"
    recipe = load_as(SegmentationRecipe, few.name, few.fields)
    assert recipe.epochs * 20 / recipe.batch_size >= 800
    assert recipe.evaluation.every > 2
    assert (recipe.augmentation.size, recipe.augmentation.resize, recipe.evaluation.resize) == (32, None, None)


def test_pretraining_by_size_and_number(photo: Path, icon: Path) -> None:
    assert pretraining.suggest([icon] * 50_000).fields == {}
    choice_for_many = pretraining.suggest([photo] * 50_000)
    larger = load_as(PretrainingRecipe, choice_for_many.name, choice_for_many.fields)
    assert larger.augmentation.size == larger.evaluation.size == 96
    few = pretraining.suggest([icon] * 3000)
    recipe = load_as(PretrainingRecipe, few.name, few.fields)
    assert recipe.epochs * 3000 / recipe.batch_size >= 2000
    assert recipe.augmentation.size == 32
    fewest = pretraining.suggest([icon] * 20).fields
    assert fewest["epochs"] == 2000, "all of them are one batch"


def test_an_unreadable_image_is_tolerated(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert classification.suggest([tmp_path / "bad.png"], gpu=False).name == "finetune-lite"
