"""Attributions as an extra output of the scorer's graph, on hand-made graphs."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from aepipe.inference.attribution_output import ATTRIBUTIONS, with_attributions
from aepipe.inference.session import Session

COLUMNS = 5


def graph(*, reasons: int, are_gathered: bool = False) -> bytes:
    """Build a scorer: twice each number of a row, their sum as the score, the greatest few as reasons.

    With `are_gathered` the reasons are the columns of the greatest numbers, and their values are gathered.
    """
    nodes = [
        helper.make_node("Add", ["num", "num"], ["twice"]),
        helper.make_node("ReduceSum", ["twice", "axis"], ["score"], keepdims=0),
    ]
    outputs = [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows"])]
    if reasons:
        nodes += [
            helper.make_node("TopK", ["num" if are_gathered else "twice", "k"], ["greatest", "places"], axis=1),
            helper.make_node("Cast", ["places"], ["reason"], to=TensorProto.INT32),
            helper.make_node("GatherElements", ["twice", "places"], ["reason_z"], axis=1)
            if are_gathered
            else helper.make_node("Identity", ["greatest"], ["reason_z"]),
        ]
        outputs += [
            helper.make_tensor_value_info("reason", TensorProto.INT32, ["rows", reasons]),
            helper.make_tensor_value_info("reason_z", TensorProto.FLOAT, ["rows", reasons]),
        ]
    made = helper.make_graph(
        nodes,
        "scorer",
        [helper.make_tensor_value_info("num", TensorProto.FLOAT, ["rows", COLUMNS])],
        outputs,
        [
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
            helper.make_tensor("k", TensorProto.INT64, [1], [reasons]),
        ],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("are_gathered", [False, True])
def test_attributions_are_added_and_other_outputs_unchanged(*, are_gathered: bool) -> None:
    rows = np.random.default_rng(0).normal(size=(7, COLUMNS)).astype(np.float32)
    plain = graph(reasons=2, are_gathered=are_gathered)

    answers = Session(with_attributions(plain, reasons=COLUMNS), device="cpu").run({"num": rows})

    np.testing.assert_array_equal(answers[ATTRIBUTIONS], 2 * rows)
    for name, before in Session(plain, device="cpu").run({"num": rows}).items():
        np.testing.assert_array_equal(answers[name], before)


def test_graph_without_reasons_is_unchanged() -> None:
    plain = graph(reasons=0)

    assert with_attributions(plain, reasons=COLUMNS) == plain
