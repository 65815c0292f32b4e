"""The preprocessing of exported files, against what scoring makes of the same images."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper
from torch import Tensor

from snellen.data.augment.pipeline import evaluation_view
from snellen.data.augment.spec import EvaluationTransformSpec
from snellen.data.normalization import Normalization
from snellen.exporting.graph import Graph
from snellen.exporting.network import OPSET, add_normalisation
from snellen.exporting.onnx_file import open_session
from snellen.exporting.preprocessing import add_view

SPECS = [
    EvaluationTransformSpec(size=32),
    EvaluationTransformSpec(size=224, resize=256),
    EvaluationTransformSpec(size=100, squash=True),
    EvaluationTransformSpec(size=16, resize=19, interpolation="bicubic"),
    EvaluationTransformSpec(size=37, squash=True, interpolation="bicubic"),
    EvaluationTransformSpec(size=600),  # more lines than 16 blocks of 32
]
SIZES = [(1, 1), (1, 40), (40, 1), (2, 3), (32, 32), (256, 256), (300, 257), (640, 427), (1000, 90), (123, 4567)]


def session_of(graph: Graph, output: str, kind: int) -> onnxruntime.InferenceSession:
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])
    result = helper.make_tensor_value_info(output, kind, ["N", 3, "h", "w"])
    made = helper.make_graph(graph.nodes, "view", [images], [result], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    checker.check_model(model, full_check=True)
    return open_session(model.SerializeToString())


@cache
def view_session(spec: EvaluationTransformSpec) -> onnxruntime.InferenceSession:
    graph = Graph("view_")
    return session_of(graph, add_view(graph, "images", spec), TensorProto.UINT8)


def in_graph(spec: EvaluationTransformSpec, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, H, W, 3) to (N, 3, S, S)."""
    return np.asarray(view_session(spec).run(None, {"images": images})[0])


def expected(spec: EvaluationTransformSpec, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([evaluation_view(torch.from_numpy(image).permute(2, 0, 1), spec).numpy() for image in images])


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_photographs_and_hard_edges_are_bit_identical(spec: EvaluationTransformSpec, photograph: Tensor) -> None:
    photo = np.asarray(photograph.permute(1, 2, 0))[None]
    np.testing.assert_array_equal(in_graph(spec, photo), expected(spec, photo))
    for height, width in SIZES:
        if spec.size**2 * max(height, width) / min(height, width) > 2**22:
            continue  # such strips: the last but one test
        noise = np.random.default_rng(height).integers(0, 2, (2, height, width, 3), np.uint8) * 255
        np.testing.assert_array_equal(in_graph(spec, noise), expected(spec, noise), err_msg=f"{height} x {width}")


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 700),
    st.integers(1, 700),
    st.integers(2, 70),
    st.integers(0, 20),
    st.sampled_from(range(4)),
    st.data(),
)
def test_any_size_is_bit_identical(
    height: int, width: int, size: int, more: int, kind: int, data: st.DataObject
) -> None:
    squash, interpolation = bool(kind & 1), ("bicubic" if kind & 2 else "bilinear")
    resize = None if squash else size + more
    spec = EvaluationTransformSpec(size=size, resize=resize, squash=squash, interpolation=interpolation)
    if (size + more) ** 2 * max(height, width) / min(height, width) > 2**22:
        return  # such strips: the next test
    image = np.random.default_rng(data.draw(st.integers(0, 9))).integers(0, 256, (1, height, width, 3), np.uint8)
    np.testing.assert_array_equal(in_graph(spec, image), expected(spec, image))


@pytest.mark.parametrize("size", [(6000, 1), (6000, 4), (1, 6000)])
@pytest.mark.parametrize("spec", SPECS[1:4:2], ids=str)
def test_long_strips_differ_by_a_grey_level_at_most(spec: EvaluationTransformSpec, size: tuple[int, int]) -> None:
    strip = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    difference = np.abs(in_graph(spec, strip).astype(int) - expected(spec, strip))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


def test_normalisation_is_that_of_the_formula() -> None:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    graph = Graph("")
    normalization = Normalization(tuple(mean), tuple(std), "")
    nchw = graph.add("Transpose", "images", perm=[0, 3, 1, 2])
    session = session_of(graph, add_normalisation(graph, nchw, normalization), TensorProto.FLOAT)
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)
    result = session.run(None, {"images": images})[0]
    np.testing.assert_allclose(result.transpose(0, 2, 3, 1), (images / 255 - mean) / std, atol=1e-6)
