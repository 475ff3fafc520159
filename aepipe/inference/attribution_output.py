"""A scorer's graph that also answers what it ranks reasons by. Nothing here runs it."""

BLAME = "blame"
"""(B, R) float32, in the order of the bundle's reason names."""


def with_blame(onnx: bytes, *, reasons: int) -> bytes:
    """The graph with what its reasons are the greatest of as one more output; as it is where it answers no reasons.

    Nights need the few greatest, and that is what was exported; the others are in the graph all the same.
    """
    import onnx as graphs

    model = graphs.load_from_string(onnx)
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get("reason_z")
    if node is None:
        return onnx
    while node.op_type != "TopK":
        node = makers[node.input[0]]
    model.graph.node.append(graphs.helper.make_node("Identity", [node.input[0]], [BLAME]))
    model.graph.output.append(graphs.helper.make_tensor_value_info(BLAME, graphs.TensorProto.FLOAT, ["rows", reasons]))
    return bytes(model.SerializeToString())
