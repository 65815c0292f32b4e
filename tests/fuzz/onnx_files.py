"""Small files as `snellen export` writes them, of networks without weights worth the name, and how they are read."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from google.protobuf.json_format import MessageToJson, Parse
from onnx import ModelProto, TensorProto, helper, numpy_helper
from PIL import Image
from rich.console import Console

from snellen.data.augment.spec import EvaluationTransformSpec
from snellen.data.in_memory import ImageInMemory
from snellen.data.masks.classes import MaskClass, build_table
from snellen.data.normalization import Normalization
from snellen.exporting.agreement import Agreement, MaskAgreement
from snellen.exporting.graph import Graph
from snellen.exporting.metadata import Metadata
from snellen.exporting.network import LOGITS, NORMALISED, OPSET, add_normalisation, assembled, with_properties
from snellen.exporting.onnx_file import INPUT, SIZE, OnnxFile
from snellen.exporting.preprocessing import add_view
from snellen.runs import kind_of_file
from snellen.tasks.kind import Options

CLASSES, SIDE = 3, 8
QUIET = Console(quiet=True)
IMAGES = [ImageInMemory(row, Image.new("RGB", size, (row * 90, 9, 99))) for row, size in enumerate(((9, 7), (1, 1)))]
_NORMALIZATION = Normalization((0.5, 0.4, 0.3), (0.2, 0.2, 0.2), "made up")


@cache
def onnx_files() -> dict[str, bytes]:
    """A classifier and a segmenter, each also as text: changes of that leave the file's structure whole."""
    files = {"classes.onnx": _classifier(), "masks.onnx": _segmenter()}
    texts = {name: MessageToJson(ModelProto.FromString(content), indent=0) for name, content in files.items()}
    return files | {name.replace(".onnx", ".json"): text.encode() for name, text in texts.items()}


def read_onnx_file(folder: Path, name: str) -> None:
    """As `snellen predict` does."""
    if name.endswith(".json"):
        try:
            content = Parse((folder / name).read_bytes(), ModelProto()).SerializeToString()
        except Exception:  # no text of an ONNX file, so there is none to read
            return
        name = f"from-{name}.onnx"
        (folder / name).write_bytes(content)
    file = OnnxFile(folder / name)
    kind_of_file(file).export.predict_file(file, IMAGES, folder / f"out-{name}.csv", Options(force=True), QUIET)


def _network(weights: np.ndarray, *nodes: Any, rank: int) -> ModelProto:
    shape: list[str | int] = ["N", CLASSES, "h", "w"][:rank]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(NORMALISED, TensorProto.FLOAT, ["N", 3, "h", "w"])],
        [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def _classifier() -> bytes:
    spec = EvaluationTransformSpec(size=SIDE, squash=True)
    before, after = Graph("before_"), Graph("after_")
    normalised = add_normalisation(before, add_view(before, INPUT, spec), _NORMALIZATION)
    after.nodes.append(helper.make_node("Softmax", [LOGITS], ["probabilities"], axis=1))
    weights = np.random.default_rng(0).normal(size=(3 * SIDE**2, CLASSES)).astype(np.float32)
    flat = helper.make_node("Flatten", [NORMALISED], ["flat"])
    network = _network(weights, flat, helper.make_node("MatMul", ["flat", "weights"], [LOGITS]), rank=2)
    whole = assembled(before, normalised, network, after, {"probabilities": (1, ["N", CLASSES])})
    recipe = {"name": "a", "model": {"backbone": "airnet"}, "evaluation": spec.model_dump()}
    found = Agreement(images=9, odd=2, different=0, ties=1, ties_changed=0, largest=1e-6)
    return with_properties(whole, _metadata("classification", recipe, found, {}))


def _segmenter() -> bytes:
    before, after = Graph("before_"), Graph("after_")
    channels = before.add("Transpose", INPUT, perm=[0, 3, 1, 2])
    normalised = add_normalisation(before, channels, _NORMALIZATION)
    after.nodes.append(helper.make_node("Identity", [LOGITS], ["scores"]))
    weights = np.random.default_rng(0).normal(size=(CLASSES, 3, 1, 1)).astype(np.float32)
    network = _network(weights, helper.make_node("Conv", [NORMALISED, "weights"], [LOGITS]), rank=4)
    outputs: Any = {"scores": (1, ["N", CLASSES, "H", "W"])}
    size = numpy_helper.from_array(np.zeros(2, np.int64), SIZE)
    whole = assembled(before, normalised, network, after, outputs, [size])
    found = MaskAgreement(images=5, odd=2, pixels=900, different=0, worst=0.0)
    names = [MaskClass(name=f"class {number}") for number in range(CLASSES)]
    table = build_table(names, "index", "three").as_dict()
    sizes = {"median": [8, 9], "largest": [10, 12], "median_shorter": 8, "largest_shorter": 10}
    data = table | {"training_sizes": sizes, "masks": ["a.png"]}
    return with_properties(whole, _metadata("segmentation", {"name": "b"}, found, data))


def _metadata(
    task: str, recipe: dict[str, Any], found: Agreement | MaskAgreement, data: dict[str, Any]
) -> dict[str, str]:
    words = dict.fromkeys(("input", "output", "weights", "licence", "runtime", "precision", "version"), "text")
    text = yaml.safe_dump({"task": task, "epochs": 1} | recipe)
    return Metadata(
        **words,
        task=task,
        classes=[f"class {number}" for number in range(CLASSES)],
        recipe=text,
        opset=OPSET,
        calibration="uncalibrated",
        agreement=found,
        data=data,
    ).properties()
