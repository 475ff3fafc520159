"""Run any number of rows through a graph in batches. Nothing here knows onnxruntime."""

import logging
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from aepipe.errors import DeviceUnavailable
from aepipe.inference.session import Session, Tensors

log = logging.getLogger(__name__)

_SHORT_OF_MEMORY = (
    "failed to allocate memory",
    "bad_alloc",
    "out of memory",
    "bfcarena",
    "alloc_failed",
    "cuda_error_out_of_memory",
)


class Graph(Protocol):
    """Graph that a runner can run, such as a `Session`."""

    def run_into(self, tensors: Tensors, out: Tensors) -> None:
        """Write the outputs named in `out` into its arrays, B rows each."""


G = TypeVar("G", bound=Graph)

BATCH_ROWS = 512
"""Default number of rows per batch."""


class Runner(Generic[G]):
    """Runner of batches of at most `batch_rows` rows, halved for good when memory runs out. Threads take turns."""

    def __init__(
        self, make: Callable[[], G], *, batch_rows: int = BATCH_ROWS, padded: bool = False, is_lazy: bool = False
    ) -> None:
        """Open the graph.

        Args:
            make: opens the graph; called again after each halving.
            batch_rows: maximum rows per batch.
            padded: pad every batch to `batch_rows` rows, so that a GPU tunes its kernels for one shape.
            is_lazy: open the graph when it is first used.
        """
        self._graph: G | None = None if is_lazy else make()
        self.batch_rows = batch_rows
        self._make = make
        self._padded = padded
        self._padding: dict[str, NDArray[np.generic]] = {}
        self._turn = threading.Lock()

    @property
    def graph(self) -> G:
        """The open graph; waits while another thread reopens it."""
        with self._turn:
            return self._opened()

    def run_into(self, tensors: Tensors, out: Tensors) -> None:
        """Write the outputs named in `out` into its arrays, B rows each.

        Raises:
            DeviceUnavailable: the memory is too small for one row.
        """
        rows = min(map(len, tensors.values()))
        at = 0
        with self._turn:
            while at < rows:
                size = min(self.batch_rows, rows - at)
                try:
                    self._run(_cut(tensors, at, size), _cut(out, at, size), size)
                except Exception as error:  # onnxruntime has no class for it
                    if not is_short_of_memory(error):
                        raise
                    message = str(error)
                else:
                    at += size
                    continue
                # Not in the handler: the frames of the error keep the graph and its memory alive.
                self._halve(self.batch_rows if self._padded else size, message)

    def limit(self, rows: int) -> None:
        """Pad batches to at most this many rows; a caller with smaller blocks would pay for the padding."""
        with self._turn:
            if self._padded and rows < self.batch_rows:
                self.batch_rows = rows
                self._padding.clear()

    def _run(self, tensors: Tensors, out: Tensors, size: int) -> None:
        if not self._padded or size == self.batch_rows:
            self._opened().run_into(tensors, out)
            return
        for name, values in tensors.items():
            if name not in self._padding:
                self._padding[name] = np.zeros((self.batch_rows, *values.shape[1:]), values.dtype)
            self._padding[name][:size] = values
        outputs = {name: np.empty((self.batch_rows, *v.shape[1:]), v.dtype) for name, v in out.items()}
        self._opened().run_into(self._padding, outputs)
        for name, values in out.items():
            values[...] = outputs[name][:size]

    def _halve(self, size: int, message: str) -> None:
        if size == 1:
            raise DeviceUnavailable(
                f"the memory is too small for one row: {message}. Use a smaller model, or raise [run] gpu_memory_mb."
            )
        self.batch_rows = size // 2
        self._padding.clear()
        log.warning("out of memory with %d rows per batch; continuing with %d", size, self.batch_rows)
        self._graph = None  # frees its memory before the next graph is opened
        self._opened()

    def _opened(self) -> G:
        """Return the graph; the caller has its turn."""
        if self._graph is None:
            self._graph = self._make()
        return self._graph


def outputs_of(runner: Runner[Session], tensors: Tensors) -> dict[str, NDArray[np.generic]]:
    """Return every output of the graph by name, for all rows of the tensors."""
    rows = len(next(iter(tensors.values())))
    out = {port.name: np.empty((rows, *port.row_shape), port.dtype) for port in runner.graph.outputs}
    runner.run_into(tensors, out)
    return out


def is_short_of_memory(error: BaseException) -> bool:
    """Tell whether an error of onnxruntime is a failed allocation.

    >>> is_short_of_memory(RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for 4096 bytes"))
    True
    """
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(phrase in text for phrase in _SHORT_OF_MEMORY)


def _cut(tensors: Tensors, at: int, size: int) -> dict[str, NDArray[np.generic]]:
    return {name: values[at : at + size] for name, values in tensors.items()}
