"""The example of docs/export.md runs as written, in an environment where neither torch nor snellen can be imported."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from tests.hardware import FP32
from tests.recipes import DIGITS

import snellen

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
ALLOWED = {"numpy", "onnxruntime", "PIL"}
# Everything outside the standard library is refused, unless one of the allowed packages asks for it.
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "snellen", "onnx", "onnxscript", "timm", "scipy"}:
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Blocker())
"""


@pytest.mark.slow
def test_the_example_needs_onnxruntime_and_numpy_only(digits: Path, tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    lines = [line for line in code[1].splitlines() if line]
    assert len(lines) <= 10
    imported = {line.split()[1] for line in lines if line.startswith(("import ", "from "))}
    assert imported <= ALLOWED | sys.stdlib_module_names
    quiet = Console(quiet=True)
    run = snellen.train(digits, DIGITS | {"hardware": FP32}, out=tmp_path / "run", console=quiet)
    snellen.export(run, tmp_path / "wide.onnx", console=quiet)
    photo = Image.open(digits / "2" / "0.png").resize((40, 31)).convert("CMYK")
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    photo.save(tmp_path / "photo.jpg", exif=exif)
    process = subprocess.run(
        [sys.executable, "-c", BLOCKER + code[1]],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    name, probability = process.stdout.split()
    row = run.predict(tmp_path / "photo.jpg", quiet=True).iloc[0]
    assert name == row["class"]
    assert float(probability) == pytest.approx(row["probability"], abs=1e-4)
