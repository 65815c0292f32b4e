"""Small runs of both kinds that are served."""

from __future__ import annotations

import pytest
from rich.console import Console
from tests.images import write_digits
from tests.recipes import DIGITS, SCENES
from tests.reporting.fake_masks import draw_scenes

import snellen
from snellen import Run

QUIET = Console(quiet=True)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("digits")
    images = write_digits(folder / "images")
    return snellen.train(images, DIGITS | {"epochs": 2}, out=folder / "digits", console=QUIET)


@pytest.fixture(scope="session")
def scenes_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("scenes")
    images = draw_scenes(folder / "images", 12, (45, 70)).root
    return snellen.train(images, SCENES | {"epochs": 1}, out=folder / "scenes", console=QUIET)
