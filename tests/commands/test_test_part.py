"""A test part next to train and val: kept out of training, scored once by the finished run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from tests.hardware import FP32
from tests.recipes import DIGITS

from snellen import evaluate, report, resume, train
from snellen.data.listing import DataSpec
from snellen.data.sources import read_images
from snellen.data.unlabelled import read_unlabelled
from snellen.insight.segmentation import miou
from snellen.reporting.closing import closing_lines
from snellen.runs import Run

QUIET = Console(quiet=True)
SCENES = {
    "task": "segmentation",
    "name": "scenes",
    "epochs": 2,
    "batch_size": 4,
    "model": {"architecture": "unet/test_resnet"},
    "hardware": FP32,
    "snapshots": {"images": 0},
}


@pytest.fixture
def parts(digits: Path, tmp_path: Path) -> Path:
    """Digits in train/, val/ and test/: of each class the first files, and every fourth of the others in each."""
    root = tmp_path / "parts"
    for folder in sorted(path for path in digits.iterdir() if path.is_dir())[:3]:
        for row, file in enumerate(sorted(folder.iterdir())[:24]):
            part = ("train", "train", "val", "test")[row % 4]
            (root / part / folder.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, root / part / folder.name / file.name)
    return root


def parts_of(root: Path) -> tuple[int, int, int]:
    images = read_images(root, DataSpec())
    return len(images.train), len(images.validation), len(images.test)


def test_it_is_scored_once_with_the_chosen_weights(parts: Path, tmp_path: Path) -> None:
    run = train(parts, DIGITS, out=tmp_path / "run", console=QUIET)
    assert run.data["counts"] == {"train": 36, "validation": 18, "test": 18}
    samples = run.samples()
    assert set(samples.loc[samples["split"] == "test", "path"].str.split("/").str[0]) == {"test"}
    predictions = run.test()
    assert predictions.epoch == run.status.chosen_epoch
    evaluation = evaluate(run, parts / "test", quiet=True)
    assert predictions.target.tolist() == evaluation.target.tolist()
    np.testing.assert_array_equal(predictions.probabilities, evaluation.probabilities)
    table = pd.read_csv(run.path / "predictions" / "test.csv")
    assert table["correct"].mean() == evaluation.figures.top1


def test_a_run_stopped_during_its_final_scoring_resumes_there(parts: Path, tmp_path: Path) -> None:
    run = train(parts, DIGITS, out=tmp_path / "run", console=QUIET)
    predictions = run.test()
    status = run.path / "status.json"
    status.write_text(json.dumps(run.status.as_dict() | {"state": "running"}))
    (run.path / "predictions" / "test.npz").unlink()
    resumed_run = resume(run.path, console=QUIET)
    assert resumed_run.status.state == "finished"
    np.testing.assert_array_equal(resumed_run.test().probabilities, predictions.probabilities)


def test_an_unreadable_test_file_does_not_fail_the_training(parts: Path, tmp_path: Path) -> None:
    min((parts / "test" / "0").iterdir()).write_bytes(b"no image")
    run = train(parts, DIGITS, out=tmp_path / "run", console=QUIET)
    assert run.status.state == "finished"
    assert run.test().rows.tolist() == list(range(1, 18))
    assert len(pd.read_csv(run.path / "predictions" / "test.csv")) == 17


def test_masks_are_scored_too(scenes: Path, tmp_path: Path) -> None:
    root = tmp_path / "scenes"
    for row, image in enumerate(sorted(scenes.rglob("*_sat.jpg"))):
        mask = image.with_name(image.name.replace("_sat.jpg", "_mask.png"))
        folder = root / ("train", "train", "val", "test")[row % 4]
        folder.mkdir(parents=True, exist_ok=True)
        for file in (image, mask):
            shutil.copy(file, folder / file.name)
    run = train(root, SCENES, out=tmp_path / "run", console=QUIET)
    predictions = run.test()
    assert len(predictions.confusion) == run.data["counts"]["test"] == 4
    evaluation = evaluate(run, root / "test", quiet=True)
    assert miou(predictions.confusion) == evaluation.figures.miou
    assert (Run(run.path).path / "predictions" / "test.csv").is_file()


def test_an_unscorable_test_part_is_left_out_with_a_note(parts: Path) -> None:
    assert parts_of(parts) == (36, 18, 18)
    shutil.copytree(parts / "test" / "0", parts / "test" / "unknown")
    images = read_images(parts, DataSpec())
    assert images.test == ()
    assert "the test part is not scored: class 'unknown' has no training images" in images.notes
    shutil.rmtree(parts / "test")
    (parts / "test").mkdir()
    for number, file in enumerate(sorted(parts.rglob("*.png"))[:5]):
        shutil.copy(file, parts / "test" / f"{number}.png")
    images = read_images(parts, DataSpec())
    assert images.test == ()
    assert any(note.startswith("test/ is not scored") for note in images.notes)


def test_without_val_it_is_the_validation_part(parts: Path) -> None:
    shutil.rmtree(parts / "val")
    assert parts_of(parts) == (36, 18, 0)


def test_pretraining_learns_from_train_alone(parts: Path) -> None:
    assert len(read_unlabelled(parts).paths) == 36


@pytest.mark.parametrize(("last", "expected"), [("test", (2, 2, 2)), ("val", (2, 4, 0))])
def test_rows_of_a_table(tmp_path: Path, parts: Path, last: str, expected: tuple[int, int, int]) -> None:
    files = [[str(file) for file in sorted((parts / "train" / name).iterdir())] for name in ("0", "1")]
    splits = ("train", "val", last)
    rows = [(files[label][row], label, split) for label in (0, 1) for row, split in enumerate(splits)]
    pd.DataFrame(rows, columns=["path", "class", "split"]).to_csv(tmp_path / "table.csv", index=False)
    assert parts_of(tmp_path / "table.csv") == expected


def test_copies_of_training_images_are_reported(parts: Path) -> None:
    source = next((parts / "train" / "0").iterdir())
    shutil.copy(source, parts / "test" / "0" / "copy.png")
    notes = read_images(parts, DataSpec()).notes
    assert any(note.startswith("1 test image is also among the training or the validation images") for note in notes)


def test_the_report_is_of_the_test_images(parts: Path, tmp_path: Path) -> None:
    best = DIGITS | {"evaluation": {"size": 16, "choose": "best"}}
    runs = [train(parts, best | {"seed": seed}, out=tmp_path / f"run{seed}", console=QUIET) for seed in (0, 1)]
    report([run.path for run in runs], tmp_path / "report.html")
    numbers = json.loads((tmp_path / "report.json").read_text())
    for run, entry in zip(runs, numbers["runs"], strict=True):
        predictions = run.test()
        assert entry["images"] == 18
        assert entry["top1"] == (predictions.probabilities.argmax(1) == predictions.target).mean()
        assert not entry["crossfitted"]
        assert "18 test images, scored once, which neither trained the network nor chose the epoch" in entry["choice"]
    page = (tmp_path / "report.html").read_text()
    assert "36 training, 18 validation and 18 test images" in page
    assert [
        line
        for line in closing_lines(runs[0].kind.report.view(runs[0].recipe.name, runs[0], 0))
        if "on 18 test images" in line
    ]
    shutil.rmtree(runs[0].path / "predictions")  # as a run of an older version, which has none of a test part
    shutil.copytree(runs[1].path / "predictions", runs[0].path / "predictions")
    (runs[0].path / "predictions" / "test.npz").unlink()
    report(runs[0], tmp_path / "alone.html")
    assert "its test part was not scored" in (tmp_path / "alone.html").read_text()
