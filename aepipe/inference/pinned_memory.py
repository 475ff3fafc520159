"""Pinned host memory, which a GPU reads and writes directly, two to three times faster than pageable memory."""

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
    """Lock the pages of the array while it lives, and return it; without effect if CUDA is absent or refuses.

    cudaHostRegister: CUDA Runtime API, memory management.
    """
    runtime = _runtime()
    if runtime is None or not values.nbytes:
        return values
    address = ctypes.c_void_p(values.ctypes.data)
    status = runtime.cudaHostRegister(address, ctypes.c_size_t(values.nbytes), ctypes.c_uint(0))
    if status:
        runtime.cudaGetLastError()  # clears the error for later calls
        log.debug("%d bytes are not pinned: CUDA error %d", values.nbytes, status)
        return values
    weakref.finalize(values, runtime.cudaHostUnregister, address)
    return values


@functools.cache
def _runtime() -> ctypes.CDLL | None:
    """Return the CUDA runtime loaded by onnxruntime, or None."""
    for name in _RUNTIMES:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    return None
