"""Segmenters: every architecture through the same checks, then what is particular to each, then weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from benchmarks.efficientnet_lite0_weights import write_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from snellen.errors import UserError
from snellen.models.classifier import build_classifier, count_macs, start_backbone
from snellen.models.segmenters.build import build_segmenter, check_sizes
from snellen.models.segmenters.fcn import Fcn
from snellen.models.segmenters.segmenter import Segmenter, SegmenterOutput
from snellen.models.segmenters.smp import architectures
from snellen.models.spec import BackboneSpec, ModelSpec, SegmenterSpec

CLASSES = 5
SMALL = "test_resnet"
# Every decoder, and every kind of encoder: timm's in its styles of feature extraction, windowed, plain, and smp's own.
ARCHITECTURES = [
    *(f"{name}/{'test_vit' if name == 'dpt' else SMALL}" for name in architectures()),
    *("unet/test_efficientnet", "fpn/test_convnext", "segformer/mit_b0", "fpn/swin_tiny_patch4_window7_224"),
    *("unet/vgg11_bn", "upernet/tf_efficientnet_lite0.in1k", "torchvision/deeplabv3_resnet50"),
    *("fcn32s/torchvision/vgg11", "fcn16s/vgg11", "fcn8s/torchvision/vgg11_bn"),
]


def build(architecture: str, seed: int = 0, **fields: object) -> Segmenter:
    return build_segmenter(SegmenterSpec(architecture=architecture, **fields), CLASSES, seed)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
class TestEvery:
    def test_logits_have_the_size_of_the_images(self, architecture: str) -> None:
        model = build(architecture).eval()
        for height, width in ((128, 160), (131, 97)):  # pan needs 128
            size = (max(height, 128), max(width, 128)) if architecture.startswith("pan/") else (height, width)
            with torch.no_grad():
                assert model(torch.randn(1, 3, *size)).shape == (1, CLASSES, *size)

    def test_it_learns_and_is_fixed_by_its_seed(self, architecture: str) -> None:
        before = torch.random.get_rng_state()
        model, second_model = build(architecture), build(architecture)
        assert torch.random.get_rng_state().equal(before), "building must not disturb other random numbers"
        state, second_state = model.state_dict(), second_model.state_dict()
        assert all(state[name].equal(second_state[name]) for name in state)
        torch.manual_seed(0)
        images, target = torch.randn(2, 3, 128, 128), torch.randint(0, CLASSES, (2, 128, 128))
        output = model(images)
        heads = output if isinstance(output, SegmenterOutput) else (output,)
        sum(nn.functional.cross_entropy(logits, target) for logits in heads).backward()  # type: ignore[union-attr]
        unused = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert not [name for name in unused if not name.startswith("backbone.")]
        assert any(p.grad is not None for p in model.backbone.parameters())

    def test_output_layers_are_named(self, architecture: str) -> None:
        """What gives the classes, and nothing else, differs in shape between numbers of classes."""
        model = build(architecture)
        larger, _ = build_segmenter(SegmenterSpec(architecture=architecture), CLASSES + 1, 0)
        shapes = {name: tensor.shape for name, tensor in larger.state_dict().items()}
        differ = {name for name, tensor in model.state_dict().items() if tensor.shape != shapes[name]}
        assert differ
        assert all(name.startswith(model.new) for name in differ)


@cache
def built(architecture: str) -> Segmenter:
    return build(architecture, width=8).eval()


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(["fcn32s/torchvision/vgg11", "fcn16s/torchvision/vgg11", "fcn8s/torchvision/vgg11"]),
    *(st.integers(1, 100) for _ in range(2)),
)
def test_fcn_takes_any_size(architecture: str, height: int, width: int) -> None:
    with torch.no_grad():
        assert built(architecture)(torch.randn(1, 3, height, width)).shape == (1, CLASSES, height, width)


def test_fcn32s_of_the_reference() -> None:
    """VGG16's features, 3x3 and 1x1 convolution of width 512, one transposed convolution of kernel and stride 32."""
    model = build("fcn32s/torchvision/vgg16")
    assert isinstance(model, Fcn)
    first, second = (layer for layer in model.decoder if isinstance(layer, nn.Conv2d))
    assert (first.kernel_size, first.out_channels, second.kernel_size, second.out_channels) == (
        (3, 3),
        512,
        (1, 1),
        512,
    )
    assert isinstance(model.enlarged, nn.ConvTranspose2d)
    assert (model.enlarged.kernel_size, model.enlarged.stride, model.enlarged.padding) == ((32, 32), (32, 32), (0, 0))
    assert not len(model.skips)
    features = 14_714_688  # VGG16's convolutions (Simonyan & Zisserman 2014, table 2, less its linear layers)
    head = 512 * 512 * 9 + 512 + 512 * 512 + 512 + 512 * CLASSES * 32 * 32 + CLASSES
    assert sum(p.numel() for p in model.parameters()) == features + head


