"""Features, anomaly scores and synthetic rows for Parquet tables that grow every night."""

import importlib
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aepipe.api import Model, fit, load

# Arrow chooses its allocator when it is loaded. Its default, mimalloc, returns pages that the next file needs at
# once: a tenth of the CPU seconds of a night, and 50 MB more at the peak. With one arena per thread, jemalloc would
# hide memory freed by one thread from the next reader: 130 MB for row groups of a million rows.
if sys.platform == "linux" and "pyarrow" not in sys.modules:
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "narenas:1")

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "fit", "load"]


_MODULES = {"errors": "", "sklearn": "sklearn", "spark": "pyspark"}
"""Public modules that are imported on first use, and the package of another project that each needs."""


def __getattr__(name: str) -> object:
    """Import the Python interface on first use, so that the command line starts without it."""
    if name in {"Model", "fit", "load"}:
        from aepipe import api

        return getattr(api, name)
    if name in _MODULES:
        from aepipe.versions import named_extras

        with named_extras():
            return importlib.import_module(f"aepipe.{name}")
    raise AttributeError(f"module 'aepipe' has no attribute '{name}'")


def __dir__() -> list[str]:
    """List the public names, without modules whose extra is not installed."""
    return sorted([*__all__, *(name for name, needed in _MODULES.items() if not needed or find_spec(needed))])
