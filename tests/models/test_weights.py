"""Weights of files with published shapes and names in networks for other images, against timm's own loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from snellen.errors import UserError
from snellen.models.classifier import build_classifier, start_backbone
from snellen.models.segmenters.build import build_segmenter
from snellen.models.spec import BackboneSpec, ModelSpec, SegmenterSpec
from snellen.models.weights import misfit

CLASSES = 5


def published(name: str, folder: Path, **options: Any) -> Path:
    """A file of the shapes and names of the published weights, its classifier included, with other numbers."""
    torch.manual_seed(11)
    path = folder / f"{name}.safetensors"
    save_file({key: t.contiguous() for key, t in timm.create_model(name, **options).state_dict().items()}, path)
    return path


def by_timm(name: str, path: Path, size: int) -> dict[str, Tensor]:
    overlay = {"file": str(path), "hf_hub_id": None, "url": None}
    state: dict[str, Tensor] = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=overlay, img_size=size, num_classes=0
    ).state_dict()
    return state


@pytest.mark.parametrize(
    ("name", "size"),
    [("vit_tiny_patch16_224", 96), ("vit_small_patch14_dinov2", 98), ("swin_tiny_patch4_window7_224", 96)],
)
def test_weights_of_another_image_size_are_resampled_as_by_timm(name: str, size: int, tmp_path: Path) -> None:
    path = published(name, tmp_path)
    backbone, _, report = start_backbone(BackboneSpec(backbone=name, weights=str(path)), size, 0)
    expected = by_timm(name, path, size)
    state = backbone.state_dict()
    assert state.keys() == expected.keys()
    assert all(state[key].equal(expected[key]) for key in state)
    assert report.resampled
    assert (report.missing, report.mismatched, report.unexpected) == ((), (), ())
    assert "resampled to this image size" in str(report.sentence)


def test_a_run_at_another_image_size(tmp_path: Path) -> None:
    """A ViT's checkpoint of a run at 64 px, under `backbone.` and with a head, trained further at 96 px."""
    name = "vit_tiny_patch16_224"
    small, _ = build_classifier(ModelSpec(backbone=name), 3, 64, seed=7)
    save_file(small.state_dict(), tmp_path / "run.safetensors")
    save_file(dict(small.backbone.state_dict()), tmp_path / "plain.safetensors")
    spec = ModelSpec(backbone=name, weights=str(tmp_path / "run.safetensors"))
    model, report = build_classifier(spec, 3, 96, seed=0)
    expected = by_timm(name, tmp_path / "plain.safetensors", 96)
    state = model.backbone.state_dict()
    assert all(state[key].equal(expected[key]) for key in state)
    assert report.resampled == ("pos_embed",)


@pytest.mark.parametrize("size", [64, 224])
def test_dpt_takes_a_vit_of_any_image_size(size: int, tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    path = published(name, tmp_path, img_size=size)
    model, report = build_segmenter(SegmenterSpec(architecture=f"dpt/{name}", weights=str(path)), CLASSES, 0)
    expected = by_timm(name, path, 224)
    for key, tensor in model.backbone.state_dict().items():
        assert key.startswith("model.head.") or tensor.equal(expected[key.removeprefix("model.")]), key
    assert bool(report.resampled) == (size != 224)


def smp_file(architecture: str, path: Path) -> dict[str, Tensor]:
    """The file of a segmenter as a run leaves it."""
    model, _ = build_segmenter(SegmenterSpec(architecture=architecture), CLASSES, seed=5)
    state = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(state, path)
    return state


@pytest.mark.parametrize("encoder", ["test_resnet", "test_convnext"])
def test_the_encoder_of_a_segmenter_with_another_decoder(encoder: str, tmp_path: Path) -> None:
    path = tmp_path / "unet.safetensors"
    state = smp_file(f"unet/{encoder}", path)
    model, report = build_segmenter(SegmenterSpec(architecture=f"fpn/{encoder}", weights=str(path)), CLASSES, 0)
    encoder_state = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("backbone.")}
    assert all(tensor.equal(state[name]) for name, tensor in encoder_state.items())
    assert (report.missing, report.mismatched, report.unexpected) == ((), (), ())


@pytest.mark.parametrize("encoder", ["test_resnet", "test_convnext"])
def test_a_classifier_starts_from_a_segmenters_encoder(encoder: str, tmp_path: Path) -> None:
    path = tmp_path / "unet.safetensors"
    state = {name.replace(".", "_"): tensor for name, tensor in smp_file(f"unet/{encoder}", path).items()}
    spec = ModelSpec(backbone=encoder, weights=str(path), partial=encoder == "test_convnext")  # it has no last norm
    model, report = build_classifier(spec, 3, 64, 0)
    for name, tensor in model.backbone.state_dict().items():
        key = f"backbone_model_{name}".replace(".", "_")
        assert name in report.missing or key not in state or tensor.equal(state[key]), name
    assert report.loaded > 10
    assert all("norm" in name for name in report.missing)


