"""Entities of rows: the values of `[data] entity` as text, such as a device or an account."""

import csv
from collections.abc import Mapping, Sequence
from functools import reduce
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
        >>> Entities.of([pa.array(["a,b", "a"]), pa.array(["c", "b,c"])]).names
        ('"a,b",c', 'a,"b,c"')
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
    """Return the entity of each row as text; the values of several columns are joined as by `join_columns`."""
    return pc.fill_null(join_columns([_text(column) for column in columns]), NO_ENTITY)


def join_parts(parts: Sequence[str], separator: str = _SEPARATOR) -> str:
    """Join texts so that different parts give different texts, as in a line of CSV.

    If a part has a comma, it is quoted, and so are other parts that begin with a quote. Without any comma, parts are
    joined as they are.

    >>> join_parts(["a", "b"]), join_parts(["a,b", "c"]), join_parts(['5"', "c"])
    ('a,b', '"a,b",c', '5",c')
    """
    if len(parts) == 1 or not any(_SEPARATOR in part for part in parts):
        return separator.join(parts)
    return separator.join(
        '"' + part.replace('"', '""') + '"' if _SEPARATOR in part or part.startswith('"') else part for part in parts
    )


def quoted_as_needed(text: str, parts: int) -> str:
    """Return a line of CSV as `join_parts` writes its parts; a text that has another number of parts stays as it is.

    >>> quoted_as_needed('"a,b", "c"', 2), quoted_as_needed("a,b", 2), quoted_as_needed("a,b", 1)
    ('"a,b",c', 'a,b', 'a,b')
    """
    if parts == 1 or text.count(_SEPARATOR) < parts:
        return text
    found = next(csv.reader([text], skipinitialspace=True), [])
    return join_parts(found) if len(found) == parts else text


def join_columns(columns: Sequence[pa.Array]) -> pa.Array:
    """Join columns of text row by row as `join_parts` does; null where a part is null."""
    if len(columns) == 1:
        return columns[0]
    has_comma = [pc.match_substring(column, _SEPARATOR) for column in columns]
    is_quoted = reduce(pc.or_, has_comma)
    if not pc.any(is_quoted).as_py():
        return pc.binary_join_element_wise(*columns, _SEPARATOR)
    texts = []
    for column, commas in zip(columns, has_comma, strict=True):
        quoted = pc.binary_join_element_wise('"', pc.replace_substring(column, '"', '""'), '"', "")
        quotes = pc.or_(commas, pc.and_(is_quoted, pc.starts_with(column, '"')))
        texts.append(pc.if_else(quotes, quoted, column))
    return pc.binary_join_element_wise(*texts, _SEPARATOR)


def _text(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return values.cast(pa.string())
