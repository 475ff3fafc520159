"""Features, anomaly scores and synthetic rows for Parquet tables that grow every night."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aepipe.api import Model, load

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "load"]


def __getattr__(name: str) -> object:
    """The Python interface on first use, so that the command line starts without it."""
    if name in {"Model", "load"}:
        from aepipe import api

        return getattr(api, name)
    raise AttributeError(f"module 'aepipe' has no attribute '{name}'")
