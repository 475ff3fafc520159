"""Splitting of the combined graph into one reproducible ONNX file per part."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx

from aepipe.bundles.graph_check import DOMAINS
from aepipe.layout import Port
from aepipe.models.base import Part

BATCH_AXIS = "rows"


def tensor_names(part: str, side: str, ports: Sequence[Port]) -> list[str]:
    """Return the tensor names of a part in the combined graph."""
    return [f"{part}/{side}/{port.name}" for port in ports]


def extract_part(combined: onnx.ModelProto, part: Part, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Extract the ONNX file of a part, with its port names and a dynamic batch axis.

    Args:
        combined: Graph of all parts.
        part: Part with its ports.
        inputs: Tensors of the graph that are its inputs.
        outputs: Tensors of the graph that are its outputs.
    """
    model = onnx.ModelProto(ir_version=combined.ir_version, opset_import=combined.opset_import)
    model.graph.CopyFrom(extract_subgraph(combined.graph, inputs, outputs))
    for value in (*model.graph.input, *model.graph.output):
        if not value.type.tensor_type.shape.dim[0].dim_param:
            raise ValueError(f"'{value.name}' has a fixed batch axis: expected a symbolic one.")
    _rename(
        model.graph, dict(zip((*inputs, *outputs), [port.name for port in part.inputs + part.outputs], strict=True))
    )
    for values, ports in ((model.graph.input, part.inputs), (model.graph.output, part.outputs)):
        del values[:]
        for port in ports:
            element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype))
            values.append(onnx.helper.make_tensor_value_info(port.name, element, [BATCH_AXIS, *port.row_shape]))
    return finalize_model(model, part.name)


def finalize_model(model: onnx.ModelProto, name: str) -> bytes:
    """Strip machine-specific metadata, check the operators, and serialise the model."""
    _strip(model, name)
    nodes = [node for graph in _graphs(model.graph) for node in graph.node]
    foreign = {f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in DOMAINS}
    if foreign or model.functions:
        found = ", ".join(sorted(foreign)) or "local functions"
        raise ValueError(f"the graph has custom operators: expected standard ONNX, got {found}.")
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def extract_subgraph(graph: onnx.GraphProto, inputs: Sequence[str], outputs: Sequence[str]) -> onnx.GraphProto:
    """Extract the subgraph between these inputs and outputs, in the original node order.

    `onnx.utils.Extractor` misses tensors that a loop body captures from the outer graph.
    """
    made_by = {name: at for at, node in enumerate(graph.node) for name in node.output}
    needed, kept, waiting = set[str](), set[int](), list(outputs)
    while waiting:
        name = waiting.pop()
        if name in needed or name in inputs:
            continue
        needed.add(name)
        if name in made_by and made_by[name] not in kept:
            kept.add(made_by[name])
            waiting += _taken(graph.node[made_by[name]])
    values = {value.name: value for value in (*graph.input, *graph.output)}
    return onnx.helper.make_graph(
        [graph.node[at] for at in sorted(kept)],
        "part",
        [values[name] for name in inputs],
        [values[name] for name in outputs],
        initializer=[tensor for tensor in graph.initializer if tensor.name in needed],
    )


def _taken(node: onnx.NodeProto) -> set[str]:
    """Return the tensors that a node reads, including tensors that its body captures."""
    taken = set(node.input)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            body = attribute.g
            own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
            for inner in body.node:
                taken |= _taken(inner) - own
                own |= set(inner.output)
            taken |= {value.name for value in body.output} - own
    return taken - {""}


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename tensors; tensors that already have one of the new names get a suffix."""
    taken = set(names.values())

    def renamed(name: str) -> str:
        return names.get(name) or (f"{name}.inner" if name in taken else name)

    for each in _graphs(graph):
        for node in each.node:
            node.input[:] = [renamed(name) for name in node.input]
            node.output[:] = [renamed(name) for name in node.output]
        for named in (*each.initializer, *each.input, *each.output):
            named.name = renamed(named.name)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield the graph and the bodies of its loops."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _graphs(attribute.g)


def _strip(model: onnx.ModelProto, name: str) -> None:
    """Drop debugging metadata of the exporter: stack traces with local paths, inner shapes."""
    model.graph.name = name
    model.producer_name = "aepipe"
    graphs = list(_graphs(model.graph))
    for graph in graphs:
        del graph.value_info[:]
        graph.ClearField("metadata_props")
        for noted in (*graph.node, *graph.initializer, *graph.input, *graph.output):
            noted.ClearField("metadata_props")
            noted.ClearField("doc_string")
    used = {node.domain for graph in graphs for node in graph.node} | {""}
    kept = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
