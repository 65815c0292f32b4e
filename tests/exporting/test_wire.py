"""What an ONNX file may hold is decided before onnxruntime opens it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from tests.fuzz.onnx_files import onnx_files

from snellen import UserError
from snellen.exporting.onnx_file import OnnxFile
from snellen.exporting.wire import NotExportedError, properties_of


def opened(name: str) -> ModelProto:
    return ModelProto.FromString(onnx_files()[name])


@pytest.mark.parametrize("name", ["classes.onnx", "masks.onnx"])
def test_metadata_are_those_that_onnx_reads(name: str) -> None:
    expected = {entry.key: entry.value for entry in opened(name).metadata_props}
    assert len(expected) > 10
    assert properties_of(onnx_files()[name]) == expected


def external(tensor: TensorProto) -> None:
    """Points at a file that there is."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "secret.bin"


def in_an_initializer(model: ModelProto) -> None:
    external(model.graph.initializer[0])


def in_a_constant_of_a_branch(model: ModelProto) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.zeros(3, np.float32)))
    external(constant.attribute[0].t)
    branch = helper.make_graph([constant], "branch", [], [helper.make_tensor_value_info("c", 1, [3])])
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))


def in_a_sparse_tensor(model: ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add()
    external(sparse.values)


def in_a_function(model: ModelProto) -> None:
    function = model.functions.add()
    node = function.node.add()
    attribute = node.attribute.add()
    external(attribute.tensors.add())


@pytest.mark.parametrize("change", [in_an_initializer, in_a_constant_of_a_branch, in_a_sparse_tensor, in_a_function])
def test_tensors_in_other_files_are_refused(
    change: Callable[[ModelProto], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened("classes.onnx")
    change(model)
    (tmp_path / "secret.bin").write_bytes(bytes(10_000))
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    monkeypatch.chdir(tmp_path)  # from where onnxruntime would take it
    with pytest.raises(
        UserError, match=r"x\.onnx: not an ONNX file of `snellen export`: it keeps tensors in other files"
    ):
        OnnxFile(tmp_path / "x.onnx")


def test_operators_of_others_are_refused() -> None:
    model = opened("masks.onnx")
    model.graph.node[0].domain = "com.microsoft"
    with pytest.raises(NotExportedError, match=r"operators of 'com\.microsoft', expected ONNX's own"):
        properties_of(model.SerializeToString())


def test_a_file_that_is_cut_off_is_refused_anywhere() -> None:
    content = onnx_files()["masks.onnx"]
    whole, refused = properties_of(content), 0
    for size in range(len(content)):
        try:
            part = properties_of(content[:size])
        except NotExportedError:
            refused += 1
        else:
            assert part.items() < whole.items(), "cut between two fields"
    assert refused > 0.9 * len(content)


def test_graphs_in_graphs_without_end_are_refused() -> None:
    def inside(kind: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        return bytes([kind << 3 | 2]) + length + bytes([size]) + content

    content = b""
    for _ in range(60):  # a node with an attribute with a graph
        content = inside(1, inside(5, inside(6, content)))
    with pytest.raises(NotExportedError, match="nested too deeply"):
        properties_of(inside(7, content))


def test_a_result_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    model = opened("classes.onnx")
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
    weights.CopyFrom(numpy_helper.from_array(np.full((192, 3), np.nan, np.float32), "weights"))
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"x\.onnx: damaged: its graph does not give 3 finite numbers"):
        OnnxFile(tmp_path / "x.onnx").run(np.zeros((1, 9, 7, 3), np.uint8))
