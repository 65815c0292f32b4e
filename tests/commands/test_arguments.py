"""What fingers type out of habit is understood, or answered with the right spelling."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from tests.commands.test_cli import snellen

import snellen as package
from snellen import UserError
from snellen.recipe.fields import field_paths, nearest_fields
from snellen.study.spec import load_study
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.kinds import load_recipe
from snellen.tasks.pretraining.recipe import PretrainingRecipe
from snellen.tasks.segmentation.recipe import SegmentationRecipe


def typed(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and output of a command line."""
    return snellen(*line.split()[1:], capsys=capsys)


@pytest.fixture(autouse=True)
def _beside_the_data(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own where the digits are called photos."""
    (tmp_path / "photos").symlink_to(digits)
    monkeypatch.chdir(tmp_path)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("snellen --version", capsys) == (0, f"snellen {version('snellen')}\n")
    assert package.__version__ == version("snellen")


def test_words_for_help_and_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("snellen help", capsys) == typed("snellen --help", capsys)
    assert typed("snellen help train", capsys) == typed("snellen train --help", capsys)
    assert typed("snellen recipes list", capsys) == typed("snellen recipes", capsys)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("train photos --epochs 5", "key=value: epochs=5"),
        ("train photos --batch-size=5", "key=value: batch_size=5"),
        ("train photos --lr 0.1", "key=value: optimizer.lr=0.1"),
        ("pretrain photos --momentum", "method.momentum=VALUE"),
        ("compare transfer-lite photos --seeds 3", "key=value: seeds=3"),
        ("compare transfer-lite photos --epochs 3", "key=value: changes.epochs=3"),
        ("train photos --nonsense 5", "No such option"),
        (
            "train data=photos model=resnet18",
            "DATA takes no key. Write it on its own, as in: snellen train [RECIPE] photos",
        ),
        ("train airnet-scratch photos model=resnet18", "model.backbone=resnet18"),
        ("train airnet-scratch photos optimizer=sgd", "Write optimizer.name=sgd"),
        ("train airnet-scratch photos lr=0.1", "Did you mean 'optimizer.lr'?"),
        ("train airnet-scratch photos optimizer.lrr=0.1", "Did you mean 'optimizer.lr'?"),
        ("train airnet-scratch photos data.val_fraction=0.1", "Did you mean 'data.validation_share'?"),
        ("pretrain simclr-small photos method.momentumm=1", "Did you mean 'method.momentum'?"),
        ("compare transfer-lite photos lr=0.1", "changes.optimizer.lr=0.1"),
        ("compare recipes photos settings.airnet-scratch.changes.epochs=1", "study 'recipes', settings"),
        ("compare transfer-lite photos scenes", "(given: transfer-lite photos scenes)"),
        ("train photos airnet-scratch", "snellen train airnet-scratch photos"),
        ("pretrain photos simclr-small", "snellen pretrain simclr-small photos"),
        ("compare photos transfer-lite", "snellen compare transfer-lite photos"),
        ("train photos mine.yaml", "snellen train mine.yaml photos"),
        ("train resnet18 photos", "snellen train photos model.backbone=resnet18"),
        ("val runs/one photos", "snellen evaluate RUN DATA"),
        ("resume runs/one", "snellen train --resume RUN"),
        ("photos", "snellen train photos"),
        ("recipes vgg13-scratch", "snellen recipes show vgg13-scratch"),
        ("trian photos", "No such command"),
    ],
)
def test_habits_are_answered_with_the_right_spelling(
    line: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = typed(f"snellen {line}", capsys)
    assert code == 2
    assert answer in out


def test_seeds_and_names_need_no_brackets() -> None:
    fields = {"recipes": "airnet-scratch,finetune-lite", "fractions": "0.1,1"}
    study = load_study(fields | {"seeds": "0,1,2"})
    assert study.seeds == (0, 1, 2)
    assert study.fractions == (0.1, 1.0)
    assert study.recipes == ("airnet-scratch", "finetune-lite")
    assert load_study(fields | {"seeds": 3}).seeds == (0, 1, 2)
    assert load_study(fields | {"seeds": [3]}).seeds == (3,)
    assert [setting.name for setting in load_study("transfer-lite", {"only": "A,C"}).chosen] == ["A", "C"]
    for wrong in (0, -1, 10**12, "a,b", True):
        with pytest.raises(UserError, match="seeds"):
            load_study(fields | {"seeds": wrong})


@pytest.mark.parametrize("kind", [Recipe, PretrainingRecipe, SegmentationRecipe])
def test_every_suggested_path_is_a_field(kind: type[Recipe]) -> None:
    paths = field_paths(kind)
    assert len(paths) == len(set(paths)) > 50
    for path in paths:
        name = path.rpartition(".")[2]
        assert set(nearest_fields(kind, [f"{name}_"]) + nearest_fields(kind, [name])) <= set(paths)


def test_no_suggestion_if_nothing_is_similar() -> None:
    with pytest.raises(UserError, match=re.escape("zzzz: no such field. Known: name, seed")):
        load_recipe("airnet-scratch", {"zzzz": 1})


def test_a_word_too_long_for_a_file_is_not_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = typed(f"snellen train {'x' * 5000} photos", capsys)
    assert (code, "no such recipe" in out) == (2, True)
