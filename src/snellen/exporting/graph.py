"""ONNX graphs written node by node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

Value: TypeAlias = "str | NDArray[np.generic] | np.generic"
"""The name of a value of the graph, or a constant."""


class Graph:
    """Nodes and constants, in the order in which they are added. prefix: of the names of their values."""

    def __init__(self, prefix: str) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.prefix = prefix

    def add(self, operator: str, *inputs: Value, **attributes: Any) -> str:
        """Adds a node with one output, whose name is returned. Constants among the inputs are stored in the graph."""
        return self.add_several(1, operator, *inputs, **attributes)[0]

    def add_several(self, outputs: int, operator: str, *inputs: Value, **attributes: Any) -> list[str]:
        """Adds a node with several outputs."""
        from onnx import helper

        names = [value if isinstance(value, str) else self._constant(np.asarray(value)) for value in inputs]
        results = [f"{self.prefix}{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(operator, names, results, **attributes))
        return results

    def take(self, other: Graph) -> None:
        """Adds the nodes and constants of another graph, which uses values of this one."""
        self.nodes += other.nodes
        self.constants += other.constants

    def choose(self, condition: Value, true: tuple[Graph, str], false: tuple[Graph, str]) -> str:
        """One of two values, each computed by its own graph, which may use values of this one and runs only if needed.

        condition: () bool.
        """
        from onnx import TensorProto, helper

        branches = {
            name: helper.make_graph(
                part.nodes, name, [], [helper.make_tensor_value_info(value, TensorProto.UINT8, None)], part.constants
            )
            for name, (part, value) in (("then_branch", true), ("else_branch", false))
        }
        return self.add("If", condition, **branches)

    def cast(self, value: Value, dtype: type[np.generic]) -> str:
        """The same numbers as another type; fractions are cut off."""
        from onnx import helper

        return self.add("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def _constant(self, array: NDArray[np.generic]) -> str:
        from onnx import numpy_helper

        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name
