"""How a shared folder is loaded: the words on its card, and the network in Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from snellen.errors import UserError
from snellen.files import as_path
from snellen.models.weights import load_all, read_weights
from snellen.tasks.kind import Shared
from snellen.tasks.kinds import kind_named, validated

if TYPE_CHECKING:
    from torch import nn

FORMAT = 1  # of what snellen adds to config.json
CONFIG, WEIGHTS, ONNX = "config.json", "model.safetensors", "model.onnx"


def load_model(folder: str | Path) -> nn.Module:
    """The network of a folder that `push` has written, on the CPU, in evaluation mode.

    It takes images (B, 3, H, W), normalised as preprocessing.json says, and returns logits (B, C), for segmenters
    (B, C, H, W), and for pretrained backbones features (B, D).

    Parameters:
        folder: the folder.

    Raises UserError if it is no such folder, or is damaged.

    >>> type(snellen.load_model("shared/digits"))
    <class 'snellen.models.classifier.Classifier'>
    """
    folder = as_path(folder, "folder")
    file = folder / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        ours = config["snellen"]
        fields, classes = dict(ours["recipe"]), len(ours["classes"])
        if ours["format"] != FORMAT:
            raise ValueError(f"it has the format {ours['format']}, and this version of snellen reads {FORMAT}")
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise UserError(f"{file}: not written by snellen push ({reason}).") from error
    label = f"recipe in '{file}'"
    kind, recipe = kind_named(fields, label), validated(fields, label)
    network: nn.Module = kind.share.empty_network(recipe, classes, bool(ours.get("native")))
    try:
        load_all(network, read_weights(folder / WEIGHTS))
    except ValueError as error:
        raise UserError(f"{folder / WEIGHTS}: does not fit {CONFIG}: {error}.") from error
    return network.eval()


def how_to_load(pipeline: str, shared: Shared, has_onnx: bool) -> str:
    """The part of the card on loading, as Markdown. FOLDER: this folder, as copied or downloaded."""
    parts = []
    if shared.native is not None:
        parts.append(_code("With timm 1.0.16 or later", "python", _TIMM))
    parts.append(_code("With snellen, in Python", "python", _SNELLEN))
    if has_onnx:
        parts.append(_code("With snellen, from the command line", "shell", _COMMANDS))
        parts.append(_code("With onnxruntime and NumPy alone", "python", _MASKS if "segment" in pipeline else _CLASSES))
    return "\n\n".join(parts)


def _code(title: str, language: str, text: str) -> str:
    return f"{title}:\n\n```{language}\n{text.strip()}\n```"


_TIMM = """
import timm

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # "hf-hub:OWNER/NAME" from the hub
"""
_SNELLEN = """
import snellen

model = snellen.load_model("FOLDER")  # a torch.nn.Module for normalised images
"""
_COMMANDS = """
snellen predict FOLDER/model.onnx IMAGES
snellen evaluate FOLDER/model.onnx DATA
"""
_CLASSES = """
import json
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("FOLDER/model.onnx", providers=["CPUExecutionProvider"])
classes = json.load(open("FOLDER/classes.json", encoding="utf-8"))
image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
probabilities = session.run(["probabilities"], {"images": np.asarray(image)[None]})[0][0]
print(classes[probabilities.argmax()], probabilities.max())
"""
_MASKS = """
import json
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("FOLDER/model.onnx", providers=["CPUExecutionProvider"])
classes = json.load(open("FOLDER/classes.json", encoding="utf-8"))
image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")  # resized first, if preprocessing.json says so
scores = session.run(["scores"], {"images": np.asarray(image)[None]})[0][0]
mask = scores.argmax(0)  # (H, W), the index of each pixel's class
"""
