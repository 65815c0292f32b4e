"""The examples of docs/export.md run as written, where nothing can be imported but the packages that the page names."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from tests.hardware import FP32
from tests.recipes import DIGITS, SCENES
from tests.reporting.fake_masks import draw_scenes

import snellen
from snellen import Run

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return snellen.train(
        digits, DIGITS | {"hardware": FP32}, out=tmp_path_factory.mktemp("runs") / "run", console=QUIET
    )


def example(file: str) -> str:
    """The code of the page that opens a file, at most ten lines."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if f'"{file}"' in block]
    assert len([line for line in code.splitlines() if line]) <= 10
    return code


def printed(code: str, folder: Path, packages: tuple[str, ...]) -> str:
    """Runs it where only these packages, with the libraries beside them, and the standard library are installed."""
    site = folder / "site"
    site.mkdir()
    for name in packages:
        found = find_spec(name)
        assert found is not None
        assert found.origin is not None
        home = Path(found.origin).parent
        for part in (home, home.with_name(f"{'pillow' if name == 'PIL' else name}.libs")):
            if part.exists():
                (site / part.name).symlink_to(part)
    start = f"import sys; sys.path.append({str(site)!r})\n"
    process = subprocess.run(
        [sys.executable, "-I", "-S", "-c", start + code],
        cwd=folder,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def write_photo(path: Path, image: Path) -> None:
    """A CMYK photograph that lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(image).resize((40, 31)).convert("CMYK").save(path, exif=exif)


@pytest.mark.slow
def test_a_classifier_needs_onnxruntime_and_numpy_only(run: Run, digits: Path, tmp_path: Path) -> None:
    snellen.export(run, tmp_path / "wide.onnx", console=QUIET)
    write_photo(tmp_path / "photo.jpg", digits / "2" / "0.png")
    name, probability = printed(example("wide.onnx"), tmp_path, ("numpy", "onnxruntime", "PIL")).split()
    row = run.predict(tmp_path / "photo.jpg", quiet=True).iloc[0]
    assert name == row["class"]
    assert float(probability) == pytest.approx(row["probability"], abs=1e-4)


@pytest.mark.slow
def test_a_segmenter_needs_onnxruntime_and_numpy_only(tmp_path: Path) -> None:
    scenes = draw_scenes(tmp_path / "scenes", 12, (45, 70))
    run = snellen.train(scenes.root, SCENES | {"epochs": 1}, out=tmp_path / "run", console=QUIET)
    snellen.export(run, tmp_path / "scenes.onnx", console=QUIET)
    write_photo(tmp_path / "scene.jpg", next((scenes.root / "validation").glob("*_sat.*")))
    lines = printed(example("scenes.onnx"), tmp_path, ("numpy", "onnxruntime", "PIL")).splitlines()
    mask = run.predict(tmp_path / "scene.jpg", quiet=True)["mask"].iloc[0]
    expected = {run.classes[number]: int((mask == number).sum()) for number in np.unique(mask)}
    counted = {name: int(size.removesuffix(" px")) for name, size in (line.split(": ") for line in lines)}
    names = counted.keys() | expected.keys()
    assert sum(abs(counted.get(name, 0) - expected.get(name, 0)) for name in names) <= 2


@pytest.mark.slow
def test_a_program_needs_torch_only(run: Run, digits: Path, tmp_path: Path) -> None:
    """torch needs packages of its own, so only snellen and what it exports with are kept away."""
    snellen.export(run, tmp_path / "wide.pt2", format="torch", console=QUIET)
    write_photo(tmp_path / "photo.jpg", digits / "2" / "0.png")
    blocked = ("snellen", "torchvision", "timm", "onnx", "onnxscript", "onnxruntime", "segmentation_models_pytorch")
    start = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
    process = subprocess.run(
        [sys.executable, "-I", "-c", start + example("wide.pt2")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    name, probability = process.stdout.split()
    row = run.predict(tmp_path / "photo.jpg", quiet=True).iloc[0]
    assert name == row["class"]
    assert float(probability) == pytest.approx(row["probability"], abs=1e-4)
