"""Graph of a scorer with the attributions of all columns as one more output. Nothing here runs it."""

ATTRIBUTIONS = "attributions"
"""(B, R) float32, in the order of the bundle's reason names."""


def with_attributions(onnx: bytes, *, reasons: int) -> bytes:
    """Add the attributions that the reasons are the greatest of as an output; no change if the graph has no reasons.

    The exported graph outputs only the few greatest, which is what a scoring run needs; all of them are computed in it.

    Args:
        onnx: graph of the scorer.
        reasons: number of reason names of the bundle.
    """
    import onnx as graphs

    model = graphs.load_from_string(onnx)
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get("reason_z")
    if node is None:
        return onnx
    while node.op_type != "TopK":
        node = makers[node.input[0]]
    model.graph.node.append(graphs.helper.make_node("Identity", [node.input[0]], [ATTRIBUTIONS]))
    info = graphs.helper.make_tensor_value_info(ATTRIBUTIONS, graphs.TensorProto.FLOAT, ["rows", reasons])
    model.graph.output.append(info)
    return bytes(model.SerializeToString())
