"""The page in a headless Chromium: drop, paste, samples, mask, saliency, bad files; narrow and wide, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from benchmarks.bad_requests import JPEG, encoded
from PIL import Image
from tests.serving.browser import Page, serving
from tests.serving.test_serve import write_colours
from torch import Tensor

import snellen
from snellen import Run

pytestmark = pytest.mark.slow
SCREENS = [(1280, 900, False), (1280, 900, True), (390, 844, False), (390, 844, True)]


@pytest.fixture(scope="module")
def classifier(digits_run: Run) -> Iterator[str]:
    with serving(digits_run.path) as url:
        yield url


@pytest.fixture(scope="module")
def segmenter(scenes_run: Run) -> Iterator[str]:
    with serving(scenes_run.path) as url:
        yield url


@contextmanager
def opened(
    url: str, tmp_path: Path, width: int = 1280, height: int = 900, dark: bool = False, address: str = ""
) -> Iterator[Page]:
    """A server's page, which must ask nobody else for anything and complain of nothing."""
    page = Page(url, tmp_path / "profile", width, height, dark, address)
    try:
        yield page
        assert page.complaints() == []
        strangers = [sent for sent in page.requests() if not sent.startswith((url, f"blob:{url}", "data:,"))]
        assert strangers == []
        assert page.script("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    finally:
        page.close()


@pytest.fixture
def photo(photograph: Tensor, tmp_path: Path) -> Path:
    file = tmp_path / "photo.jpg"
    Image.fromarray(photograph.permute(1, 2, 0).numpy()).save(file)
    return file


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    file = tmp_path / "damaged.jpg"
    file.write_bytes(JPEG[:-2000])
    return file


@pytest.mark.parametrize(("width", "height", "dark"), SCREENS)
def test_a_classifier(
    width: int,
    height: int,
    dark: bool,
    classifier: str,
    digits_run: Run,
    photo: Path,
    damaged: Path,
    tmp_path: Path,
) -> None:
    with opened(classifier, tmp_path, width, height, dark) as page:
        assert page.text("title") == digits_run.name
        assert not page.is_shown("why")
        page.drop(photo)
        best = digits_run.predict(photo, quiet=True).iloc[0]
        lines = page.text("classes").splitlines()
        assert lines[:2] == [best["class"], f"{best['probability']:.1%}"]
        assert "640 × 427 px" in page.text("note")
        assert not page.is_shown("shading")

        page.click("look")
        page.until("!find('back').hidden")
        assert page.is_shown("shading")
        assert page.script("find('overlay').naturalWidth") == page.script("find('image').naturalWidth") == 16
        boxes = "['image', 'overlay'].map((id) => JSON.stringify(find(id).getBoundingClientRect()))"
        assert page.script(f"new Set({boxes}).size") == 1, "the map lies on the image"
        assert f"raised the score of {best['class']} most" in page.text("explanation")
        assert "does not say why" in page.text("explanation")
        page.click("back")
        page.until("find('image').naturalWidth === 640")
        assert not page.is_shown("shading")
        assert page.is_shown("look")

        page.drop(damaged)
        assert page.text("error") == "The image is damaged or not complete."
        assert page.text("classes") == ""
        assert not page.is_shown("look")

        page.script("document.querySelector('#pictures button').click()")
        page.until("!find('truth').hidden && find('classes').children.length > 0")
        assert page.text("truth") == f"Labelled {digits_run.part('validation')['class'].iloc[0]}."
        assert not page.is_shown("error")
        assert page.script("getComputedStyle(document.body).backgroundColor") == (
            "rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)"
        )


@pytest.mark.parametrize(("width", "height", "dark"), SCREENS[::3])
def test_a_segmenter(
    width: int, height: int, dark: bool, segmenter: str, scenes_run: Run, photo: Path, tmp_path: Path
) -> None:
    with opened(segmenter, tmp_path, width, height, dark) as page:
        assert "made for classifiers" in page.text("why")
        page.drop(photo)
        page.until("find('overlay').naturalWidth === 640")
        mask = scenes_run.predict(photo, quiet=True)["mask"].iloc[0]
        shares = np.bincount(mask.ravel(), minlength=len(scenes_run.classes)) / mask.size
        lines = page.text("classes").splitlines()
        assert lines[:2] == [scenes_run.classes[shares.argmax()], f"{shares.max():.1%}"]
        absent = page.text("absent").removeprefix("Not found: ").split(", ")
        assert {name for name in absent if name} == {
            name for name, share in zip(scenes_run.classes, shares, strict=True) if share == 0
        }
        colour = "rgb(" + ", ".join(map(str, scenes_run.data["colours"][shares.argmax()])) + ")"
        assert page.script("getComputedStyle(document.querySelector('.swatch')).backgroundColor") == colour
        assert page.script("find('overlay').style.opacity") == "0.55"
        page.slide("opacity", "ARROW_LEFT", 55)
        assert page.script("find('overlay').style.opacity") == "0"
        assert page.text("percent") == "0%"
        assert page.is_shown("save")
        assert not page.is_shown("look")


def test_pasted_with_a_token_to_a_file(digits_run: Run, photo: Path, tmp_path: Path) -> None:
    file = snellen.export(digits_run, tmp_path / "digits.onnx", quiet=True).path
    token = "0123456789abcdef"
    with serving(file, "--token", token) as url, opened(url, tmp_path, address=f"#token={token}") as page:
        assert "serve the run itself" in page.text("why")
        assert not page.is_shown("samples")
        page.paste(encoded(Image.open(photo)))
        best = digits_run.predict(Image.open(photo), quiet=True).iloc[0]
        assert page.text("classes").splitlines()[0] == best["class"]
        assert not page.is_shown("look")
        page.drop(Path(__file__))
        assert "not an image that can be read" in page.text("error")


def test_without_its_token_the_page_says_so(tmp_path: Path) -> None:
    write_colours(tmp_path / "colours.onnx")
    with serving(tmp_path / "colours.onnx", "--token", "0123456789abcdef") as url:
        page = Page(url, tmp_path / "profile", 390, 844, is_refused=True)
        try:
            assert "token is missing or wrong" in page.text("error")
        finally:
            page.close()
