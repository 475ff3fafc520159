"""Object stores: paths on them, and connections through pyarrow.fs. Nothing here writes."""

from aepipe.stores.store_path import StorePath, as_path

__all__ = ["StorePath", "as_path"]
