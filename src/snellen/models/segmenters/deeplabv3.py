"""torchvision's DeepLabV3 with its auxiliary head. Source: Chen et al. 2017, arXiv 1706.05587."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from snellen.models.hubs import check_torch_hub
from snellen.models.segmenters.segmenter import Segmenter

NAMES = ("deeplabv3_resnet50", "deeplabv3_resnet101")


class DeepLabV3(Segmenter):
    """torchvision's network with torchvision's layer names, so that its weight files fit.

    name: one of NAMES. The auxiliary head sits on the third of ResNet's four blocks and is used in training only.
    """

    stride = 1  # logits are enlarged to the size of the images
    new = ("classifier.4.", "aux_classifier.4.")

    def __init__(self, name: str, classes: int) -> None:
        from torchvision.models import get_model

        super().__init__()
        self.encoder_name = f"torchvision/{name.removeprefix('deeplabv3_')}"
        network = get_model(name, weights=None, weights_backbone=None, num_classes=classes, aux_loss=True)
        self.backbone = network.backbone
        self.classifier = network.classifier
        self.aux_classifier = network.aux_classifier

    def heads(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        height, width = images.shape[-2:]
        features = self.backbone(images)
        logits = _enlarged(self.classifier(features["out"]), (height, width))
        return logits, _enlarged(self.aux_classifier(features["aux"]), (height, width)) if self.training else None


def coco_weights(name: str) -> dict[str, Tensor]:
    """torchvision's weights for 21 classes of COCO from its hub, without the layers that output the classes."""
    from torchvision.models import get_model_weights

    weights = get_model_weights(name).DEFAULT
    check_torch_hub(weights.url)
    state = weights.get_state_dict(progress=False, check_hash=True)
    return {key: tensor for key, tensor in state.items() if not key.startswith(DeepLabV3.new)}


def _enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)
