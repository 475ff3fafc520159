"""Memory pool of Arrow."""

import ctypes
import gc
import os
from contextlib import suppress

import pyarrow as pa

_VARIABLE = "ARROW_DEFAULT_MEMORY_POOL"


def keep_freed_memory() -> None:
    """Use jemalloc for batches, also if Arrow was imported before aepipe, which sets the environment variable.

    A pool named in the environment is kept, and so is Arrow's default if jemalloc is not built in.
    """
    if _VARIABLE not in os.environ:
        with suppress(NotImplementedError):
            pa.set_memory_pool(pa.jemalloc_memory_pool())


def return_freed_memory() -> None:
    """Return memory that was freed outside Arrow's pools, such as footers, to the system, where the C library can.

    glibc keeps small blocks per thread; the footer of 100,000 row groups left 360 MB with each thread that read it.
    """
    gc.collect()  # pyarrow's metadata and its schema refer to each other
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
