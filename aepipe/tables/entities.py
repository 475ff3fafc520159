"""Entities of rows: the values of `[data] entity` as text, such as a device or an account."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NO_ENTITY = "null"
"""Text of a row without a value."""

_SEPARATOR = ","


class Entities(NamedTuple):
    """Entity of each row: the distinct names, and the index of the name, (B,)."""

    names: tuple[str, ...]
    codes: NDArray[np.int32]

    @classmethod
    def of(cls, columns: Sequence[pa.Array | pa.ChunkedArray]) -> "Entities":
        """Join the values of the columns, one per part of the entity, to one text per row.

        >>> Entities.of([pa.array(["a", None, "a"]), pa.array([1, 2, 1])]).names
        ('a,1', 'null')
        """
        encoded = entity_texts(columns).dictionary_encode()
        return cls(tuple(encoded.dictionary.to_pylist()), encoded.indices.to_numpy(zero_copy_only=False))

    @classmethod
    def find(cls, rows: pa.Table | Mapping[str, pa.Array], columns: Sequence[str]) -> "Entities | None":
        """Return the entities of rows that have these columns by name; None without columns."""
        return cls.of([rows[name] for name in columns]) if columns else None

    @property
    def texts(self) -> pa.Array:
        """Name of the entity of each row."""
        return pa.array(self.names, pa.string()).take(pa.array(self.codes))

    def take(self, chosen: NDArray[np.bool_]) -> "Entities":
        """Return the entities of the chosen rows."""
        return self._replace(codes=self.codes[chosen])


def entity_texts(columns: Sequence[pa.Array | pa.ChunkedArray]) -> pa.Array:
    """Return the entity of each row as text; the values of several columns are separated by commas."""
    texts = [_text(column) for column in columns]
    joined = texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, _SEPARATOR)
    return pc.fill_null(joined, NO_ENTITY)


def _text(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return values.cast(pa.string())
