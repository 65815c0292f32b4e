"""A pretraining set up for real, before its first step."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from snellen.commands.pretrain import pretrain
from snellen.commands.train import train
from snellen.data.unlabelled import read_unlabelled
from snellen.errors import UserError
from snellen.recipe.load import load_as
from snellen.tasks.kinds import load_recipe
from snellen.tasks.pretraining.prepare import PreparedPretraining
from snellen.tasks.pretraining.prepare import prepare as prepare_pretraining
from snellen.tasks.pretraining.recipe import PretrainingRecipe

QUIET = Console(quiet=True)
FP32 = {"device": "cpu", "precision": "fp32", "channels_last": False, "unfold": False}
METHODS: dict[str, dict[str, Any]] = {
    "byol": {"hidden": 16, "output": 8},
    "moco": {"hidden": 16, "output": 8, "queue": 32},
    "dino": {"hidden": 16, "bottleneck": 4, "output": 8},
    "simclr": {"hidden": 16, "output": 8},
    "simsiam": {"hidden": 16, "output": 8, "bottleneck": 4},
    "barlow_twins": {"hidden": 16, "output": 8},
    "vicreg": {"hidden": 16, "output": 8},
}
TARGETS = {
    "byol": {"backbone": "target_backbone", "projector": "target_projector"},
    "moco": {"backbone": "key_backbone", "projector": "key_projector"},
    "dino": {"backbone": "teacher_backbone", "projector": "teacher_projector"},
}


def prepared(
    digits: Path, tmp_path: Path, method: str, console: Console = QUIET, **overrides: Any
) -> PreparedPretraining:
    fields = {
        "batch_size": 32,
        "augmentation.size": 16,
        "evaluation.size": 16,
        "model.width": 0.125,
        "hardware": FP32,
        "method": {"name": method} | METHODS[method],
    }
    recipe = load_as(PretrainingRecipe, "byol-small", fields | overrides)
    return prepare_pretraining(tmp_path / "run", recipe, read_unlabelled(digits), console, None)


@pytest.mark.parametrize("backbone", ["airnet", "test_resnet"])
@pytest.mark.parametrize("name", TARGETS)
def test_a_target_starts_as_a_copy(digits: Path, tmp_path: Path, name: str, backbone: str) -> None:
    """All parameters and buffers of a target network are the online one's, bit by bit, before the first step."""
    width = 0.125 if backbone == "airnet" else 1.0
    method = prepared(digits, tmp_path, name, **{"model.backbone": backbone, "model.width": width}).job.model
    for online, target in TARGETS[name].items():
        online_state, target_state = (method.get_submodule(part).state_dict() for part in (online, target))
        assert list(online_state) == list(target_state)
        assert all(online_state[key].equal(target_state[key]) for key in online_state), (name, online)


def test_a_target_starts_as_a_copy_of_whitened_filters(digits: Path, tmp_path: Path) -> None:
    """airnet's first layer is set from the images: its outputs are uncorrelated, in the target too."""
    job = prepared(digits, tmp_path, "byol").job
    images = torch.cat([batch.images for batch in job.task._plain.evaluate()])  # type: ignore[attr-defined]
    patches = nn.functional.unfold(images.double(), 2).transpose(1, 2).reshape(-1, 12)
    layer = job.model.get_submodule("target_backbone.whitening")
    outputs = patches @ layer.weight.detach().double().reshape(24, 12).T
    covariance = (outputs.T @ outputs / len(outputs))[:12, :12]
    assert (covariance - torch.diag(covariance.diagonal())).abs().max() < 1e-3


def test_weights_that_do_not_fit_are_reported_at_the_start(digits: Path, tmp_path: Path) -> None:
    wide_network = prepared(digits, tmp_path, "simclr").job.task.weights(prepared(digits, tmp_path, "simclr").job.model)
    state = {name: tensor for name, tensor in wide_network.state_dict().items() if "conv1" not in name}
    torch.save(state, tmp_path / "weights.pt")
    output = io.StringIO()
    overrides = {"model.weights": str(tmp_path / "weights.pt"), "model.partial": True}
    prepared(digits, tmp_path, "simclr", Console(file=output, width=80), **overrides)
    lines = [line for line in output.getvalue().splitlines() if line.startswith("weights: ")]
    assert len(lines) == 1
    assert "3 missing in the file, which start from scratch (blocks.0.conv1.weight, " in lines[0]


