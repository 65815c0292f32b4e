"""Every shell block of the pages is run as written, in a folder with a few images; only the runs are shorter."""

from __future__ import annotations

import glob
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_sample_image
from tests.hardware import ARGUMENTS, HARDWARE

from snellen import train
from snellen.cli import main
from snellen.data.masks.scenes import draw_scenes

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))]
STARTS = ("snellen ", "make ", "pip ", "python ")

BRIEF = f"epochs=1 budget=null batch_size=4 {' '.join(ARGUMENTS)} snapshots.images=4"
SIZE = "augmentation.size=32 evaluation.size=32"
LITE = f"{BRIEF} {SIZE} augmentation.resize=32 model.weights=lite0.safetensors"
MASKS = f"{BRIEF} augmentation.size=[32,32] augmentation.resize=null"
LITE_MASKS = f"{MASKS} model.weights=lite0.safetensors"
PRETRAINING = f"{BRIEF} {SIZE} evaluation.collapse=warn evaluation.every=1"


def prefixed(prefix: str, pairs: str) -> str:
    return " ".join(f"{prefix}.{pair}" for pair in pairs.split())


STUDY = f"seeds=1 {prefixed('changes', f'{BRIEF} {SIZE}')}"
STEP = prefixed("pretraining.changes", PRETRAINING)
TRANSFER = f"{STUDY} {STEP} supervised=lite0.safetensors"
# What is added to a command, by the beginning of the line; None: it is not typed, only that it is there is checked.
SHORTER: dict[str, dict[str, str | None]] = {
    "README.md": {
        "snellen train photos/": LITE,
        "snellen train vgg13-scratch photos/": BRIEF,
        "snellen report runs/*": "",
        "snellen pretrain photos/": PRETRAINING,
        "snellen compare transfer-lite photos/": TRANSFER,
        "snellen train scenes/": LITE_MASKS,
        "snellen shard photos/": "",
        "snellen cache": "",
        "make demo": None,
        "make test": None,
        "pip install": None,
        "snellen check snellen-demo/digits": "",
        "snellen train airnet-scratch snellen-demo/digits": BRIEF,
        "snellen report runs/wide runs/narrow": "",
        "snellen predict runs/wide snellen-demo/digits/3": "",
        "snellen evaluate runs/wide snellen-demo/digits": "",
        "snellen export runs/wide --out wide.onnx": "",
        "snellen push runs/wide --to shared/wide": "",
        "snellen predict snellen-demo/unet snellen-demo/scenes/validation": "",
        "snellen compare label-efficiency photos/": f"{TRANSFER} fractions=0.5,1 fewest_steps=0",
        "snellen compare recipes photos/": f"{STUDY} changes.model.weights=null",
    },
    "docs/studies.md": {
        "snellen compare few-labels.yaml digits/": f"{STUDY} {STEP} fractions=0.5",
        "snellen pretrain simclr-small cifar10": PRETRAINING,
        "snellen compare docs/studies/cifar10.yaml cifar10": f"{STUDY} fractions=0.5 fewest_steps=0",
        "snellen compare transfer-lite clothing": f"{STUDY} {STEP}",
    },
    "docs/export.md": {
        "snellen export runs/wide": None,  # typed for the README; its file is used in tests/commands/test_export.py
        "snellen predict wide.onnx": None,
        "snellen evaluate wide.onnx": None,
        "snellen export runs/scenes": None,  # as in tests/commands/test_export_masks.py
        "snellen predict scenes.onnx": None,
        "snellen evaluate scenes.onnx": None,
    },
    "docs/sharing.md": {
        "snellen push runs/wide --to shared/wide": None,  # as on the README
        "snellen push runs/wide --to hf:OWNER/NAME": None,  # tests/sharing has a stand-in for the hub
    },
    "docs/trackers.md": {
        "pip install": None,
        "snellen train airnet-scratch photos/ trackers=mlflow": None,  # tests/tracking/test_real_trackers.py does
        "WANDB_MODE=offline": None,
        "snellen compare transfer-lite photos/ changes.trackers": None,
    },
    "docs/serve.md": {
        "snellen serve runs/wide": None,  # tests/serving starts servers
        "snellen serve wide.onnx": None,
    },
    "docs/many-devices.md": {
        "snellen train finetune-lite photos/": LITE,
        "snellen train finetune-large photos/": None,  # tests/ranks trains sharded
        "torchrun": None,
    },
    "docs/checking.md": {
        "snellen check photos --report check.html": None,  # tests/commands/test_check_copies.py does
        "snellen check photos --features resnet50": None,  # tests/commands/test_check_labels.py does
    },
    "docs/shards.md": {
        "snellen shard photos/": "",
        "snellen check photos-shards/": "",
        "snellen train finetune-lite photos-shards/": LITE,
        "snellen train finetune-lite https://host/photos-shards/": None,
        "snellen train finetune-lite s3://bucket/photos-shards/": None,
    },
    "docs/segmentation.md": {
        "snellen check camvid": "",
        "snellen train segment-lite camvid": LITE_MASKS,
        "snellen train deeplabv3-resnet50-poly1 camvid": MASKS,
        "snellen train fcn32s-vgg16 camvid": MASKS,
        "snellen report runs/*": "",
        "snellen predict runs/camvid new-scenes/": "",
    },
}