@pytest.mark.parametrize(("name", "step"), [("fcn16s", 16), ("fcn8s", 8)])
def test_fcn_with_skips_starts_as_a_bilinear_enlargement(name: str, step: int) -> None:
    """Skips start at zero, so a flat map of features gives flat logits away from the border."""
    model = build(f"{name}/torchvision/vgg11", width=8)
    assert len(model.skips) == {16: 1, 8: 2}[step]  # type: ignore[arg-type]
    scores = torch.zeros(1, CLASSES, 6, 6)
    scores[:, 2] = 3.0
    for doubled in model.doubled:  # type: ignore[union-attr]
        scores = doubled(scores)
    logits: Tensor = model.enlarged(scores)  # type: ignore[operator]
    assert logits.shape[-2:] == (6 * 32, 6 * 32)
    inner = logits[0, 2, 64:-64, 64:-64]
    torch.testing.assert_close(inner, torch.full_like(inner, 3.0))
    assert not logits[0, [0, 1, 3, 4]].any()


def test_deeplabv3_is_torchvisions() -> None:
    from torchvision.models.segmentation import deeplabv3_resnet50

    reference = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True)
    model = build("torchvision/deeplabv3_resnet50")
    model.load_state_dict(reference.state_dict())
    images = torch.randn(2, 3, 65, 70)
    torch.manual_seed(0)
    expected = reference.train()(images)
    torch.manual_seed(0)  # dropout
    output = model.train()(images)
    assert isinstance(output, SegmenterOutput)
    torch.testing.assert_close(output.logits, expected["out"])
    torch.testing.assert_close(output.auxiliary, expected["aux"])
    assert isinstance(model.eval()(images), Tensor)


