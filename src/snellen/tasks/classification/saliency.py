"""Where a classifier looked: which positions of an image raised the score of a class."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snellen.data.augment.pipeline import Augmentation
from snellen.errors import UserError
from snellen.models.classifier import Classifier
from snellen.models.positions import PositionLayer, find_position_layer
from snellen.run.directory import RunDirectory
from snellen.tasks.arithmetic import arithmetic_of
from snellen.tasks.classification.record import load_model, recipe_of

_AT_ONCE = 4  # images, which bounds the memory


class Explainer:
    """Maps by the chosen epoch's network of a run, beside those of random weights. Raises UserError as `layer_of`."""

    def __init__(self, run: RunDirectory) -> None:
        recipe = recipe_of(run)
        arithmetic = arithmetic_of(run, recipe)
        self._augmentation = Augmentation(recipe.augmentation, arithmetic.normalization, arithmetic.device)
        trained = load_model(run, "best")
        self._networks = [network.to(arithmetic.device) for network in (trained, randomised(trained, recipe.seed))]
        self.layer = layer_of(self._networks[0], recipe.evaluation.size)

    def maps(self, views: Tensor, classes: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(n, S, S) maps of the trained network and of the random one, see `saliency_maps`.

        views: (n, 3, S, S) uint8, as `evaluation_view` returns them. classes: of each, the class that is explained.
        """
        maps: list[list[Tensor]] = [[], []]
        for start in range(0, len(views), _AT_ONCE):
            images = self._augmentation.evaluate(views[start : start + _AT_ONCE])
            target = torch.tensor(classes[start : start + _AT_ONCE])
            for network, done in zip(self._networks, maps, strict=True):
                done.append(saliency_maps(network, images, target, self.layer).cpu())
        of_trained, of_random = (torch.cat(done).numpy() for done in maps)
        return of_trained, of_random


def saliency_maps(
    classifier: Classifier, images: Tensor, classes: Tensor, layer: PositionLayer | None = None
) -> Tensor:
    """(B, S, S) float32 in [0, 1], on the images' device: how much each position raised the score of the class.

    classifier: in evaluation mode; it is not changed. images: (B, 3, S, S) float32, normalised as in its training.
    classes: (B,) int64, the class whose score is explained. layer: from `layer_of`, for callers with several batches.

    Each map has its maximum at 1, unless no position raised the score: then it is 0 everywhere. It is computed on the
    layer's grid: the features, weighted by the mean gradient of their channel and summed, where positive. It is placed
    on the image so that its brightest position lies where its value came from. Raises UserError as `layer_of`. Source:
    Selvaraju et al. 2017, Grad-CAM (arXiv 1610.02391), as implemented by torchcam.
    """
    from torchcam.methods import GradCAM

    layer = layer or layer_of(classifier, images.shape[-1])
    network = copy.deepcopy(classifier).requires_grad_(False)
    outputs: list[Tensor] = []
    network.backbone.get_submodule(layer.name).register_forward_hook(lambda _, __, output: outputs.append(output))
    with (
        torch.enable_grad(),
        GradCAM(network, f"backbone.{layer.name}", reshape_transform=layer.as_grid) as extractor,
    ):
        pixels = images.detach().requires_grad_()
        (maps,) = extractor(classes.tolist(), network(pixels), normalized=False, retain_graph=True)  # (B, side, side)
        (gradients,) = extractor.hook_g
        values = (gradients.mean((2, 3), keepdim=True) * layer.as_grid(outputs[0])).sum(1)
        maps = layer.on_image(maps, _shifts(values, pixels, layer), images.shape[-1])
    highest = maps.amax((1, 2), keepdim=True)
    return torch.where(highest > 0, maps / highest, 0)


def _shifts(values: Tensor, pixels: Tensor, layer: PositionLayer) -> Tensor:
    """(B, 2) pixels from the centre of the brightest position to where its value comes from, a pitch at most.

    That is the centre of its squared gradient. Strided convolutions shift positions by up to half a pitch, and trained
    ones read further to one side: with padding on one side, a ResNet's positions lie at 0, 32, 64 …, not at 16, 48, 80
    … (Alsallakh et al. 2021, arXiv 2010.02178). values: (B, side, side). pixels: (B, 3, S, S), which they depend on.
    """
    brightest = values.detach().flatten(1).argmax(1)
    (gradient,) = torch.autograd.grad(values.flatten(1).gather(1, brightest[:, None]).sum(), pixels)
    energy = gradient.double().square().sum(1)  # (B, S, S)
    along = torch.arange(pixels.shape[-1], dtype=torch.float64, device=pixels.device)
    total = energy.sum((1, 2))
    sums = torch.stack([energy.sum(2) @ along, energy.sum(1) @ along], dim=1)  # (B, 2)
    shifts = (sums / total[:, None] - layer.centres(brightest)).clamp(-layer.pitch, layer.pitch)
    return torch.where(total[:, None] > 0, shifts, 0)


def layer_of(classifier: Classifier, size: int) -> PositionLayer:
    """The layer whose positions are shown. size: side of the images in pixels. Raises UserError if there is none."""
    layer = find_position_layer(classifier.backbone, size)
    if layer is None:
        raise UserError(f"model.backbone: no layer has features by position for images of {size} px.")
    return layer


def randomised(classifier: Classifier, seed: int) -> Classifier:
    """A copy with random weights: what a map shows there does not come from what was learnt.

    classifier: on the CPU. Every layer is drawn anew from its initial distribution; the values of parameters outside
    such layers, such as position embeddings, are shuffled. Source: Adebayo et al. 2018, arXiv 1810.03292.
    """
    network = copy.deepcopy(classifier)
    drawn: set[nn.Parameter] = set()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in network.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                drawn.update(module.parameters())
        for parameter in network.parameters():
            if parameter not in drawn:
                parameter.copy_(parameter.flatten()[torch.randperm(parameter.numel())].view_as(parameter))
    return network