def commands(page: str) -> list[str]:
    """The lines of a page's shell blocks, without comments."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks if block.startswith(STARTS) for line in block.splitlines()]
    return [line for line in lines if shlex.split(line, comments=True)]


def addition(page: str, line: str) -> str | None:
    """What makes a command shorter; the longest beginning of it decides."""
    starts = [start for start in SHORTER.get(page, {}) if line.startswith(start)]
    assert starts, f"{page}: '{line}' is not among those that are tried; add how it is shortened to SHORTER"
    return SHORTER[page][max(starts, key=len)]


def test_every_command_is_tried() -> None:
    lines = {page: commands(page) for page in PAGES}
    assert len(lines["README.md"]) > 15
    for page, page_lines in lines.items():
        for line in page_lines:
            addition(page, line)
        unused = [s for s in SHORTER.get(page, {}) if not any(line.startswith(s) for line in page_lines)]
        assert not unused, f"{page} no longer has {unused}"


def test_make_knows_its_targets() -> None:
    for target in ("demo", "test", "test-all"):
        assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False).returncode == 0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a reader: photos/, digits/, scenes/ and their like, and weights in a file."""
    from benchmarks.efficientnet_lite0_weights import write_weights

    names = {"dress": "china.jpg", "hat": "flower.jpg"}
    for name, source in names.items():
        picture = Image.fromarray(load_sample_image(source))
        for number in range(12):
            path = tmp_path / "photos" / ("val" if number < 4 else "train") / name / f"{number:04d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            left, top = 40 * number, 25 * number
            picture.crop((left, top, left + 96, top + 96)).save(path)
    for alias in ("digits", "cifar10", "clothing"):
        (tmp_path / alias).symlink_to("photos")
    draw_scenes(tmp_path / "scenes", 12, size=48, validation_share=0.3)
    (tmp_path / "camvid").symlink_to("scenes")
    for name, label in (("hat", "3"), ("dress", "8")):
        shutil.copytree(tmp_path / "photos" / "train" / name, tmp_path / "snellen-demo" / "digits" / label)
    shutil.copytree(tmp_path / "scenes", tmp_path / "snellen-demo" / "scenes")
    masks = {"task": "segmentation", "epochs": 1, "batch_size": 4, "model": {"architecture": "unet/test_resnet"}}
    recipe = masks | {"hardware": HARDWARE, "snapshots": {"images": 1}}
    train(tmp_path / "scenes", recipe, out=tmp_path / "snellen-demo" / "unet", quiet=True)
    (tmp_path / "new-scenes").mkdir()
    for path in sorted((tmp_path / "scenes").rglob("*_sat.jpg"))[:2]:
        (tmp_path / "new-scenes" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    study = re.search(r"```yaml\n(.*?)```", (ROOT / "docs/studies.md").read_text(encoding="utf-8"), re.DOTALL)
    assert study is not None
    (tmp_path / "few-labels.yaml").write_text(study[1], encoding="utf-8")
    write_weights(tmp_path / "lite0.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page in SHORTER])
def test_the_commands_of_a_page_run_as_written(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in commands(page):
        extra = addition(page, line)
        if extra is None:
            continue
        words = [*shlex.split(line, comments=True), *shlex.split(extra)]
        typed = [path for word in words for path in (sorted(glob.glob(word)) if "*" in word else [word])]
        monkeypatch.setattr(sys, "argv", typed)
        try:
            main()
            code: object = 0
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        assert code == 0, f"{line}\n{captured.out[-2000:]}\n{captured.err[-2000:]}"
