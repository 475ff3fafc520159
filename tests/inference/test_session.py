"""Graphs on devices: outputs, zero rows, and the choice of the device."""

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from aepipe.errors import BundleCorrupt, DeviceUnavailable
from aepipe.inference.session import CUDA, Session, usable_device
from aepipe.layout import Layout, Number, Port
from tests.support.linear_bundle import Graph, scorer, weights

has_gpu = usable_device("auto")[0] == "cuda"
LAYOUT = Layout(columns=("a", "b", "c"), numbers=tuple(Number(name=n, column=i) for i, n in enumerate("abc")))


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3), dtype=np.float32)


def test_a_session_computes_what_numpy_computes() -> None:
    x = rows(7)

    found = Session(scorer(LAYOUT, 2)[0], device="cpu").run({"num": x})

    np.testing.assert_allclose(found["z"], x @ weights(3), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["score"], np.abs(x).sum(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(found["reason"], np.argsort(-np.abs(x), axis=1)[:, :2])


def test_only_the_requested_outputs_are_written_in_place() -> None:
    x, score = rows(7), np.full(9, -1, np.float32)

    Session(scorer(LAYOUT, 2)[0], device="cpu").run_into({"num": x}, {"score": score[1:8]})

    np.testing.assert_allclose(score, [-1, *np.abs(x).sum(axis=1), -1], rtol=1e-6)


@pytest.mark.parametrize("names", [["z", "score", "reason", "reason_z"], ["score"]])
def test_kept_buffers_give_the_same_outputs_for_any_batch_size(names: list[str]) -> None:
    onnx, _ = scorer(LAYOUT, 2)
    kept, x = Session(onnx, device="cpu", keeps_buffers=True), rows(16)

    for size in (7, 7, 16, 7):
        expected = Session(onnx, device="cpu").run({"num": x[:size]})
        found = {name: np.zeros_like(expected[name]) for name in names}
        kept.run_into({"num": np.asfortranarray(x[:size])}, found)

        for name in names:
            np.testing.assert_array_equal(found[name], expected[name])


def test_threads_share_the_kept_buffers() -> None:
    session, x = Session(scorer(LAYOUT, 2)[0], device="cpu", keeps_buffers=True), rows(64)

    def scored(row: np.ndarray) -> float:
        score = np.empty(1, np.float32)
        session.run_into({"num": row[None]}, {"score": score})
        return float(score[0])

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(scored, x))

    np.testing.assert_allclose(found, np.abs(x).sum(axis=1), rtol=1e-6)


def test_no_rows_give_outputs_of_the_right_shapes_and_types() -> None:
    found = Session(scorer(LAYOUT, 2)[0], device="cpu").run({"num": rows(0)})

    assert {name: (values.shape, str(values.dtype)) for name, values in found.items()} == {
        "z": ((0, 2), "float32"),
        "score": ((0,), "float32"),
        "reason": ((0, 2), "int32"),
        "reason_z": ((0, 2), "float32"),
    }


def test_threads_share_a_session() -> None:
    session, x = Session(scorer(LAYOUT, 2)[0], device="cpu"), rows(64)

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda row: session.run({"num": row[None]})["score"][0], x))

    np.testing.assert_allclose(found, np.abs(x).sum(axis=1), rtol=1e-6)


def test_bytes_that_are_not_a_graph_are_refused() -> None:
    with pytest.raises(BundleCorrupt, match="is not an ONNX graph"):
        Session(b"not a graph", device="cpu")


def test_a_graph_with_a_second_dynamic_axis_is_refused() -> None:
    graph = Graph()
    graph.add("Neg", ["x"], "y")

    with pytest.raises(BundleCorrupt, match="expected only the first axis to be dynamic"):
        Session(graph.bytes([Port("x", "float32", ("N",))], [Port("y", "float32", ("N",))]), device="cpu")


def test_the_cpu_is_used_on_request() -> None:
    assert usable_device("cpu") == ("cpu", "asked for")
    assert Session(scorer(LAYOUT, 0)[0], device="cpu").provider == "CPUExecutionProvider"


@pytest.mark.skipif(has_gpu, reason="there is a GPU")
def test_missing_cuda_is_refused_with_the_reason() -> None:
    with pytest.raises(
        DeviceUnavailable, match=r'device "cuda" cannot be used: .+\. Fix this, or set device = "auto" or "cpu"'
    ):
        Session(scorer(LAYOUT, 0)[0], device="cuda")


@pytest.mark.skipif(has_gpu, reason="there is a GPU")
def test_auto_falls_back_to_the_cpu_with_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="aepipe"):
        session = Session(scorer(LAYOUT, 0)[0], device="auto")

    assert session.provider == "CPUExecutionProvider"
    assert "graphs run on the CPU: " in caplog.text


@pytest.mark.gpu
@pytest.mark.skipif(not has_gpu, reason="there is no GPU")
def test_on_a_gpu_the_provider_is_cuda_and_agrees_with_the_cpu() -> None:
    onnx, x = scorer(LAYOUT, 2)[0], rows(512)

    session = Session(onnx, device="cuda")

    assert session.provider == CUDA
    expected = Session(onnx, device="cpu").run({"num": x})
    for name, values in session.run({"num": x}).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-4)
