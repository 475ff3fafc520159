"""Host memory that a GPU copies from and to directly, at twice to three times the speed of any other."""

import contextlib
import ctypes
import functools
import logging
import os
import weakref

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

_RUNTIMES = ("libcudart.so.13", "libcudart.so.12")


def pinned(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """The same array, its pages locked for as long as it lives; as it was where there is no CUDA, or it refuses.

    cudaHostRegister: CUDA Runtime API, memory management.
    """
    runtime = _runtime()
    if runtime is None or not values.nbytes:
        return values
    address = ctypes.c_void_p(values.ctypes.data)
    status = runtime.cudaHostRegister(address, ctypes.c_size_t(values.nbytes), ctypes.c_uint(0))
    if status:
        runtime.cudaGetLastError()  # or the next call that looks finds this error
        log.debug("%d bytes are not pinned: CUDA error %d", values.nbytes, status)
        return values
    weakref.finalize(values, runtime.cudaHostUnregister, address)
    return values


@functools.cache
def _runtime() -> ctypes.CDLL | None:
    """The CUDA runtime that onnxruntime has loaded, if it has."""
    for name in _RUNTIMES:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    return None
