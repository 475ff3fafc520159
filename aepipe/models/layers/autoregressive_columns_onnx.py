"""ONNX graph of autoregressive columns, written node by node: tracing takes a second per column.

The graphs compute what `AutoregressiveColumns.draw` and `greedy_decode` do; every export checks it. They leave out what
does not change the codes: codes that are never drawn, and the state after the last column. The state holds the shift of
the hidden layer of the next column, which the embeddings bring along.
"""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from aepipe.layout import Port
from aepipe.models.layers.autoregressive_columns import SHORT_OF_ONE, AutoregressiveColumns, Column
from aepipe.models.layers.two_level_softmax import IMPOSSIBLE

_OPSET, _IR = 20, 10
_LEAST_UNIFORM = 2.0**-40
_FAR = 60.0
"""Distance in nats of the bias of a place that is never drawn from the greatest of its group: the probability is far
below the least uniform, and no denormal number, which would double the time of a softmax."""


class ColumnGraph:
    """Graph under construction. Methods add nodes and return the name of their output."""

    def __init__(self, chain: AutoregressiveColumns) -> None:
        self.chain = chain
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def start(self, z: str, layers: Sequence[nn.Linear]) -> str:
        """Add linear layers with ReLU between them, from z (B, Z) to the state (B, H)."""
        for at, layer in enumerate(layers):
            z = z if at == 0 else self._add("Relu", z)
            z = self._add("Gemm", z, self._constant(layer.weight), self._constant(layer.bias), transB=1)
        return z

    def drawn(self, state: str, uniform: str, forced: str | None = None) -> str:
        """Draw codes (B, C) int32 from a state (B, H) by uniform (B, U); forced (B, C) is -1 for drawn codes."""
        chain, codes = self.chain, [""] * len(self.chain.sizes)
        scaled = self._add("Mul", uniform, self._constant(np.float32(SHORT_OF_ONE)))
        scaled = self._add("Max", scaled, self._constant(np.float32(_LEAST_UNIFORM)))
        parts = iter(self._split(scaled, chain.uniforms))
        uniforms = [[next(parts) for _ in range(count)] for count in chain.parts]
        wanted = None if forced is None else self._split(forced, len(codes))
        state = self._shifted(state)
        for at, following in self._steps():
            column = chain.column(at)
            codes[at] = self._drawn(column, state, uniforms[at])
            if wanted is not None:
                as_integer = self._add("Cast", wanted[at], to=TensorProto.INT64)
                flat = self._add("Reshape", as_integer, self._constant(np.array([-1])))
                limited = self._add("Min", flat, self._constant(np.int64(column.size - 1)))
                is_free = self._add("Less", flat, self._constant(np.int64(0)))
                codes[at] = self._add("Where", is_free, codes[at], limited)
            state = self._known(column, state, codes[at], following)
        return self._together(codes)

    def greedy_decode(self, state: str) -> str:
        """Choose the likeliest code of each column given the codes before it, (B, C) int32."""
        codes = [""] * len(self.chain.sizes)
        state = self._shifted(state)
        for at, following in self._steps():
            column = self.chain.column(at)
            codes[at] = self._guess(column, state)
            state = self._known(column, state, codes[at], following)
        return self._together(codes)

    def model(self, codes: str, inputs: Sequence[Port], output: Port) -> onnx.ModelProto:
        """Return the graph from these inputs to the codes (B, C)."""
        self.nodes.append(helper.make_node("Cast", [codes], [output.name], to=TensorProto.INT32))
        graph = helper.make_graph(
            self.nodes,
            "columns",
            [_value(port) for port in inputs],
            [_value(output)],
            initializer=list(self.constants.values()),
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)

    def _steps(self) -> Iterator[tuple[int, int | None]]:
        """Yield each column in order, with the one after it."""
        return zip_longest(self.chain.order, self.chain.order[1:])

    def _drawn(self, column: Column, state: str, uniform: Sequence[str]) -> str:
        """Draw the codes of one column, (B,) int64."""
        is_drawn = column.tilt > IMPOSSIBLE / 2
        kept = np.flatnonzero((is_drawn if is_drawn.any() else ~is_drawn).cpu().numpy())
        if len(kept) == 1 and column.of_group is None:
            return self._numbered(self._zeros(uniform[0]), kept)
        bias, state = column.group_bias + column.tilt, self._refined(column, state)
        weight, offset = self._constant(column.group[:, kept]), self._constant(bias[kept])
        logits = self._add("Gemm", self._add("Relu", state), weight, offset)
        group = self._inverse_cdf(logits, uniform[0], len(kept))
        if column.of_group is None or column.place is None or column.place_bias is None:
            return self._numbered(group, kept)
        inner = self._add("Add", state, self._row_of(column.of_group[kept], group))
        within = self._add("MatMul", self._add("Relu", inner), self._constant(column.place))
        biases = column.place_bias + column.drawable
        least = biases.amax(1, keepdim=True) - _FAR
        biases = biases.where(biases > IMPOSSIBLE / 2, biases.maximum(least))
        logits = self._add("Add", within, self._row_of(biases[kept], group))
        place = self._inverse_cdf(logits, uniform[1], column.places)
        code = self._add("Add", self._numbered(group, kept * column.places), place)
        return self._add("Min", code, self._constant(np.int64(column.size - 1)))

    def _numbered(self, places: str, codes: NDArray[np.int64]) -> str:
        """Return the codes (n,) at places (B,)."""
        step = int(codes[1] - codes[0]) if len(codes) > 1 else 1
        if (codes != codes[0] + step * np.arange(len(codes))).any():
            return self._add("Gather", self._constant(codes), places, axis=0)
        scaled = places if step == 1 else self._add("Mul", places, self._constant(np.int64(step)))
        return scaled if codes[0] == 0 else self._add("Add", scaled, self._constant(np.int64(codes[0])))

    def _inverse_cdf(self, logits: str, uniform: str, count: int) -> str:
        """Count the cumulative probabilities (B, count) up to the uniform (B, 1), (B,) int64."""
        if count == 1:
            return self._zeros(uniform)
        # A product with a triangle: onnxruntime sums a batch of short rows up three times slower. It also subtracts
        # the sums from the uniform, because a comparison of (B, 1) with (B, count) goes row by row.
        triangle = -np.triu(np.ones((count, count - 1), np.float32))
        above = self._add("Gemm", self._add("Softmax", logits, axis=1), self._constant(triangle), uniform)
        is_passed = self._add("GreaterOrEqual", above, self._constant(np.float32(0)))
        passed = self._add("Cast", is_passed, to=TensorProto.FLOAT)
        counted = self._add("ReduceSum", passed, self._constant(np.array([1], np.int64)), keepdims=0)
        return self._add("Cast", counted, to=TensorProto.INT64)

    def _zeros(self, uniform: str) -> str:
        """Return as many zeros (B,) int64 as there are uniforms (B, 1)."""
        flat = self._add("Reshape", uniform, self._constant(np.array([-1])))
        return self._add("Cast", flat, to=TensorProto.INT64)  # rounds towards zero

    def _shifted(self, state: str) -> str:
        """Add the shift of the first column to the state (B, H)."""
        shift = self._shift_of(self.chain.order[0])
        return state if shift is None else self._add("Add", state, self._constant(shift))

    def _shift_of(self, at: int) -> Tensor | None:
        hidden = self.chain.column(at).hidden
        return None if hidden is None else hidden.shift

    def _refined(self, column: Column, state: str) -> str:
        if column.hidden is None:
            return state
        weight, bias, answer = map(self._constant, column.hidden[1:])
        inner = self._add("Relu", self._add("Gemm", self._add("Relu", state), weight, bias))
        return self._add("Gemm", inner, answer, state)

    def _guess(self, column: Column, state: str) -> str:
        state = self._refined(column, state)
        logits = self._add(
            "Gemm", self._add("Relu", state), self._constant(column.group), self._constant(column.group_bias)
        )
        mask = np.where(np.arange(column.size) < column.least_guess, IMPOSSIBLE, 0).astype(np.float32)
        if column.of_group is not None and column.place is not None and column.place_bias is not None:
            inner = self._add("Add", self._add("Unsqueeze", state, self._axis(1)), self._constant(column.of_group))
            within = self._add("MatMul", self._add("Relu", inner), self._constant(column.place))
            within = self._add("Add", within, self._constant(column.place_bias))
            of_group = self._add("Unsqueeze", self._add("LogSoftmax", logits, axis=1), self._axis(2))
            both = self._add("Add", of_group, self._add("LogSoftmax", within, axis=2))
            logits = self._add("Reshape", both, self._constant(np.array([-1, column.drawable.numel()])))
            mask = np.pad(mask, (0, column.drawable.numel() - column.size), constant_values=IMPOSSIBLE)
        return self._add("ArgMax", self._add("Add", logits, self._constant(mask)), axis=1, keepdims=0)

    def _known(self, column: Column, state: str, code: str, following: int | None) -> str:
        """Return the state after the code (B,) of a column, for the column after it."""
        if following is None:
            return state
        shift, table = self._shift_of(following), column.embedding
        if shift is not None and column.hidden is not None:
            table = table + (shift - column.hidden.shift)
        return self._add("Add", state, self._row_of(table, code))

    def _row_of(self, table: Tensor, at: str) -> str:
        return self._add("Gather", self._constant(table), at, axis=0)

    def _together(self, codes: Sequence[str]) -> str:
        return self._add("Concat", *(self._add("Unsqueeze", code, self._axis(1)) for code in codes), axis=1)

    def _split(self, tensor: str, count: int) -> list[str]:
        """Split (B, count) into columns (B, 1)."""
        if count == 1:
            return [tensor]
        names = [f"{tensor}.{at}" for at in range(count)]
        self.nodes.append(helper.make_node("Split", [tensor], names, axis=1, num_outputs=count))
        return names

    def _axis(self, axis: int) -> str:
        return self._constant(np.array([axis]))

    def _add(self, operator: str, *inputs: str, **attributes: int) -> str:
        name = f"n{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [name])
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(node)
        return name

    def _constant(self, values: Tensor | NDArray[np.generic] | np.generic) -> str:
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
        name = f"c{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        return name


def _value(port: Port) -> onnx.ValueInfoProto:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype))
    return helper.make_tensor_value_info(port.name, element, ["rows", *port.row_shape])
