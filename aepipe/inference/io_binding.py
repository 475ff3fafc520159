"""Bind the inputs and outputs of a graph to fixed buffers: batches of one size run without allocation."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from aepipe.inference.pinned_memory import pinned
from aepipe.layout import Port

if TYPE_CHECKING:
    import onnxruntime as ort

Tensors = Mapping[str, NDArray[np.generic]]


class BoundSession:
    """Session with device buffers for inputs and host buffers for outputs of `rows` rows. Threads take turns."""

    def __init__(
        self,
        session: "ort.InferenceSession",
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        *,
        rows: int,
        device: Literal["cpu", "cuda"],
    ) -> None:
        from onnxruntime import OrtValue

        self._session = session
        self._binding = session.io_binding()
        self._staged = {port.name: _host_buffer(port, rows, device) for port in inputs}
        self._inputs = dict[str, OrtValue]()
        for name, host in self._staged.items():
            buffer = OrtValue.ortvalue_from_shape_and_type(list(host.shape), host.dtype.type, device, 0)
            self._binding.bind_ortvalue_input(name, buffer)
            self._inputs[name] = buffer
        self._outputs = {port.name: _host_buffer(port, rows, device) for port in outputs}
        for name, host in self._outputs.items():
            self._binding.bind_output(name, "cpu", 0, host.dtype.type, list(host.shape), host.ctypes.data)
        self._turn = threading.Lock()
        self.rows = rows

    def has(self, names: Iterable[str], rows: int) -> bool:
        """Tell whether the buffers fit batches of this many rows with these outputs."""
        return rows == self.rows and set(names) == set(self._outputs)

    def run_into(self, tensors: Tensors, out: Tensors) -> None:
        """Write the outputs into the arrays of `out`, `rows` rows each; `out` names exactly the bound outputs."""
        with self._turn:
            for name, buffer in self._inputs.items():
                np.copyto(self._staged[name], tensors[name], casting="no")
                buffer.update_inplace(self._staged[name])
            self._session.run_with_iobinding(self._binding)
            self._binding.synchronize_outputs()
            for name, values in self._outputs.items():
                out[name][...] = values


def _host_buffer(port: Port, rows: int, device: str) -> NDArray[np.generic]:
    """Allocate host memory that the device copies from or to."""
    values: NDArray[np.generic] = np.empty((rows, *port.row_shape), port.dtype)
    return pinned(values) if device == "cuda" else values