@pytest.mark.parametrize("prefix", ["module.encoder_q.", "module.base_encoder."])
def test_mocos_own_files(prefix: str, tmp_path: Path) -> None:
    source, _, _ = start_backbone(BackboneSpec(backbone="test_resnet"), 64, 7)
    state = {f"{prefix}{name}": tensor for name, tensor in source.state_dict().items()}
    state |= {f"{prefix}fc.{layer}.weight": torch.zeros(4, 4) for layer in (0, 2)}
    state |= {name.replace(prefix, "module.encoder_k."): tensor + 1 for name, tensor in state.items()}
    torch.save({"epoch": 800, "arch": "resnet50", "state_dict": state | {"module.queue": torch.zeros(8, 4)}},
               tmp_path / "moco.pth.tar")  # fmt: skip
    spec = BackboneSpec(backbone="test_resnet", weights=str(tmp_path / "moco.pth.tar"))
    backbone, _, report = start_backbone(spec, 64, 0)
    assert all(tensor.equal(source.state_dict()[name]) for name, tensor in backbone.state_dict().items())
    assert (report.missing, report.mismatched, report.unexpected) == ((), (), ())


@pytest.mark.parametrize("architecture", ["unet/test_resnet", "torchvision/deeplabv3_resnet50"])
def test_output_layers_start_anew_whatever_their_number(architecture: str, tmp_path: Path) -> None:
    """A file with as many classes brings its output layers no more than one with others, or than COCO's weights do."""
    state = smp_file(architecture, tmp_path / "same.safetensors")
    spec = SegmenterSpec(architecture=architecture)
    fresh, _ = build_segmenter(spec, CLASSES, 0)
    loaded = spec.model_copy(update={"weights": str(tmp_path / "same.safetensors")})
    model, report = build_segmenter(loaded, CLASSES, 0)
    new_layers = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(model.new)}
    assert new_layers
    assert all(tensor.equal(fresh.state_dict()[name]) for name, tensor in new_layers.items())
    assert all(t.equal(state[name]) for name, t in model.state_dict().items() if name not in new_layers)
    assert (report.missing, report.mismatched, report.unexpected) == ((), (), ())


def test_layers_that_did_not_load_are_reported_in_a_line(tmp_path: Path) -> None:
    source = timm.create_model("test_resnet", num_classes=0)
    state = dict(source.state_dict())
    first, *_, last = [name for name in state if name.endswith("weight")]
    state[first] = torch.zeros(1)
    del state[last]
    torch.save(state | {"extra.weight": torch.zeros(2)}, tmp_path / "weights.pt")
    spec = BackboneSpec(backbone="test_resnet", weights=str(tmp_path / "weights.pt"))
    with pytest.raises(UserError, match="some layers do not fit"):
        start_backbone(spec, 64, 0)
    _, _, report = start_backbone(spec.model_copy(update={"partial": True}), 64, 0)
    assert report.sentence is not None
    for line in (
        f"{len(state) - 1} tensors of",
        f"1 missing in the file, which start from scratch ({last})",
        f"1 of another shape, which start from scratch ({first} (file (1,)",
        "1 in the file that this network does not have (extra.weight)",
    ):
        assert line in report.sentence
    _, _, scratch = start_backbone(BackboneSpec(backbone="test_resnet"), 64, 0)
    assert scratch.sentence is None


def test_a_converter_that_fails_is_skipped(tmp_path: Path) -> None:
    """Another network's file: the message names the layers, whatever timm's converter makes of it."""
    torch.save(nn.Linear(2, 2).state_dict() | {"mask_token": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="Is it another network"):
        start_backbone(BackboneSpec(backbone="test_vit", weights=str(tmp_path / "other.pt")), 160, 0)


def test_a_mismatch_names_the_layer() -> None:
    tensors = {"a": torch.zeros(2), "b": torch.zeros(3, 4)}
    assert misfit(tensors, tensors) is None
    assert misfit({"a": tensors["a"]}, tensors) == "the layer b is missing in the file"
    assert misfit({**tensors, "b": torch.zeros(1)}, tensors) == "the layer b is (1,) in the file and (3, 4) here"
    assert misfit({**tensors, "c": tensors["a"]}, tensors) == "the file has a layer c, which the network does not have"
