"""Names and surroundings that are legal and rare."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from snellen import UserError, train
from snellen.cli import app, main
from snellen.engine.device import make_fabric
from snellen.tasks.kinds import load_recipe
from snellen.tasks.setup import with_absolute_weights

QUIET = Console(quiet=True)


@pytest.mark.parametrize("word", ["imagenet", "coco"])
def test_a_folder_named_like_a_keyword_is_not_the_weights(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / word).mkdir()
    recipe = load_recipe("finetune-lite", {"model.weights": word})
    assert with_absolute_weights(recipe).model.weights == word
    recipe = load_recipe("finetune-lite", {"model.weights": f"./{word}"})
    assert with_absolute_weights(recipe).model.weights == str(tmp_path / word)


def test_a_long_list_of_classes_is_not_a_path(digits: Path, tmp_path: Path) -> None:
    names = ",".join(f"class_{number}" for number in range(400))
    result = CliRunner().invoke(app, ["train", str(digits), f"data.classes=[{names}]", "--out", str(tmp_path / "run")])
    assert isinstance(result.exception, UserError)
    assert "class" in str(result.exception)


def test_a_name_that_is_too_long_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = 300 * "9"
    monkeypatch.setattr(sys, "argv", ["snellen", "check", name])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == f"error: {name}: File name too long\n"


def test_a_name_that_is_not_text_is_reported_before_anything_is_decoded(digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits, tmp_path / "images")
    path = os.fsencode(tmp_path / "images" / "0") + b"/gr\xfcn.png"
    try:
        shutil.copy(digits / "0" / "0.png", path)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(UserError, match=r"gr\\xfcn\.png: the name is not UTF-8"):
        train(tmp_path / "images", "airnet-scratch", out=tmp_path / "run", console=QUIET)


def test_variables_of_a_scheduler_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SLURM_NTASKS": "4",
        "SLURM_JOB_NAME": "train",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
    }.items():
        monkeypatch.setenv(name, value)
    assert make_fabric(torch.device("cpu"), "fp32").world_size == 1