def test_frozen_means_frozen() -> None:
    model = build(f"unet/{SMALL}", freeze=True)
    before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    model.train()
    output = model(torch.randn(2, 3, 64, 64))
    assert isinstance(output, Tensor)
    output.sum().backward()
    assert all(tensor.equal(before[name]) for name, tensor in model.backbone.state_dict().items())
    assert all(parameter.grad is None for parameter in model.backbone.parameters())


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("ubet/resnet34", "Did you mean unet/resnet34"),
        ("unet", "expected DECODER/ENCODER"),
        ("unet/resnet5", "no such encoder. Did you mean resnet50"),
        ("linknet/mit_b0", "does not work with this encoder"),
        ("fcn8s/resnet34", "fcn needs a VGG, which resnet34 is not"),
        ("torchvision/deeplabv3_resnet5", "Did you mean torchvision/deeplabv3_resnet50"),
    ],
)
def test_unknown_architectures(architecture: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(architecture)


def test_sizes_that_do_not_work_are_reported_before_training() -> None:
    with pytest.raises(UserError, match=r"pan/test_resnet: it cannot take images of 64 x 64 px"):
        check_sizes(build("pan/test_resnet"), "pan/test_resnet", [(128, 128), (64, 64)])


def test_macs_of_sides_that_differ() -> None:
    model = build("fcn32s/torchvision/vgg11", width=8)
    assert count_macs(model, 64, 96) == pytest.approx(1.5 * count_macs(model, 64, 64), rel=1e-6)


@pytest.mark.parametrize("architecture", ["unet/tf_efficientnet_lite0", "deeplabv3plus/tf_efficientnet_lite0.in1k"])
def test_packaged_imagenet_weights_reach_the_encoder(architecture: str, tmp_path: Path) -> None:
    """The encoder with a file of ImageNet weights says the same as the classifier that they are of."""
    path = write_weights(tmp_path / "lite0.safetensors")
    model, report = build_segmenter(SegmenterSpec(architecture=architecture, weights=str(path)), CLASSES, 0)
    assert (report.missing, report.unexpected, report.mismatched) == ((), (), ())
    assert report.normalization is not None
    assert report.normalization.mean == (0.5, 0.5, 0.5)
    classifier, _ = build_classifier(ModelSpec(backbone="tf_efficientnet_lite0", weights=str(path)), 3, 64, 0)
    images = torch.randn(1, 3, 64, 64)
    captured: dict[str, Tensor] = {}
    for name, network in (("segmenter", model.backbone.model), ("classifier", classifier.backbone)):
        network.blocks[2].register_forward_hook(lambda _m, _i, out, name=name: captured.update({name: out}))  # type: ignore
    with torch.no_grad():
        model.eval()(images)
        classifier.eval()(images)
    torch.testing.assert_close(captured["segmenter"], captured["classifier"])


@pytest.mark.parametrize(
    ("architecture", "backbone"),
    [
        ("unet/test_convnext", "test_convnext"),  # whose feature extractor calls stages.0 stages_0
        ("torchvision/deeplabv3_resnet50", "resnet50"),
        ("fcn32s/torchvision/vgg11", "torchvision/vgg11"),
        ("fpn/test_efficientnet", "test_efficientnet"),
        ("dpt/test_vit", "test_vit"),
    ],
)
def test_every_layer_of_the_encoder_is_taken(architecture: str, backbone: str, tmp_path: Path) -> None:
    source, _, _ = start_backbone(BackboneSpec(backbone=backbone), 160 if "vit" in backbone else 64, seed=7)
    path = tmp_path / "weights.pt"
    torch.save(source.state_dict(), path)
    fresh = build(architecture)
    model = build(architecture, weights=str(path))
    source_tensors = {name.replace(".", "_"): tensor for name, tensor in source.state_dict().items()}
    for name, tensor in model.backbone.state_dict().items():
        key = name.removeprefix("model.").removeprefix("model.").replace(".", "_")
        assert key.startswith("head") or tensor.equal(source_tensors[key]), name
    state, initial_state = model.state_dict(), fresh.state_dict()
    other_layers = [name for name in state if not name.startswith("backbone.")]
    assert all(state[name].equal(initial_state[name]) for name in other_layers), (
        "what is not loaded starts as it does from scratch"
    )


def test_a_segmenters_own_file_with_other_classes(tmp_path: Path) -> None:
    """smp's names and torchvision's; the output layer starts anew where the number of classes differs."""
    spec = SegmenterSpec(architecture=f"unet/{SMALL}")
    larger, _ = build_segmenter(spec, CLASSES + 3, seed=5)
    saved_tensors = {
        name.replace("backbone.", "encoder.", 1): t.contiguous().clone() for name, t in larger.state_dict().items()
    }
    path = tmp_path / "smp.safetensors"
    save_file(saved_tensors, path)
    model, report = build_segmenter(spec.model_copy(update={"weights": str(path)}), CLASSES, 0)
    assert (report.missing, report.unexpected, report.mismatched) == ((), (), ())
    state, fresh = model.state_dict(), build(spec.architecture).state_dict()
    for name, tensor in state.items():
        expected = fresh if name.startswith(model.new) and tensor.ndim and tensor.shape[0] == CLASSES else None
        assert tensor.equal(larger.state_dict()[name] if expected is None else expected[name]), name


def test_layers_that_do_not_fit_are_named(tmp_path: Path) -> None:
    source, _, _ = start_backbone(BackboneSpec(backbone=SMALL), 64, 0)
    state = dict(source.state_dict())
    state["layer1.0.conv1.weight"] = torch.zeros(3, 3)
    path = tmp_path / "weights.pt"
    torch.save(state, path)
    with pytest.raises(UserError, match=r"some layers do not fit: 1 of another shape: layer1\.0\.conv1\.weight"):
        build(f"unet/{SMALL}", weights=str(path))
    with pytest.raises(UserError, match=r"none of its|some layers do not fit"):
        build("unet/test_convnext", weights=str(path))
    _, report = build_segmenter(
        SegmenterSpec(architecture=f"unet/{SMALL}", weights=str(path), partial=True), CLASSES, 0
    )
    assert report.mismatched[0].startswith("layer1.0.conv1.weight")


def test_coco_weights_are_deeplabs_only() -> None:
    with pytest.raises(UserError, match=r"model\.weights=coco: only torchvision/deeplabv3_resnet50"):
        build(f"unet/{SMALL}", weights="coco")


@pytest.mark.parametrize("encoder", ["vit_small_patch14_dinov2", "vit_small_patch8_224"])
def test_dpt_on_other_patches_takes_any_size(encoder: str) -> None:
    """smp's own decoder cuts the factors 14 / 4 and 14 / 8 to whole numbers, and then no size fits."""
    model = build(f"dpt/{encoder}")
    sizes = [(56, 56), (98, 112), (140, 168), (196, 224), (33, 250)]
    check_sizes(model, f"dpt/{encoder}", sizes)
    shapes: list[tuple[int, ...]] = []
    model.backbone.register_forward_pre_hook(lambda _m, args: shapes.append(tuple(args[0].shape[-2:])))
    with torch.no_grad():
        assert model.eval()(torch.randn(1, 3, 60, 75)).shape == (1, CLASSES, 60, 75)
    patch = 14 if "14" in encoder else 16
    assert shapes == [(64 * patch // 16, 96 * patch // 16)]  # DINOv2: a patch for each 16 px of the padded image
