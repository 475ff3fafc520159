"""Run one ONNX graph on one device. Nothing here knows torch, Arrow or bundles.

onnxruntime is imported with the first graph: a run without work opens none.
"""

import contextlib
import ctypes
import functools
import io
import logging
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from aepipe.config.job import Device
from aepipe.errors import BundleCorrupt, DeviceUnavailable
from aepipe.inference.io_binding import BoundSession
from aepipe.inference.io_binding import Tensors as Tensors
from aepipe.layout import Port

if TYPE_CHECKING:
    import onnxruntime as ort

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
# y = -x in ONNX: the test graph that the CUDA provider must open before it is used.
_PROBE = (
    b'\x08\n\x12\x00:2\n\x0b\n\x01x\x12\x01y"\x03Neg\x12\x01pZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x14"
)


class Session:
    """Open ONNX graph. Several threads may run it at the same time."""

    def __init__(
        self,
        onnx: bytes,
        *,
        device: Device = "auto",
        threads: int = 1,
        keeps_buffers: bool | None = None,
        gpu_memory_mb: int | None = None,
    ) -> None:
        """Open the graph.

        Args:
            onnx: bytes of the model file.
            device: where to run.
            threads: CPU threads.
            keeps_buffers: `run_into` reuses its buffers while the batch size is constant; None: only on a GPU.
            gpu_memory_mb: maximum GPU memory of the session; None: all.

        Raises:
            DeviceUnavailable: `device` is cuda and cannot be used.
            BundleCorrupt: the bytes are not an ONNX graph.
        """
        self.device, _ = usable_device(device)
        self._keeps_buffers = self.device == "cuda" if keeps_buffers is None else keeps_buffers
        self._bound: BoundSession | None = None
        self._session = _open(onnx, self.device, threads, gpu_memory_mb=gpu_memory_mb)
        self.inputs = tuple(_port(node) for node in self._session.get_inputs())
        self.outputs = tuple(_port(node) for node in self._session.get_outputs())

    @property
    def provider(self) -> str:
        """The execution provider that runs the graph."""
        return str(self._session.get_providers()[0])

    def run(self, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
        """Return every output by name, B rows each."""
        feeds = self._feeds(tensors)
        if any(len(values) == 0 for values in feeds.values()):  # onnxruntime can abort on empty inputs
            return {port.name: np.zeros((0, *port.row_shape), port.dtype) for port in self.outputs}
        names = [port.name for port in self.outputs]
        return dict(zip(names, self._session.run(names, feeds), strict=True))

    def run_into(self, tensors: Tensors, out: Tensors) -> None:
        """Write the outputs named in `out` into its arrays, B rows each, B >= 1."""
        if self._keeps_buffers:
            rows = len(next(iter(out.values())))
            if self._bound is None or not self._bound.has(out, rows):
                self._bound = None  # frees its memory before the next is allocated
                outputs = [port for port in self.outputs if port.name in out]
                self._bound = BoundSession(self._session, self.inputs, outputs, rows=rows, device=self.device)
            self._bound.run_into(tensors, out)
            return
        # Binding `out` to the graph saves nothing on a CPU: 1,517 and 1,531 ns per row of 64 columns.
        found = self._session.run(list(out), self._feeds(tensors))
        for values, computed in zip(out.values(), found, strict=True):
            values[...] = computed

    def _feeds(self, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
        return {port.name: tensors[port.name] for port in self.inputs}


def usable_device(wanted: Device) -> tuple[Literal["cpu", "cuda"], str]:
    """Return the device that graphs will run on, and the reason.

    Raises:
        DeviceUnavailable: cuda is requested and cannot be used.
    """
    if wanted == "cpu":
        return "cpu", "asked for"
    fault = _cuda_fault()
    if fault is None:
        return "cuda", "CUDA opens a graph"
    if wanted == "cuda":
        raise DeviceUnavailable(f'device "cuda" cannot be used: {fault}. Fix this, or set device = "auto" or "cpu".')
    log.info("graphs run on the CPU: %s", fault)
    return "cpu", fault


@functools.cache
def _cuda_fault() -> str | None:
    """Return the reason why onnxruntime cannot use CUDA; None if it opened a graph there."""
    fault = _driver_fault()
    if fault is not None:
        return fault
    import onnxruntime as ort

    if CUDA not in ort.get_available_providers():
        return "this onnxruntime is built without CUDA: aepipe[gpu] brings onnxruntime-gpu, which replaces it"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        ort.preload_dlls(directory="")
    try:
        _open(_PROBE, "cuda", 1)
    except DeviceUnavailable as error:
        return " ".join(f"{error} {printed.getvalue()}".split())
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
) -> "ort.InferenceSession":
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    # errors about a graph, on every device; the last one is of names that are not text
    refusals = (
        *(errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf, errors.NotImplemented),
        UnicodeDecodeError,
    )
    providers = [(CUDA, cuda_options(gpu_memory_mb)), CPU] if device == "cuda" else [CPU]
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning costs 1.3 times the CPU
    try:
        # The fallback is for GPUs; on a CPU it would print to standard output and try the same again.
        session = ort.InferenceSession(onnx, options, providers=providers, enable_fallback=int(device == "cuda"))
    except refusals as error:
        said = " ".join(str(error).split())
        if device == "cuda" and isinstance(error, errors.Fail):  # of the driver or its libraries
            raise DeviceUnavailable(f"CUDA could not open a graph: {said}. Check the driver.") from None
        text = f"a part of {len(onnx):,} bytes is not an ONNX graph: {said}. Restore the bundle."
        raise BundleCorrupt(text) from None
    # onnxruntime falls back to the CPU silently.
    if device == "cuda" and session.get_providers()[0] != CUDA:
        raise DeviceUnavailable(f"onnxruntime {ort.__version__} could not start CUDA. Install its nvidia-* packages.")
    return session


def cuda_options(memory_mb: int | None) -> dict[str, str]:
    """Return the options of the CUDA provider; exceeding `memory_mb` is an out-of-memory error, which halves the batch.

    >>> cuda_options(None) == _CUDA_OPTIONS, cuda_options(512)["gpu_mem_limit"]
    (True, '536870912')
    """
    return _CUDA_OPTIONS if memory_mb is None else _CUDA_OPTIONS | {"gpu_mem_limit": str(memory_mb << 20)}


def _port(node: "ort.NodeArg") -> Port:
    """Describe a tensor of the graph; BundleCorrupt if an axis other than the first is dynamic."""
    axes = node.shape[1:]
    if not all(isinstance(axis, int) for axis in axes) or node.type not in _DTYPES:
        raise BundleCorrupt(
            f"tensor '{node.name}' is invalid: expected only the first axis to be dynamic, got {node.type} "
            f"{node.shape}. Restore the bundle."
        )
    return Port(node.name, _DTYPES[node.type], tuple(axes))
