"""Where Arrow takes its memory from."""

import os
from contextlib import suppress

import pyarrow as pa

_VARIABLE = "ARROW_DEFAULT_MEMORY_POOL"


def keep_freed_memory() -> None:
    """Half of what `import aepipe` does where Arrow was loaded before it: batches, not pages, come from jemalloc.

    A pool that the environment names stays, and so does Arrow's default where jemalloc is not built in.
    """
    if _VARIABLE not in os.environ:
        with suppress(NotImplementedError):
            pa.set_memory_pool(pa.jemalloc_memory_pool())
