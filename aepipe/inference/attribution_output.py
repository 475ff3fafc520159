"""Graph of a scorer with the attributions of all columns as one more output. Nothing here runs it."""

from aepipe.bundles.onnx_messages import FLOAT, parse_model

ATTRIBUTIONS = "attributions"
"""(B, R) float32, in the order of the bundle's reason names."""


def with_attributions(onnx: bytes, *, reasons: int) -> bytes:
    """Add the attributions that the reasons are the greatest of as an output; no change if the graph has no reasons.

    The exported graph outputs only the few greatest, which is what a scoring run needs; all of them are computed in it.

    Args:
        onnx: graph of the scorer.
        reasons: number of reason names of the bundle.
    """
    model = parse_model(onnx)
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get("reason_z")
    if node is None:
        return onnx
    while node.op_type not in ("TopK", "GatherElements"):
        node = makers[node.input[0]]
    model.graph.node.add(op_type="Identity", input=[node.input[0]], output=[ATTRIBUTIONS])
    tensor = model.graph.output.add(name=ATTRIBUTIONS).type.tensor_type
    tensor.elem_type = FLOAT
    tensor.shape.dim.add(dim_param="rows")
    tensor.shape.dim.add(dim_value=reasons)
    return bytes(model.SerializeToString())
