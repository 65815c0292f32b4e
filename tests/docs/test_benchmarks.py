"""The scripts of benchmarks/ say what they do, and write nothing while they say it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted(path for path in (Path(__file__).parents[2] / "benchmarks").glob("*.py") if path.stem != "__init__")


@pytest.mark.slow  # each imports several large libraries
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_answers_help(script: Path, tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, str(script), "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("usage:")
    assert not list(tmp_path.iterdir())
