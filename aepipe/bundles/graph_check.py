"""Static check of ONNX graphs: standard operators, all data inside the file, and no size or loop without bounds.

It runs before onnxruntime opens a graph. What only a run can show, such as memory that grows from one operator to the
next, is limited by the child process of `aepipe verify --untrusted`.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from aepipe.bundles import onnx_messages

DOMAINS = frozenset({"", "ai.onnx.ml"})
"""Operator domains that exports use."""

MOST_VALUES = 1 << 28
"""Maximum values of a tensor that a graph makes from constants: 1 GiB of float32."""
MOST_TRIPS = 1_000_000
"""Maximum trips of a loop, nested loops multiplied."""

_MOST_KEPT = 64  # values of a constant that can be a shape
_MOST_DEPTH = 16  # graphs within graphs
_MOST_REMEMBERED = 64
_remembered: dict[tuple[bytes, tuple[str, ...], tuple[str, ...]], tuple[str, ...]] = {}
"""Faults of the graphs checked before: a flow opens the same bundle for every partition."""
_SIZE_INPUT = {"ConstantOfShape": 0, "Expand": 1, "Reshape": 1, "Tile": 1, "OneHot": 1, "Resize": 3}


def graph_faults(onnx_bytes: bytes, *, inputs: Sequence[str], outputs: Sequence[str]) -> list[str]:
    """Return the reasons not to open a graph, each as a clause such as `has ...`; empty if there is none.

    Args:
        onnx_bytes: content of the file.
        inputs: names of the tensors that the manifest says it takes.
        outputs: names of the tensors that the manifest says it returns.
    """
    known = (hashlib.sha256(onnx_bytes).digest(), tuple(inputs), tuple(outputs))
    faults = _remembered.get(known)
    if faults is None:
        faults = _find(onnx_bytes, inputs, outputs)
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        _remembered[known] = faults
    return list(faults)


def _find(onnx_bytes: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(_model_faults(onnx_messages.parse_model(onnx_bytes), inputs, outputs)))
    except Exception:  # DecodeError, or names that are not text, which protobuf returns as bytes
        return ("is not an ONNX file",)


def _model_faults(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Iterator[str]:
    if model.functions or model.training_info:
        yield f"has {'local functions' if model.functions else 'training graphs'}: expected one plain graph"
    initialised = {tensor.name for tensor in model.graph.initializer}
    taken = [value.name for value in model.graph.input if value.name not in initialised]
    returned = [value.name for value in model.graph.output]
    if not set(taken) <= set(inputs):
        yield f"takes {_listed(taken)}: expected {_listed(inputs)}, as the manifest says"
    if not set(outputs) <= set(returned):
        yield f"returns {_listed(returned)}: expected {_listed(outputs)}, as the manifest says"
    yield from _faults_of(model.graph, {}, trips=1, depth=0)


def _faults_of(graph: Any, outer: Mapping[str, np.ndarray], *, trips: int, depth: int) -> Iterator[str]:
    if depth > _MOST_DEPTH:
        yield f"has graphs nested more than {_MOST_DEPTH} deep"
        return
    if graph.sparse_initializer:
        yield "has sparse tensors, which are not supported"
    constants = dict(outer)
    for tensor in graph.initializer:
        yield from _tensor_faults(tensor)
        _keep(constants, tensor.name, tensor)
    for node in graph.node:
        yield from _node_faults(node, constants, trips=trips, depth=depth)


def _node_faults(node: Any, constants: dict[str, np.ndarray], *, trips: int, depth: int) -> Iterator[str]:
    if node.domain not in DOMAINS:
        yield f"needs the operator {node.domain}.{node.op_type}: expected standard operators"
    for attribute in node.attribute:
        for tensor in (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors):
            yield from _tensor_faults(tensor)
            if node.op_type == "Constant" and len(node.output) == 1:
                _keep(constants, node.output[0], tensor)
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            yield "has sparse tensors, which are not supported"
        if node.op_type == "Constant" and attribute.name in ("value_int", "value_ints") and node.output:
            values = list(attribute.ints) if attribute.name == "value_ints" else [attribute.i]
            constants[node.output[0]] = np.array(values[:_MOST_KEPT], np.float64)
    size = _made_values(node, constants)
    if size > MOST_VALUES:
        yield f"makes a tensor of {size:.3g} values by {node.op_type}: expected {MOST_VALUES:,} at most"
    if node.op_type == "Loop":
        count = constants.get(node.input[0]) if node.input else None
        if count is None or len(count) != 1 or not math.isfinite(count[0]):
            yield "has a loop whose number of trips is not a constant"
        else:
            trips *= max(1, math.ceil(count[0]))
            if trips > MOST_TRIPS:
                yield f"has a loop of {trips:,} trips: expected {MOST_TRIPS:,} at most"
    for attribute in node.attribute:
        for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _faults_of(inner, constants, trips=trips, depth=depth + 1)


def _tensor_faults(tensor: Any) -> Iterator[str]:
    """Compare the declared shape with the bytes that are there, at most two values per byte."""
    if tensor.external_data or tensor.data_location:
        yield f"keeps tensor '{tensor.name}' in another file: expected all data in the graph"
    elif min(tensor.dims, default=0) < 0 or math.prod(tensor.dims) > 2 * tensor.ByteSize():
        shape = list(tensor.dims)
        yield f"declares tensor '{tensor.name}' of shape {shape} without the values: got {tensor.ByteSize():,} bytes"


def _keep(constants: dict[str, np.ndarray], name: str, tensor: Any) -> None:
    """Remember a small constant, which later nodes may take as a shape or a count."""
    constants.pop(name, None)  # an inner graph may use the name of an outer tensor
    types = (onnx_messages.FLOAT, onnx_messages.DOUBLE, onnx_messages.INT32, onnx_messages.INT64)
    if tensor.data_type not in types or math.prod(tensor.dims) > _MOST_KEPT or next(_tensor_faults(tensor), None):
        return
    try:
        constants[name] = onnx_messages.values_of_tensor(tensor)
    except ValueError:
        return  # onnxruntime refuses the tensor


def _made_values(node: Any, constants: Mapping[str, np.ndarray]) -> float:
    """Return how many values a node makes from constants alone; 0 if it depends on the rows."""
    known = [constants.get(name) for name in node.input]
    if node.op_type in _SIZE_INPUT and len(known) > _SIZE_INPUT[node.op_type]:
        sizes = known[_SIZE_INPUT[node.op_type]]
        return 0.0 if sizes is None else _product(np.abs(sizes))
    if node.op_type == "Range" and len(known) == 3 and all(each is not None and len(each) for each in known):
        start, limit, step = (float(each[0]) for each in known if each is not None)
        return abs(limit - start) / abs(step) if step else math.inf
    if node.op_type == "Pad" and len(known) > 1 and known[1] is not None:
        return _product(1 + np.abs(known[1]))
    if node.op_type.startswith("Random"):
        return float(max((math.prod(each.ints) for each in node.attribute if each.name == "shape"), default=0))
    return 0.0


def _product(sizes: np.ndarray) -> float:
    product = 1.0
    for size in sizes.tolist():
        product *= size  # numpy would warn where this becomes infinite
    return product


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
