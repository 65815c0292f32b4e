"""Backbones by name: timm's, torchvision's, and snellen's own small network."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Self

from torch import Tensor, nn

from snellen.data.normalization import Normalization
from snellen.errors import UserError
from snellen.models.airnet import AirNet
from snellen.models.hubs import check_torch_hub, hugging_face
from snellen.models.spec import BackboneSpec
from snellen.words import did_you_mean, first_line

_AUXILIARY = {"inception_v3": ("AuxLogits",), "googlenet": ("aux1", "aux2")}  # torchvision's names of their heads


def build_backbone(spec: BackboneSpec, size: int, download: bool) -> nn.Module:
    """The network without its classifier, from images (B, 3, size, size) to pooled features (B, D).

    download: with the ImageNet weights of timm's or torchvision's hub. Raises UserError for an unknown name, with the
    nearest known ones, and if the weights cannot be downloaded.
    """
    if spec.backbone == "airnet":
        if download:
            raise UserError("model.weights=imagenet: airnet has no published weights. Use a file or a run.")
        return AirNet(spec.width)
    if spec.width != 1.0:
        raise UserError(f"model.width={spec.width}: only airnet has a width; {spec.backbone} has fixed channels.")
    if spec.backbone.startswith("torchvision/"):
        return _from_torchvision(spec, size, download)
    return from_timm(spec, size, download)


def own_normalization(spec: BackboneSpec) -> Normalization | None:
    """That of the training of this backbone's published weights; None without such weights."""
    source = f"the configuration of {spec.backbone}"
    if spec.backbone == "airnet":
        return None
    if spec.backbone.startswith("torchvision/"):
        return Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), source)
    import timm

    config = timm.get_pretrained_cfg(spec.backbone)
    if config is None:
        return None
    return Normalization.recorded({"mean": config.mean, "std": config.std, "source": source})


def weights_licence(spec: BackboneSpec) -> str | None:
    """The licence of the published weights that a recipe starts from, as timm records it; None if it is not known."""
    import timm

    if spec.weights != "imagenet" or spec.backbone == "airnet" or spec.backbone.startswith("torchvision/"):
        return None
    config = timm.get_pretrained_cfg(spec.backbone)
    return None if config is None else config.license


def published_size(name: str) -> int | None:
    """The side in pixels of the images that timm's published weights of a backbone were trained on."""
    import timm

    if name == "airnet" or name.startswith("torchvision/"):
        return None
    config = timm.get_pretrained_cfg(name)
    return None if config is None else int(config.input_size[-1])


def from_timm(spec: BackboneSpec, size: int, download: bool, classes: int = 0) -> nn.Module:
    """timm's network; with classes, timm's own classifier is on top. size, download: as in build_backbone."""
    import timm

    if spec.backbone.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        raise UserError(
            f"model.backbone={spec.backbone}: use timm's name of the architecture (such as resnet50), and pass "
            "the weights' file as model.weights=FILE. timm's own sets of weights have names too: resnet50.a1_in1k"
        )
    if not timm.is_model(spec.backbone):
        _unknown(spec.backbone, [*timm.list_models(), "airnet"])
    options = size_option(spec.backbone, size)
    if spec.drop_path:
        options["drop_path_rate"] = spec.drop_path
    try:
        with hugging_face() if download else nullcontext():
            backbone: nn.Module = timm.create_model(spec.backbone, pretrained=download, num_classes=classes, **options)
    except Exception as error:  # timm raises what its hubs and model builders raise
        if download:
            _download_failed(spec.backbone, error)
        raise UserError(f"model.backbone={spec.backbone}: timm cannot build it for {size} px ({error}).") from error
    return backbone


def size_option(name: str, size: int) -> dict[str, Any]:
    """What timm must be told to build a backbone for images of this side in pixels; empty if it takes any."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return {"img_size": size} if config is not None and config.fixed_input_size else {}


def _from_torchvision(spec: BackboneSpec, size: int, download: bool) -> nn.Module:
    from torchvision import models

    name = spec.backbone.removeprefix("torchvision/")
    known = models.list_models(module=models)
    if name not in known:
        _unknown(spec.backbone, [f"torchvision/{other}" for other in known])
    if spec.drop_path:
        raise UserError(f"model.drop_path: torchvision's {name} has no such option; a timm backbone has.")
    options: dict[str, Any] = {}
    if name == "maxvit_t":  # built for one image size
        options["input_size"] = (size, size)
    elif name in _AUXILIARY and not download:  # published weights replace the initial values
        options["init_weights"] = True
    try:
        if download:
            check_torch_hub(models.get_model_weights(name).DEFAULT.url)
        network: nn.Module = models.get_model(name, weights="DEFAULT" if download else None, **options)
    except Exception as error:
        if not download or isinstance(error, ValueError):
            raise UserError(
                f"model.backbone={spec.backbone}: torchvision cannot build it for {size} px ({error})."
            ) from error
        _download_failed(spec.backbone, error)
    if name in _AUXILIARY:  # auxiliary heads, used in training only
        network.aux_logits = False  # type: ignore[assignment]
        for head in _AUXILIARY[name]:
            setattr(network, head, None)
    classifier = getattr(network, "classifier", None)
    layers = [] if classifier is None else [m for m in classifier.modules() if isinstance(m, nn.Linear)]
    # VGG, AlexNet: their classifier has several layers, for one image size only.
    if len(layers) > 1 and name != "maxvit_t":
        return PooledFeatures(network.features)  # type: ignore[arg-type]
    _remove_last_linear(network, name)
    return network


class OnBackbone(nn.Module):
    """A network on a backbone, which may be frozen."""

    backbone: nn.Module
    frozen = False

    def freeze(self) -> None:
        """Stops training the backbone, including its batch-norm statistics."""
        self.frozen = True
        self.backbone.requires_grad_(False)
        self.backbone.eval()

    def train(self, mode: bool = True) -> Self:
        """Training mode; a frozen backbone stays in evaluation mode, so that its statistics do not drift."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self


class PooledFeatures(nn.Module):
    """Convolutional features, averaged over all positions."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.features(images)  # (B, D, h, w)
        return x.mean((2, 3))


def _remove_last_linear(network: nn.Module, name: str) -> None:
    linear = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError(f"model.backbone=torchvision/{name}: it has no linear classifier to remove. Use timm's.")
    parent, _, last = linear[-1].rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Identity())


def _unknown(name: str, known: list[str]) -> None:
    hint = did_you_mean(name, known, cutoff=0.5, most=3) or " See timm.list_models()."
    raise UserError(f"model.backbone={name}: no such backbone.{hint}")


def _download_failed(name: str, error: Exception) -> None:
    reason = first_line(error)
    raise UserError(
        f"model.weights=imagenet: the weights of {name} could not be downloaded ({reason}). Check the connection, or "
        "use a local file with model.weights=FILE, or train from scratch with model.weights=null."
    ) from error
