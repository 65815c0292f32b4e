"""A run as others load it: the same outputs in timm and in snellen, and a card that says what the run knows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from tests.hardware import FP32
from tests.recipes import DIGITS, SCENES, VIEWS

from snellen import Run, UserError, load_model, pretrain, push, train
from snellen.data.augment.pipeline import Augmentation, evaluation_view
from snellen.data.augment.spec import AugmentationSpec
from snellen.data.decode import decode
from snellen.data.normalization import Normalization
from snellen.sharing import folder as shared_folder

RECIPE: dict[str, Any] = DIGITS | {"epochs": 1, "snapshots": {"images": 0}, "hardware": FP32}


@pytest.fixture(scope="module")
def resnet(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of timm with a linear head, whose multiplier becomes a part of the layer; scored on resized, cropped images."""
    model = {"backbone": "test_resnet", "head": {"scale": 0.25, "last_dropout": 0.2}}
    evaluation = {"size": 32, "resize": 36, "interpolation": "bicubic"}
    augmentation = {"size": 32, "crop": "random", "resize": 32}
    recipe = RECIPE | {"model": model, "evaluation": evaluation, "augmentation": augmentation}
    return train(digits, recipe, out=tmp_path_factory.mktemp("runs") / "resnet", quiet=True)


@pytest.fixture(scope="module")
def airnet(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(digits, RECIPE, out=tmp_path_factory.mktemp("runs") / "airnet", quiet=True)


def views_of(run: Run, count: int) -> torch.Tensor:
    """Validation images as the network takes them."""
    recipe: Any = run.recipe
    paths = [run.image(path) for path in run.part("validation")["path"][:count]]
    views = torch.stack([evaluation_view(decode(path), recipe.evaluation) for path in paths])
    normalization = Normalization.recorded(run.data["normalization"])
    return Augmentation(AugmentationSpec(), normalization, torch.device("cpu")).evaluate(views)


def test_timm_gives_the_logits_of_the_run(resnet: Run, tmp_path: Path) -> None:
    pushed = push(resnet, tmp_path / "shared", onnx=False, quiet=True)
    assert pushed.native
    model = timm.create_model(f"local-dir:{tmp_path / 'shared'}", pretrained=True).eval()
    images = views_of(resnet, 13)
    with torch.no_grad():
        logits = model(images)
        assert (logits - resnet.model()(images)).abs().max() < 1e-5
        assert (logits - load_model(tmp_path / "shared")(images)).abs().max() < 1e-5
    # What training itself has recorded.
    np.testing.assert_allclose(logits.softmax(1).numpy(), resnet.validation().probabilities, atol=1e-5)
    data = timm.data.resolve_data_config({}, model=model)
    assert list(data["input_size"]) == [3, 32, 32]
    assert data["crop_pct"] == 32 / 36
    assert data["interpolation"] == "bicubic"
    assert list(data["mean"]) == resnet.data["normalization"]["mean"]
    config = json.loads((tmp_path / "shared" / "config.json").read_text())
    assert config["label_names"] == ["0", "1", "2"]


def test_timm_builds_a_network_of_one_image_size_in_that_size(digits: Path, tmp_path: Path) -> None:
    sizes = {"augmentation": {"size": 32, "crop": "random", "resize": 32}, "evaluation": {"size": 32}}
    recipe = RECIPE | sizes | {"model": {"backbone": "test_vit"}}
    run = train(digits, recipe, out=tmp_path / "run", quiet=True)
    assert push(run, tmp_path / "shared", onnx=False, quiet=True).native
    model = timm.create_model(f"local-dir:{tmp_path / 'shared'}", pretrained=True).eval()
    images = views_of(run, 4)
    with torch.no_grad():
        assert (model(images) - run.model()(images)).abs().max() < 1e-5


@pytest.mark.parametrize(
    "model",
    [
        {"backbone": "airnet", "width": 0.125},
        {"backbone": "test_resnet", "head": {"hidden": [8]}},
        {"backbone": "torchvision/mobilenet_v3_small"},
    ],
)
def test_what_timm_does_not_have_is_loaded_by_snellen(model: dict[str, Any], digits: Path, tmp_path: Path) -> None:
    sizes = {"augmentation": {"size": 32, "crop": "random", "resize": 32}, "evaluation": {"size": 32}}
    run = train(digits, RECIPE | sizes | {"model": model}, out=tmp_path / "run", quiet=True)
    assert not push(run, tmp_path / "shared", onnx=False, quiet=True).native
    images = views_of(run, 4)
    with torch.no_grad():
        assert load_model(tmp_path / "shared")(images).equal(run.model()(images))
    card = ModelCard.load(tmp_path / "shared" / "README.md")
    assert card.data.library_name == "snellen"
    assert "timm.create_model" not in card.text
    assert "snellen.load_model" in card.text


def test_a_pretrained_backbone_gives_its_features(digits: Path, tmp_path: Path) -> None:
    evaluation = {"size": 32, "data": str(digits), "collapse": "warn"}
    recipe = VIEWS | {"epochs": 1, "model": {"backbone": "test_resnet"}, "augmentation": {"size": 32}}
    run = pretrain(digits, recipe | {"evaluation": evaluation}, out=tmp_path / "run", quiet=True)
    pushed = push(run, tmp_path / "shared", quiet=True)
    assert pushed.native
    assert "model.onnx" not in pushed.files
    model = timm.create_model(f"local-dir:{tmp_path / 'shared'}", pretrained=True)
    weights = load_file(run.path / "checkpoints" / "best.safetensors")
    assert all(tensor.equal(weights[name]) for name, tensor in model.state_dict().items())
    assert model.num_classes == 0
    card = ModelCard.load(tmp_path / "shared" / "README.md")
    assert card.data.pipeline_tag == "image-feature-extraction"
    assert "k-NN top-1" in card.text


@pytest.mark.slow
def test_a_segmenter_is_shared_with_its_file(scenes: Path, tmp_path: Path) -> None:
    run = train(scenes, SCENES, out=tmp_path / "run", quiet=True)
    pushed = push(run, tmp_path / "shared", quiet=True)
    assert not pushed.native
    assert pushed.agreement is not None
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert load_model(tmp_path / "shared")(images).equal(run.model()(images))
    text = (tmp_path / "shared" / "README.md").read_text()
    assert f"| mIoU | {run.status.score:.4f} |" in text
    assert_no_folder_is_named(tmp_path / "shared", tmp_path, scenes)


@pytest.mark.slow
def test_the_exported_file_answers_as_timm_does_and_predicts(resnet: Run, digits: Path, tmp_path: Path) -> None:
    from onnxruntime import InferenceSession

    out = tmp_path / "shared"
    push(resnet, out, licence="apache-2.0", quiet=True)
    model = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    session = InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    path = resnet.image(resnet.part("validation")["path"].iloc[0])
    answer = session.run(["probabilities"], {"images": decode(path).permute(1, 2, 0)[None].numpy()})[0]
    with torch.no_grad():
        np.testing.assert_allclose(model(views_of(resnet, 1)).softmax(1).numpy(), answer, atol=1e-5)
    assert_no_folder_is_named(out, tmp_path, digits, resnet.path)
    shown = [sys.executable, "-m", "snellen", "predict", str(out / "model.onnx"), str(path), "--json"]
    process = subprocess.run(shown, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(process.stdout)["predicted"] == 1


def assert_no_folder_is_named(shared: Path, *folders: Path) -> None:
    for file in shared.iterdir():
        for folder in folders:
            assert str(folder).encode() not in file.read_bytes(), f"{file.name} names {folder}"


def test_the_card_says_what_the_run_knows(resnet: Run, tmp_path: Path) -> None:
    pushed = push(resnet, tmp_path / "my-model", licence="apache-2.0", data_licence="CC-BY-4.0", onnx=False, quiet=True)
    card = ModelCard.load(tmp_path / "my-model" / "README.md")  # parses the front matter as the hub does
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "timm"
    assert card.data.model_name == "my-model"
    top1 = next(result for result in card.data.eval_results if result.metric_name == "top-1")
    status = resnet.status
    assert top1.metric_value == pytest.approx(status.score, abs=1e-6)
    assert f"| top-1 | {status.score:.4f} | {status.low:.4f} to {status.high:.4f} |" in card.text
    assert f"(n = {status.images})" in card.text
    assert "the only one, so no epoch was chosen by its score" in card.text
    assert "No scored image is a file that is also in training" in card.text
    assert "| initial weights | trained from scratch | none: trained from scratch |" in card.text
    assert "| CC-BY-4.0 |" in card.text
    assert pushed.as_dict()["score"] == status.score
    assert_no_folder_is_named(tmp_path / "my-model", tmp_path, resnet.path, Path(resnet.data["root"]))


def test_licences_that_nobody_stated_are_unknown_and_initial_weights_are_named(digits: Path, tmp_path: Path) -> None:
    first = train(digits, RECIPE, out=tmp_path / "secret" / "first", quiet=True)
    weights = tmp_path / "secret" / "bought-weights.safetensors"
    shutil.copy(first.path / "checkpoints" / "best.safetensors", weights)
    run = train(digits, RECIPE, model={"weights": str(weights)}, out=tmp_path / "run", quiet=True)
    push(run, tmp_path / "shared", onnx=False, quiet=True)
    card = ModelCard.load(tmp_path / "shared" / "README.md")
    assert card.data.license == "unknown"
    assert "| this model | | unknown |" in card.text
    assert "| initial weights | bought-weights.safetensors | unknown |" in card.text
    assert_no_folder_is_named(tmp_path / "shared", tmp_path)


def test_leaks_and_odd_class_names_are_on_the_card(digits: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for part, numbers in (("train", range(20)), ("val", range(18, 30))):
        for label, name in (("0", "a|b\n# c"), ("1", "`rm`")):
            (data / part / name).mkdir(parents=True)
            for number in numbers:
                shutil.copy(sorted((digits / label).iterdir())[number], data / part / name / f"{number}.png")
    run = train(data, RECIPE, out=tmp_path / "run", quiet=True)
    push(run, tmp_path / "shared", onnx=False, quiet=True)
    text = ModelCard.load(tmp_path / "shared" / "README.md").text
    assert "Without the 4 leaked images" in text
    assert "in this order (also in `classes.json`): \\`rm\\`, a\\|b \\# c." in text
    assert json.loads((tmp_path / "shared" / "classes.json").read_text()) == run.classes


def test_a_run_that_is_not_finished_is_refused(airnet: Run, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(airnet.path, copy)
    status = json.loads((copy / "status.json").read_text())
    (copy / "status.json").write_text(json.dumps(status | {"state": "interrupted", "epochs_done": 0}))
    with pytest.raises(UserError, match="is interrupted after 0 of 1 epochs; only a finished run is pushed"):
        push(copy, tmp_path / "shared", quiet=True)
    assert not (tmp_path / "shared").exists()


def test_a_folder_is_replaced_only_by_force_and_only_one_of_push(airnet: Run, tmp_path: Path) -> None:
    out = tmp_path / "shared"
    push(airnet, out, onnx=False, quiet=True)
    with pytest.raises(UserError, match=r"already exists\. To replace it: --force"):
        push(airnet, out, onnx=False, quiet=True)
    push(airnet, out, licence="mit", onnx=False, force=True, quiet=True)
    assert "license: mit" in (out / "README.md").read_text()
    (out / ".git").mkdir()
    with pytest.raises(UserError, match="not a folder that push has written"):
        push(airnet, out, onnx=False, force=True, quiet=True)
    with pytest.raises(UserError, match="not a folder that push has written"):
        push(airnet, airnet.path / "recipe.yaml", onnx=False, force=True, quiet=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["shared"]


def test_nothing_is_left_of_a_folder_that_could_not_be_finished(
    airnet: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise UserError(f"{path}: the disk is full")

    push(airnet, tmp_path / "shared", licence="mit", onnx=False, quiet=True)
    monkeypatch.setattr(shared_folder, "write_text", full)  # of the card, the last file
    with pytest.raises(UserError, match="the disk is full"):
        push(airnet, tmp_path / "new", onnx=False, quiet=True)
    with pytest.raises(UserError, match="the disk is full"):
        push(airnet, tmp_path / "shared", onnx=False, force=True, quiet=True)
    assert [file.name for file in tmp_path.iterdir()] == ["shared"]
    assert "license: mit" in (tmp_path / "shared" / "README.md").read_text()


class Hub:
    """Stands for huggingface_hub's client: notes the calls, and reads what is uploaded."""

    def __init__(self) -> None:
        self.repositories: set[str] = set()
        self.files: dict[str, bytes] = {}
        self.private: bool | None = None

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> str:
        if repo_id in self.repositories and not exist_ok:
            raise ValueError("409 Client Error: You already created this model repo")
        self.repositories.add(repo_id)
        self.private = private
        return f"https://hub/{repo_id}"

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        assert repo_id in self.repositories
        self.files = {file.name: file.read_bytes() for file in Path(folder_path).iterdir()}


def test_an_upload_is_one_call_of_the_hubs_client(airnet: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client itself is not tried: it needs the hub."""
    hub = Hub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    monkeypatch.chdir(tmp_path)
    pushed = push(airnet, "hf:me/digits", onnx=False, private=True, quiet=True)
    assert pushed.to == "https://hub/me/digits"
    assert hub.private
    assert {name: len(content) for name, content in hub.files.items()} == pushed.files
    assert b"# digits\n" in hub.files["README.md"]
    with pytest.raises(UserError, match="hf:me/digits: not uploaded: 409 Client Error"):
        push(airnet, "hf:me/digits", onnx=False, quiet=True)
    push(airnet, "hf:me/digits", onnx=False, force=True, quiet=True)
    with pytest.raises(UserError, match="expected hf:OWNER/NAME"):
        push(airnet, "hf:digits", onnx=False, quiet=True)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("config.json", lambda file: file.write_text("{"), "not written by snellen push"),
        ("config.json", lambda file: file.write_text("{}"), "not written by snellen push"),
        ("config.json", lambda file: file.unlink(), "no such file"),
        ("model.safetensors", lambda file: file.write_bytes(b"no"), "not a safetensors file"),
        ("model.safetensors", lambda file: save_file({"a": torch.ones(1)}, file), "does not fit"),
    ],
)
def test_a_damaged_folder_is_refused_in_words(
    name: str, change: Any, message: str, airnet: Run, tmp_path: Path
) -> None:
    push(airnet, tmp_path / "shared", onnx=False, quiet=True)
    change(tmp_path / "shared" / name)
    with pytest.raises(UserError, match=message):
        load_model(tmp_path / "shared")


def test_the_command_prints_json(airnet: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from typer.testing import CliRunner

    from snellen.cli import app

    arguments = [
        "push",
        str(airnet.path),
        "--to",
        str(tmp_path / "shared"),
        "--no-onnx",
        "--data-license",
        "CC0",
        "--json",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["files"].keys() == {file.name for file in (tmp_path / "shared").iterdir()}
    assert printed["images"] == airnet.status.images
    assert "| CC0 |" in (tmp_path / "shared" / "README.md").read_text()
