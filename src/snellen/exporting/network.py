"""A torch network as an ONNX graph, and such a graph with its preprocessing as one file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from snellen.data.normalization import Normalization
from snellen.errors import UserError
from snellen.exporting.graph import Graph
from snellen.exporting.onnx_file import INPUT
from snellen.words import why_failed

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

OPSET = 18
_IR_VERSION = 8  # of opset 18: newer ones shut out older runtimes, for nothing that these graphs use
_LARGEST = 2**31 - 2**20  # bytes of a protobuf file, less room for the preprocessing and the metadata
NORMALISED, LOGITS = "normalised", "logits"


def network_graph(model: nn.Module, example: Tensor, multiple: int | None = None) -> ModelProto:
    """The network as an ONNX model from NORMALISED, (B, …) as the example, to LOGITS; B may be any number.

    multiple: height and width may be any multiples of it; None: they are those of the example.

    model: on the CPU, in evaluation mode. Raises UserError if torch cannot translate it, or if it is larger than a file
    may be.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if size > _LARGEST:
        raise UserError(f"a network of {size / 2**30:.1f} GiB: an ONNX file in one part holds less than 2 GiB.")
    try:
        with quietly(), torch.no_grad():
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                input_names=[NORMALISED],
                output_names=[LOGITS],
                dynamic_shapes=(_dynamic_shape(multiple),),
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # the exporter raises what its parts raise
        raise UserError(f"this network cannot be written as ONNX: {why_failed(error)}") from error
    assert program is not None
    return _without_traces(program.model_proto)


def _dynamic_shape(multiple: int | None) -> dict[int, Any]:
    dim = torch.export.Dim
    if multiple is None:
        return {0: dim.DYNAMIC}
    if multiple == 1:
        return dict.fromkeys((0, 2, 3), dim.DYNAMIC)
    return {0: dim("images", min=1), 2: multiple * dim("rows", min=1), 3: multiple * dim("columns", min=1)}


def add_normalisation(graph: Graph, views: str, normalization: Normalization) -> str:
    """(N, 3, h, w) uint8 pixels as the network takes them, by the arithmetic of `Normalizer`: float32."""
    mean, std = (
        torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1) for values in (normalization.mean, normalization.std)
    )
    scaled = graph.add("Mul", graph.cast(views, np.float32), (1 / (255 * std)).numpy())
    return graph.add("Sub", scaled, (mean / std).numpy())


def assembled(
    before: Graph,
    normalised: str,
    network: ModelProto,
    after: Graph,
    outputs: Mapping[str, tuple[int, Sequence[str | int]]],
    optional: Sequence[TensorProto] = (),
) -> ModelProto:
    """One model of images: nodes before the network, the network, and nodes from its LOGITS to the outputs.

    normalised: what `before` passes to the network. outputs: ONNX's element type and the shape of each.
    optional: inputs beside the images, with the values that they have if they are left out.
    """
    from onnx import ModelProto, TensorProto, helper

    model = ModelProto()
    model.CopyFrom(network)
    graph = model.graph
    connect = helper.make_node("Identity", [normalised], [NORMALISED])
    nodes = [*before.nodes, connect, *network.graph.node, *after.nodes]
    for field, values in ((graph.node, nodes), (graph.input, []), (graph.output, [])):
        del field[:]
        field.extend(values)
    graph.initializer.extend([*before.constants, *after.constants])
    # onnxruntime's quantiser adds domains that no node uses, in versions that older runtimes refuse.
    domains = {node.domain for node in nodes}
    imports = [entry for entry in network.opset_import if entry.domain in domains]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    model.ir_version = _IR_VERSION
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", "H", "W", 3]))
    graph.input.extend(helper.make_tensor_value_info(value.name, value.data_type, value.dims) for value in optional)
    graph.initializer.extend(optional)  # the values of inputs that the caller leaves out
    graph.output.extend(helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items())
    return model


def with_properties(model: ModelProto, properties: Mapping[str, str]) -> bytes:
    """The content of the file: the model with its metadata."""
    from onnx import helper

    helper.set_model_props(model, dict(properties))
    content: bytes = model.SerializeToString()
    return content


def _without_traces(model: ModelProto) -> ModelProto:
    """Without what the exporter notes on each node: lines of source with their paths on this machine."""
    model.ir_version = _IR_VERSION
    model.doc_string = model.graph.doc_string = ""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
    del graph.value_info[:]
    return model


@contextmanager
def quietly() -> Iterator[None]:
    """Hides the exporter's remarks on its own workings."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
