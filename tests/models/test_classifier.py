"""Networks, and weights from files and runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmarks.efficientnet_lite0_weights import write_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_images
from torchvision.transforms import v2

from snellen.errors import UserError
from snellen.models.airnet import AirNet
from snellen.models.classifier import build_classifier, count_macs, count_parameters
from snellen.models.spec import HeadSpec, ModelSpec

SMALL = "test_resnet"


def test_vgg13_of_the_reference() -> None:
    """Ten convolutions and two hidden layers of 512; features are the 512 after the last pooling."""
    spec = ModelSpec(backbone="torchvision/vgg13", head=HeadSpec(hidden=(512, 512), dropout=0.4))
    model, report = build_classifier(spec, 50, 32, 0)
    assert report.source == "from scratch"
    images = torch.randn(2, 3, 32, 32)
    assert model.features(images).shape == (2, 512)
    assert model(images).shape == (2, 50)
    kinds = [type(layer).__name__ for layer in model.head]
    assert kinds == ["Dropout", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    convolutions = 9_404_992  # VGG13's, biases included (Simonyan & Zisserman 2014, table 2, less its linear layers)
    head = 2 * (512 * 512 + 512) + 512 * 50 + 50
    assert count_parameters(model) == convolutions + head


def test_macs_by_hand() -> None:
    model, _ = build_classifier(ModelSpec(backbone="torchvision/resnet18"), 1000, 224, 0)
    assert count_macs(model, 224, 224) == pytest.approx(1.814e9, rel=0.002)  # torchvision's documentation: 1.81 GMACs


@settings(max_examples=8, deadline=None)
@given(st.integers(16, 70), st.integers(16, 70))
def test_airnet_takes_any_size(height: int, width: int) -> None:
    assert AirNet(0.125)(torch.randn(2, 3, height, width)).shape == (2, 32)


def test_whitening() -> None:
    """Its outputs on patches of the images are uncorrelated, with variance one."""
    torch.manual_seed(0)
    images = torch.nn.functional.avg_pool2d(torch.randn(300, 3, 34, 34), 3, 1)  # neighbouring pixels correlate
    net = AirNet(0.125)
    net.whiten([images])
    out = torch.nn.functional.conv2d(images, net.whitening.weight[:12])
    covariance = out.transpose(0, 1).flatten(1).cov()
    torch.testing.assert_close(covariance, torch.eye(12), atol=0.06, rtol=0)
    assert not net.whitening.weight.requires_grad


def test_same_seed_same_start_and_head_alone_is_fixed() -> None:
    first, second, other = (build_classifier(ModelSpec(backbone=SMALL), 5, 64, seed)[0] for seed in (1, 1, 2))
    states = [model.state_dict() for model in (first, second, other)]
    assert all(states[0][key].equal(states[1][key]) for key in states[0])
    assert not states[0]["head.1.weight"].equal(states[2]["head.1.weight"])
    before = torch.random.get_rng_state()
    build_classifier(ModelSpec(backbone=SMALL), 5, 64, 3)
    assert torch.random.get_rng_state().equal(before), "building a network must not disturb other random numbers"


def test_frozen_means_frozen() -> None:
    model, _ = build_classifier(ModelSpec(backbone=SMALL, freeze=True), 3, 64, 0)
    before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    model.train()
    model(torch.randn(4, 3, 64, 64)).sum().backward()
    assert all(tensor.equal(before[name]) for name, tensor in model.backbone.state_dict().items())
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert model.head[1].weight.grad is not None


@pytest.mark.parametrize("wrapped", ["plain", "state_dict", "module.", "safetensors", "with a classifier"])
def test_weights_from_a_file(tmp_path: Path, wrapped: str) -> None:
    source, _ = build_classifier(ModelSpec(backbone=SMALL), 3, 64, seed=7)
    state = {name: tensor.clone() for name, tensor in source.backbone.state_dict().items()}
    path = tmp_path / "weights.pt"
    if wrapped == "safetensors":
        path = tmp_path / "weights.safetensors"
        save_file(state, path)
    elif wrapped == "state_dict":
        torch.save({"epoch": 3, "state_dict": state}, path)
    elif wrapped == "module.":
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    elif wrapped == "with a classifier":
        torch.save(state | {"fc.weight": torch.zeros(1000, 64), "fc.bias": torch.zeros(1000)}, path)
    else:
        torch.save(state, path)
    model, report = build_classifier(ModelSpec(backbone=SMALL, weights=str(path)), 3, 64, seed=0)
    assert report.loaded == len(state)
    assert all(tensor.equal(state[name]) for name, tensor in model.backbone.state_dict().items())
    assert report.normalization is not None


def test_layers_that_do_not_fit_are_named(tmp_path: Path) -> None:
    source, _ = build_classifier(ModelSpec(backbone=SMALL), 3, 64, 0)
    state = dict(source.backbone.state_dict())
    first = next(iter(state))
    state[first] = torch.zeros(3, 3)
    last = list(state)[-2]
    del state[last]
    path = tmp_path / "weights.pt"
    torch.save(state, path)
    with pytest.raises(UserError, match="some layers do not fit") as error:
        build_classifier(ModelSpec(backbone=SMALL, weights=str(path)), 3, 64, 0)
    assert first in str(error.value)
    assert last in str(error.value)
    _, report = build_classifier(ModelSpec(backbone=SMALL, weights=str(path), partial=True), 3, 64, 0)
    assert last in report.missing
    assert report.mismatched[0].startswith(first)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("photo.pt", b"\xff\xd8\xff\xe0 not weights", "not a file of weights"),
        ("empty.safetensors", b"", "not a safetensors file"),
        ("missing.pt", None, "no such file"),
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        build_classifier(ModelSpec(backbone=SMALL, weights=str(tmp_path / name)), 3, 64, 0)


def test_another_networks_weights(tmp_path: Path) -> None:
    save_file({"layer.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="Is it another network"):
        build_classifier(ModelSpec(backbone=SMALL, weights=str(tmp_path / "other.safetensors")), 3, 64, 0)


def test_code_in_a_weights_file_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            import os

            return os.mkdir, (str(marker),)

    torch.save({"state_dict": Attack()}, tmp_path / "attack.pt")
    with pytest.raises(UserError, match="not a file of weights"):
        build_classifier(ModelSpec(backbone=SMALL, weights=str(tmp_path / "attack.pt")), 3, 64, 0)
    assert not marker.exists()


@pytest.mark.parametrize(("name", "hint"), [("resnet5", "resnet50"), ("torchvision/resnet181", "torchvision/resnet18")])
def test_unknown_backbone_suggests_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        build_classifier(ModelSpec(backbone=name), 3, 64, 0)


def test_packaged_imagenet_weights_recognise_photographs(tmp_path: Path) -> None:
    """The packaged EfficientNet-Lite0 under timm's names: scikit-learn's two photographs are a palace and a daisy."""
    path = write_weights(tmp_path / "lite0.safetensors")
    model, report = build_classifier(ModelSpec(backbone="tf_efficientnet_lite0", weights=str(path)), 10, 224, 0)
    assert report.missing == report.unexpected == report.mismatched == ()
    assert report.normalization is not None
    tensors = load_file(path)
    for photo, expected in zip(load_sample_images().images, (698, 985), strict=True):
        pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)
        pixels = v2.functional.center_crop(v2.functional.resize(pixels, 256, antialias=True), 224) / 255
        mean, std = (torch.tensor(t)[:, None, None] for t in (report.normalization.mean, report.normalization.std))
        with torch.no_grad():
            features = model.eval().features(((pixels - mean) / std)[None])
            logits = features @ tensors["classifier.weight"].T + tensors["classifier.bias"]
        assert logits.argmax() == expected


@pytest.mark.parametrize(
    ("name", "size"), [("inception_v3", 96), ("googlenet", 64), ("maxvit_t", 224), ("maxvit_t", 96), ("vgg11", 32)]
)
def test_torchvisions_odd_ones(name: str, size: int) -> None:
    """Networks with heads other than the classifier, or for one size: pooled features, or a clear message."""
    if (name, size) == ("maxvit_t", 96):
        with pytest.raises(UserError, match="torchvision cannot build it for 96 px"):
            build_classifier(ModelSpec(backbone=f"torchvision/{name}"), 3, size, 0)
        return
    model, _ = build_classifier(ModelSpec(backbone=f"torchvision/{name}"), 3, size, 0)
    with torch.no_grad():
        assert model.train()(torch.randn(2, 3, size, size)).shape == (2, 3)
    if name == "inception_v3":
        from torchvision.models import inception_v3

        reference = inception_v3(weights=None, init_weights=False).eval()
        reference.fc = torch.nn.Identity()
        reference.load_state_dict(model.backbone.state_dict(), strict=False)
        images = torch.randn(2, 3, size, size)
        with torch.no_grad():
            torch.testing.assert_close(model.eval().features(images), reference(images))


def test_names_of_a_hub_are_answered_with_what_works() -> None:
    with pytest.raises(UserError, match=r"use timm's name of the architecture.*model\.weights=FILE"):
        build_classifier(ModelSpec(backbone="hf-hub:timm/resnet18.a1_in1k"), 3, 64, 0)


def test_a_size_that_does_not_work_names_one_that_does() -> None:
    with pytest.raises(UserError, match="its published size is 240 px"):
        build_classifier(ModelSpec(backbone="crossvit_tiny_240"), 3, 96, 0)