@pytest.mark.parametrize("name", ["byol", "barlow_twins", "vicreg"])
def test_a_healthy_pretraining_with_few_steps_continues(digits: Path, tmp_path: Path, name: str) -> None:
    """Three steps an epoch: in evaluation mode projections look alike, because batch-norm's statistics are young."""
    overrides = {
        "epochs": 2,
        "batch_size": 32,
        "augmentation.size": 16,
        "evaluation.size": 16,
        "evaluation.collapse": "stop",
        "model": {"backbone": "test_resnet"},
        "hardware": FP32,
        "method": {"name": name} | METHODS[name],
        "optimizer": {"name": "adamw", "lr": 0.001},
    }
    run = pretrain(digits, "byol-small", overrides=overrides, out=tmp_path / "run", console=QUIET)
    assert run.status.state == "finished"
    metrics = run.metrics()
    assert metrics["projection_deviation"].min() < 0.1, "or this test shows nothing"
    assert metrics["train_projection_deviation"].min() > 0.1


@pytest.mark.parametrize("name", METHODS)
def test_a_projector_that_says_the_same_of_all_images_has_collapsed(digits: Path, tmp_path: Path, name: str) -> None:
    job = prepared(digits, tmp_path, name).job
    job.model.get_submodule("projector").register_forward_hook(lambda _m, _i, output: torch.ones_like(output))
    before = {key: tensor.clone() for key, tensor in job.model.state_dict().items()}
    evaluation = job.task.evaluate(job.model, job.fabric.autocast)
    assert evaluation.fatal is not None
    assert "the representation has collapsed" in evaluation.fatal
    assert all(tensor.equal(before[key]) for key, tensor in job.model.state_dict().items()), (
        "an evaluation changes nothing"
    )


def test_alternating_flips_show_both_ways(digits: Path, tmp_path: Path) -> None:
    """The two views of an image differ by a mirror image, and the next epoch shows them the other way round."""
    overrides = {"augmentation": {"size": 16, "crop": "center", "resize": 16, "alternate_flip": True}}
    feed = prepared(digits, tmp_path, "simclr", **overrides).job.feed
    batch = next(iter(feed.train(1)))
    torch.testing.assert_close(batch.first, batch.second.flip(-1))
    assert not torch.equal(batch.first, batch.second)


def test_moco_refuses_joint_views_and_warns_of_a_long_queue(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="views cannot be joined"):
        prepared(digits, tmp_path, "moco", **{"method.views_together": True})
    output = io.StringIO()
    prepared(digits, tmp_path, "moco", Console(file=output, width=200), **{"method.queue": 121})
    assert "method.queue=121 exceeds the 120 images" in output.getvalue()


def test_dino_without_batch_norm(digits: Path, tmp_path: Path) -> None:
    def norms(batch_norm: bool) -> int:
        projector = prepared(digits, tmp_path, "dino", **{"method.batch_norm": batch_norm}).job.model.projector
        return sum(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in projector.modules())

    assert (norms(True), norms(False)) == (2, 0)


@pytest.mark.parametrize(("backbone", "size"), [("airnet", 3), ("vit_tiny_patch16_224", 48)])
def test_an_evaluation_size_that_does_not_work_is_reported_first(
    digits: Path, tmp_path: Path, backbone: str, size: int
) -> None:
    width = 0.125 if backbone == "airnet" else 1.0
    overrides = {
        "model.backbone": backbone,
        "model.width": width,
        "augmentation.size": 32,
        "evaluation.size": size,
        "hardware": FP32,
    }
    with pytest.raises(UserError, match=rf"cannot take images of {size} px.*another evaluation\.size"):
        train(digits, "airnet-scratch", overrides=overrides, out=tmp_path / "run", console=QUIET)
    with pytest.raises(UserError, match=rf"cannot take images of {size} px.*another evaluation\.size"):
        pretrain(digits, "byol-small", overrides=overrides, out=tmp_path / "run", console=QUIET)
    assert not (tmp_path / "run").exists()


def test_the_references_normalisation_in_pretraining_and_a_to_e() -> None:
    for name in ("byol-resnet50", *(f"transfer-{letter}" for letter in "abcde")):
        spec = load_recipe(name).normalization
        assert (spec.source, spec.mean, spec.std) == (
            "given",
            (0.4705, 0.4495, 0.4037),
            (0.2170, 0.2149, 0.2145),
        ), name
