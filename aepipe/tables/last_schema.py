"""Results that depend on the schema of a file alone: the files of a table have one, and comparing two takes 1 us."""

from collections.abc import Callable
from typing import Generic, TypeVar

import pyarrow as pa

K = TypeVar("K")
T = TypeVar("T")


class OfLastSchema(Generic[K, T]):
    """Function of an Arrow schema and a key that keeps its last result; threads may share it.

    Keys are compared by `==`, schemas with their metadata.
    """

    def __init__(self, compute: Callable[[pa.Schema, K], T]) -> None:
        self._compute = compute
        self._last: tuple[pa.Schema, K, T] | None = None

    def __call__(self, schema: pa.Schema, key: K) -> T:
        """Return the result, computed only if schema or key differ from the call before."""
        last = self._last  # another thread may replace it
        if last is not None and last[1] == key and schema.equals(last[0], check_metadata=True):
            return last[2]
        result = self._compute(schema, key)
        self._last = (schema, key, result)
        return result


class Same(Generic[T]):
    """Key that equals another one of the same object alone."""

    def __init__(self, value: T) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)
