"""One ONNX graph on one device, ready to run. Nothing here knows torch, Arrow or bundles."""

import contextlib
import ctypes
import functools
import io
import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from aepipe.config.job import Device
from aepipe.errors import BundleCorrupt, DeviceUnavailable
from aepipe.inference.io_binding import Bound
from aepipe.inference.io_binding import Tensors as Tensors
from aepipe.layout import Port

log = logging.getLogger(__name__)

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_CUDA_OPTIONS = {
    "arena_extend_strategy": "kSameAsRequested",  # doubling would take twice what the batches need
    "cudnn_conv_algo_search": "HEURISTIC",
    "use_tf32": "0",  # scores agree with the CPU to 1e-4
}
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
# y = -x in ONNX: what the CUDA provider has to open before it is believed.
_PROBE = (
    b'\x08\n\x12\x00:2\n\x0b\n\x01x\x12\x01y"\x03Neg\x12\x01pZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x14"
)


class Session:
    """An ONNX graph, opened. Several threads may run it at once.

    Raises DeviceUnavailable where `device` is cuda and cannot be had, BundleCorrupt where the bytes are no graph.
    """

    def __init__(
        self,
        onnx: bytes,
        *,
        device: Device = "auto",
        threads: int = 1,
        keeps_buffers: bool | None = None,
        gpu_memory_mb: int | None = None,
    ) -> None:
        """keeps_buffers: `run_into` allocates nothing while batches are of one size; none: on a GPU.

        gpu_memory_mb: what the session's arena may take of a GPU; none: what there is.
        """
        self.device, _ = usable_device(device)
        self._keeps_buffers = self.device == "cuda" if keeps_buffers is None else keeps_buffers
        self._bound: Bound | None = None
        self._session = _open(onnx, self.device, threads, gpu_memory_mb=gpu_memory_mb)
        self.inputs = tuple(_port(node) for node in self._session.get_inputs())
        self.outputs = tuple(_port(node) for node in self._session.get_outputs())

    @property
    def provider(self) -> str:
        """The execution provider that runs the graph."""
        return str(self._session.get_providers()[0])

    def run(self, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
        """Every output by name, B rows each. No rows are answered without onnxruntime, which can abort on them."""
        feeds = self._feeds(tensors)
        if any(len(values) == 0 for values in feeds.values()):
            return {port.name: np.zeros((0, *port.row_shape), port.dtype) for port in self.outputs}
        names = [port.name for port in self.outputs]
        return dict(zip(names, self._session.run(names, feeds), strict=True))

    def run_into(self, tensors: Tensors, out: Tensors) -> None:
        """Writes the outputs that `out` names into its arrays, B rows each, one at least."""
        if self._keeps_buffers:
            self._binding(len(next(iter(out.values()))), list(out)).run_into(tensors, out)
            return
        # Binding `out` to the graph saves nothing on a CPU: 1,517 and 1,531 ns a row of 64 columns.
        answers = self._session.run(list(out), self._feeds(tensors))
        for values, answer in zip(out.values(), answers, strict=True):
            values[...] = answer

    def _binding(self, rows: int, names: Sequence[str]) -> Bound:
        """Room for batches of this size: what was bound last, or new room in its place."""
        if self._bound is None or not self._bound.has(names, rows):
            self._bound = None  # the memory it holds may be needed for the next
            outputs = [port for port in self.outputs if port.name in names]
            self._bound = Bound(self._session, self.inputs, outputs, rows=rows, device=self.device)
        return self._bound

    def _feeds(self, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
        return {port.name: tensors[port.name] for port in self.inputs}


def usable_device(wanted: Device) -> tuple[Literal["cpu", "cuda"], str]:
    """Where graphs will run, and why. Raises DeviceUnavailable where cuda is asked for and cannot be had."""
    if wanted == "cpu":
        return "cpu", "asked for"
    fault = _cuda_fault()
    if fault is None:
        return "cuda", "CUDA opens a graph"
    if wanted == "cuda":
        raise DeviceUnavailable(f'device "cuda" cannot be used: {fault}. Take "auto" or "cpu", or mend it.')
    log.info("graphs run on the CPU: %s", fault)
    return "cpu", fault


@functools.cache
def _cuda_fault() -> str | None:
    """What keeps onnxruntime from CUDA; None where it has opened a graph there."""
    if CUDA not in ort.get_available_providers():
        return "this onnxruntime is built without CUDA (onnxruntime-gpu has it)"
    fault = _driver_fault()
    if fault is not None:
        return fault
    with contextlib.redirect_stdout(io.StringIO()) as said:
        ort.preload_dlls(directory="")
    try:
        _open(_PROBE, "cuda", 1)
    except DeviceUnavailable as error:
        return " ".join(f"{error} {said.getvalue()}".split())
    return None


def _driver_fault() -> str | None:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver (libcuda.so.1)"
    count = ctypes.c_int(0)
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status:
        return f"the NVIDIA driver finds no GPU (CUDA error {status})"
    return None if count.value else "the NVIDIA driver finds no GPU"


def _open(
    onnx: bytes, device: Literal["cpu", "cuda"], threads: int, *, gpu_memory_mb: int | None = None
) -> ort.InferenceSession:
    providers = [(CUDA, cuda_options(gpu_memory_mb)), CPU] if device == "cuda" else [CPU]
    try:
        session = ort.InferenceSession(onnx, _options(threads), providers=providers)
    except (ort_errors.InvalidProtobuf, ort_errors.InvalidGraph) as error:
        raise BundleCorrupt(f"{len(onnx):,} bytes are no ONNX graph: {error}. Restore the bundle.") from None
    # onnxruntime falls back to the CPU without a word.
    if device == "cuda" and session.get_providers()[0] != CUDA:
        raise DeviceUnavailable(f"onnxruntime {ort.__version__} could not start CUDA: are its nvidia-* packages there?")
    return session


def cuda_options(memory_mb: int | None) -> dict[str, str]:
    """How the CUDA provider is set up; beyond `memory_mb` it is out of memory, which halves the batch.

    >>> cuda_options(None) == _CUDA_OPTIONS, cuda_options(512)["gpu_mem_limit"]
    (True, '536870912')
    """
    return _CUDA_OPTIONS if memory_mb is None else _CUDA_OPTIONS | {"gpu_mem_limit": str(memory_mb << 20)}


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning costs 1.3 times the CPU
    return options


def _port(node: ort.NodeArg) -> Port:
    """A tensor of the graph; raises BundleCorrupt if an axis besides the first is free."""
    axes = node.shape[1:]
    if not all(isinstance(axis, int) for axis in axes) or node.type not in _DTYPES:
        raise BundleCorrupt(f"tensor '{node.name}' is {node.type} {node.shape}: only the first axis may be free")
    return Port(node.name, _DTYPES[node.type], tuple(axes))
