"""A graph whose inputs and outputs stay where they are: nothing is allocated while batches of one size run."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from aepipe.inference.pinned_memory import pinned
from aepipe.layout import Port

Tensors = Mapping[str, NDArray[np.generic]]


class Bound:
    """A session with room for `rows` rows on its device, and for their answers in memory. Threads take turns."""

    def __init__(
        self,
        session: ort.InferenceSession,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        *,
        rows: int,
        device: Literal["cpu", "cuda"],
    ) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._inputs = {port.name: self._room(port, rows, device) for port in inputs}
        self._staged = {port.name: _host(port, rows, device) for port in inputs}
        self._outputs = {port.name: self._answer(port, rows, device) for port in outputs}
        self._turn = threading.Lock()
        self.rows = rows

    def has(self, names: Iterable[str], rows: int) -> bool:
        """Whether batches of so many rows with these outputs can be run."""
        return rows == self.rows and set(names) == set(self._outputs)

    def run_into(self, tensors: Tensors, out: Tensors) -> None:
        """Writes the outputs into the arrays of `out`, which has all of them and no other, `rows` rows each."""
        with self._turn:
            for name, room in self._inputs.items():
                np.copyto(self._staged[name], tensors[name], casting="no")
                room.update_inplace(self._staged[name])
            self._session.run_with_iobinding(self._binding)
            self._binding.synchronize_outputs()
            for name, values in self._outputs.items():
                out[name][...] = values

    def _room(self, port: Port, rows: int, device: str) -> ort.OrtValue:
        shape = [rows, *port.row_shape]
        room = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(port.dtype).type, device, 0)
        self._binding.bind_ortvalue_input(port.name, room)
        return room

    def _answer(self, port: Port, rows: int, device: str) -> NDArray[np.generic]:
        values = _host(port, rows, device)
        kind = values.dtype.type
        self._binding.bind_output(port.name, "cpu", 0, kind, list(values.shape), values.ctypes.data)
        return values


def _host(port: Port, rows: int, device: str) -> NDArray[np.generic]:
    """Room in memory, from where and to where the device copies."""
    values: NDArray[np.generic] = np.empty((rows, *port.row_shape), port.dtype)
    return pinned(values) if device == "cuda" else values
