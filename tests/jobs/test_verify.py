"""Verification of bundles: in this process, and in a child process with limits for bundles of unknown origin."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from aepipe.jobs.untrusted import verify_untrusted
from aepipe.jobs.verify import verify
from tests.support.bundles import sealed
from tests.support.linear_bundle import make_bundle, numbers


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path, numbers(60)).path


def _with_extra_output(bundle: Path, spoil: Callable[[onnx.GraphProto], list[Any]]) -> Path:
    """Add nodes whose output `extra` (B,) is added to the score."""
    model = onnx.load(bundle / "scorer.onnx")
    next(node for node in model.graph.node if "score" in node.output).output[0] = "plain"
    model.graph.node.extend([*spoil(model.graph), helper.make_node("Add", ["plain", "extra"], ["score"])])
    onnx.save(model, bundle / "scorer.onnx")
    return sealed(bundle)


def _doubling(graph: onnx.GraphProto) -> list[Any]:
    """Double a tensor forty times, each step within every bound that a graph shows."""
    steps = [helper.make_node("Concat", ["num", "num"], ["d0"], axis=1)]
    steps += [helper.make_node("Concat", [f"d{at}", f"d{at}"], [f"d{at + 1}"], axis=1) for at in range(40)]
    graph.initializer.append(numpy_helper.from_array(np.array([1]), "axis"))
    return [*steps, helper.make_node("ReduceMax", ["d40", "axis"], ["extra"], keepdims=0)]


def _long_loop(graph: onnx.GraphProto) -> list[Any]:
    """Take the logarithm of a matrix product in as many trips as are allowed."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("MatMul", ["s", "square"], ["t"]),
        ],
        "body",
        [
            info("i", onnx.TensorProto.INT64, []),
            info("go_in", onnx.TensorProto.BOOL, []),
            info("s", onnx.TensorProto.FLOAT, None),
        ],
        [info("go_out", onnx.TensorProto.BOOL, []), info("t", onnx.TensorProto.FLOAT, None)],
    )
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in {
            "trips": np.int64(1_000_000),
            "go": np.bool_(True),
            "square": np.eye(1_000, dtype=np.float32),
            "ones": np.ones((100, 1_000), np.float32),
            "zero": np.zeros(1, np.float32),
        }.items()
    )
    return [
        helper.make_node("Loop", ["trips", "go", "ones"], ["last"], body=body),
        helper.make_node("ReduceMax", ["last"], ["greatest"], keepdims=0),
        helper.make_node("Mul", ["greatest", "zero"], ["extra"]),
    ]


def test_intact_bundle_is_verified_in_both_ways(bundle: Path) -> None:
    trusted, untrusted = verify(bundle), verify(bundle, untrusted=True)

    assert trusted.checked == (f"bundle linear/{bundle.name}: every file, and the golden rows",)
    assert untrusted == trusted


def test_faults_of_a_bundle_are_the_same_in_both_ways(bundle: Path) -> None:
    (bundle / "scorer.onnx").write_bytes(b"no graph")

    assert verify(bundle).faults == verify(bundle, untrusted=True).faults != ()


def test_graph_that_takes_memory_without_end_only_ends_the_child(bundle: Path) -> None:
    found = verify_untrusted(_with_extra_output(bundle, _doubling), memory_mb=512)

    assert found.fault is not None
    assert "512 MB" in found.fault or "cannot score its golden rows" in found.fault


@pytest.mark.slow
def test_graph_that_takes_time_without_end_only_ends_the_child(bundle: Path) -> None:
    found = verify_untrusted(_with_extra_output(bundle, _long_loop), timeout_s=3)

    assert found.fault is not None
    assert "takes too long: expected 3 s at most" in found.fault


def test_aborts_of_a_library_are_reported(bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    found = verify_untrusted(bundle)

    assert found.fault is not None
    assert "signal SIGABRT" in found.fault


def test_parts_that_cannot_be_opened_are_found(bundle: Path) -> None:
    model = onnx.load(bundle / "sampler.onnx")
    model.graph.node[0].op_type = "Unheard"
    onnx.save(model, bundle / "sampler.onnx")

    (fault,) = verify(sealed(bundle)).faults

    assert "sampler.onnx cannot be opened" in fault
    assert fault.isprintable()


def test_names_that_are_not_text_are_one_fault_and_nothing_on_standard_output(
    bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = (bundle / "sampler.onnx").read_bytes()
    (bundle / "sampler.onnx").write_bytes(data.replace(b"MatMul", b"Mat\xfful"))

    (fault,) = verify(sealed(bundle)).faults

    assert "sampler.onnx" in fault
    assert capfd.readouterr().out == ""
