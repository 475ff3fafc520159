"""Memory pool of Arrow."""

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
