"""Running batches through a graph: halving when out of memory, padding, locking."""

import math
import time
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from aepipe.errors import DeviceUnavailable
from aepipe.inference.batch_runner import Runner, is_short_of_memory
from aepipe.inference.session import Session, usable_device
from aepipe.layout import Layout, Number, Port
from tests.support.linear_bundle import Graph, scorer

Tensors = Mapping[str, np.ndarray]


class Doubler:
    """Graph y = 2 x with memory for a limited number of rows; records the batch sizes."""

    def __init__(self, memory_rows: int = 10**9) -> None:
        self.memory_rows = memory_rows
        self.batches: list[int] = []

    def run_into(self, tensors: Tensors, out: Tensors) -> None:
        self.batches.append(len(tensors["x"]))
        if len(tensors["x"]) > self.memory_rows:
            raise RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer")
        out["y"][...] = 2 * tensors["x"]


def doubled(runner: Runner[Doubler], rows: int) -> np.ndarray:
    y = np.full((rows, 2), np.nan, np.float32)
    x = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    runner.run_into({"x": x}, {"y": y})
    np.testing.assert_array_equal(y, 2 * x)
    return y


def test_rows_are_run_in_batches_of_at_most_the_requested_size() -> None:
    runner = Runner(Doubler, batch_rows=4)

    doubled(runner, 10)

    assert runner.graph.batches == [4, 4, 2]


def test_lazy_runner_opens_its_graph_at_the_first_rows() -> None:
    opened: list[Doubler] = []
    runner = Runner(lambda: opened.append(Doubler()) or opened[-1], is_lazy=True)  # type: ignore[func-returns-value]

    runner.limit(3)
    assert opened == []

    doubled(runner, 2)
    doubled(runner, 2)
    assert [graph.batches for graph in opened] == [[2, 2]]


def test_too_large_batch_is_halved_for_good_and_the_graph_reopened() -> None:
    opened: list[Doubler] = []

    def make() -> Doubler:
        opened.append(Doubler(memory_rows=5))
        return opened[-1]

    runner = Runner(make, batch_rows=16)
    doubled(runner, 20)
    doubled(runner, 6)

    assert runner.batch_rows == 4
    assert [graph.batches for graph in opened] == [[16], [8], [4, 4, 4, 4, 4, 4, 2]]
    assert len(opened) - 1 <= math.log2(16)


def test_a_small_batch_that_is_too_large_is_halved_from_its_own_size() -> None:
    runner = Runner(lambda: Doubler(memory_rows=2), batch_rows=1024)

    doubled(runner, 6)

    assert runner.batch_rows == 1


def test_too_little_memory_for_one_row_is_an_error_with_a_remedy() -> None:
    runner = Runner(lambda: Doubler(memory_rows=0), batch_rows=8)

    with pytest.raises(DeviceUnavailable, match="the memory is too small for one row"):
        doubled(runner, 8)


def test_other_errors_do_not_count_as_out_of_memory() -> None:
    runner = Runner(Doubler, batch_rows=8)

    with pytest.raises(KeyError, match="x"):
        runner.run_into({"wrong": np.zeros((3, 2), np.float32)}, {})
    assert not is_short_of_memory(ValueError("shape"))


def test_padded_batches_have_one_size_and_the_outputs_of_the_rows() -> None:
    runner = Runner(Doubler, batch_rows=4, padded=True)

    doubled(runner, 10)
    doubled(runner, 1)

    assert runner.graph.batches == [4, 4, 4, 4]


def test_batches_are_padded_to_the_size_of_the_blocks() -> None:
    runner = Runner(Doubler, batch_rows=8, padded=True)
    doubled(runner, 3)

    runner.limit(5)
    doubled(runner, 5)
    doubled(runner, 2)
    runner.limit(7)
    doubled(runner, 7)

    assert runner.graph.batches == [8, 5, 5, 5, 5]


def test_unpadded_batches_are_not_limited() -> None:
    runner = Runner(Doubler, batch_rows=8)

    runner.limit(5)

    assert runner.batch_rows == 8


def test_a_padded_batch_is_halved_from_what_was_run() -> None:
    runner = Runner(lambda: Doubler(memory_rows=5), batch_rows=16, padded=True)

    doubled(runner, 1)

    assert runner.batch_rows == 4


def test_a_graph_is_released_before_the_next_is_opened() -> None:
    opened: list[weakref.ref[Doubler]] = []

    def make() -> Doubler:
        assert all(graph() is None for graph in opened)
        graph = Doubler(memory_rows=5)
        opened.append(weakref.ref(graph))
        return graph

    doubled(Runner(make, batch_rows=16), 16)

    assert len(opened) == 3


class Turnstile(Doubler):
    """Graph that yields to other threads while it runs and records how many ran at once."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = self.most = 0

    def run_into(self, tensors: Tensors, out: Tensors) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        time.sleep(1e-3)
        super().run_into(tensors, out)
        self.inside -= 1


def test_threads_take_turns() -> None:
    runner = Runner(Turnstile, batch_rows=4, padded=True)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda rows: doubled(runner, rows), [10] * 20))

    assert runner.graph.most == 1
    assert runner.graph.batches == [4] * 60


def hungry() -> bytes:
    """Build a graph score = x that needs a tensor of B ** 12 floats."""
    graph = Graph()
    size = graph.add("Shape", ["x"], start=0, end=1)
    first = graph.add("Mul", [graph.add("Gather", ["x", graph.constant([0])]), graph.constant(np.float32(0))])
    large = graph.add("Expand", [first, graph.add("Concat", [size] * 12, axis=0)])
    graph.add("Add", ["x", graph.add("ReduceSum", [large], keepdims=0)], "score")
    return graph.bytes([Port("x", "float32", ())], [Port("score", "float32", ())])


def test_onnxruntime_out_of_memory_continues_with_smaller_batches() -> None:
    onnx, x, score = hungry(), np.arange(32, dtype=np.float32), np.empty(32, np.float32)
    runner = Runner(lambda: Session(onnx, device="cpu"), batch_rows=32)

    runner.run_into({"x": x}, {"score": score})

    np.testing.assert_array_equal(score, x)
    assert runner.batch_rows <= 8


@pytest.mark.gpu
@pytest.mark.skipif(usable_device("auto")[0] != "cuda", reason="there is no GPU")
def test_a_gpu_out_of_memory_continues_with_smaller_batches() -> None:
    onnx, x, score = hungry(), np.arange(32, dtype=np.float32), np.empty(32, np.float32)
    runner = Runner(lambda: Session(onnx, device="cuda"), batch_rows=32, padded=True)

    runner.run_into({"x": x}, {"score": score})

    np.testing.assert_array_equal(score, x)
    assert runner.batch_rows <= 8


def test_scores_do_not_depend_on_the_size_of_the_batches() -> None:
    numbers = tuple(Number(name=str(index), column=index) for index in range(64))
    onnx, _ = scorer(Layout(columns=tuple(map(str, range(64))), numbers=numbers), 3)
    x = np.random.default_rng(0).standard_normal((3000, 64), dtype=np.float32)

    def scores(batch_rows: int) -> np.ndarray:
        score = np.empty(len(x), np.float32)
        Runner(lambda: Session(onnx, device="cpu"), batch_rows=batch_rows).run_into({"num": x}, {"score": score})
        return score

    for batch_rows in (1, 7, 512):
        np.testing.assert_allclose(scores(batch_rows), scores(2048), rtol=1e-5)
