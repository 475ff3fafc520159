"""Entities of rows: the values of `[data] entity` as text, such as a device or an account."""

import csv
import re
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NO_ENTITY = "null"
"""Text of a missing part of an entity; a part that is this text is quoted."""

_SEPARATOR = ","
_NULL_TEXT = f'^"*{NO_ENTITY}"*$'
"""Parts that are quoted, whatever the others are: else a missing part and its text, or the quoted text, were one."""


class Entities(NamedTuple):
    """Entity of each row: the distinct names, and the index of the name, (B,)."""

    names: tuple[str, ...]
    codes: NDArray[np.int32]

    @classmethod
    def of(cls, columns: Sequence[pa.Array | pa.ChunkedArray]) -> "Entities":
        """Join the values of the columns, one per part of the entity, to one text per row.

        >>> Entities.of([pa.array(["a", None, "a"]), pa.array([1, 2, 1])]).names
        ('a,1', 'null,2')
        >>> Entities.of([pa.array(["a,b", "a"]), pa.array(["c", "b,c"])]).names
        ('"a,b",c', 'a,"b,c"')
        """
        return cls.of_texts(entity_texts(columns))

    @classmethod
    def of_texts(cls, texts: pa.Array) -> "Entities":
        """Return the entities of rows whose names are `texts`, from `entity_texts`."""
        encoded = texts.dictionary_encode()
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
    """Return the entity of each row as text: its values joined as by `join_columns`, `null` for a missing one.

    A value that is the text `null`, with or without quotes around it, is quoted: different values have different names.

    >>> entity_texts([pa.array(["a", None, "null"]), pa.array([None, "b", "b"])]).to_pylist()
    ['a,null', 'null,b', '"null",b']
    """
    texts = [_text(column) for column in columns]
    pattern = _NULL_TEXT if len(texts) == 1 else f"{_NULL_TEXT}|{_SEPARATOR}"
    is_quoted = [pc.fill_null(pc.match_substring_regex(column, pattern), False) for column in texts]
    return _joined([pc.fill_null(column, NO_ENTITY) for column in texts], is_quoted)


def value_text(value: str | None) -> str:
    """Return a value as in the name of an entity of one column: `null` if it is missing, the text `null` in quotes.

    >>> value_text(None), value_text("null"), value_text("")
    ('null', '"null"', '')
    """
    if value is None:
        return NO_ENTITY
    return _quoted(value) if re.fullmatch(_NULL_TEXT, value) else value


def join_parts(parts: Sequence[str], separator: str = _SEPARATOR) -> str:
    """Join texts so that different parts give different texts, as in a line of CSV.

    If a part has a comma, it is quoted, and so are other parts that begin with a quote. Without any comma, parts are
    joined as they are.

    >>> join_parts(["a", "b"]), join_parts(["a,b", "c"]), join_parts(['5"', "c"])
    ('a,b', '"a,b",c', '5",c')
    """
    if len(parts) == 1 or not any(_SEPARATOR in part for part in parts):
        return separator.join(parts)
    return separator.join(_quoted(part) if _SEPARATOR in part or part.startswith('"') else part for part in parts)


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
    return _joined(columns, [pc.match_substring(column, _SEPARATOR) for column in columns])


def _quoted(part: str) -> str:
    return '"' + part.replace('"', '""') + '"'


def _joined(columns: Sequence[pa.Array], is_quoted: Sequence[pa.Array]) -> pa.Array:
    """Join columns of text row by row; rows with a part that `is_quoted` names have parts in quotes.

    Args:
        columns: texts of the parts, (B,) each.
        is_quoted: parts to quote, (B,) each; parts of these rows that begin with a quote are quoted too.
    """
    any_quoted = reduce(pc.or_, is_quoted)
    if not pc.any(any_quoted).as_py():
        return columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, _SEPARATOR)
    texts = []
    for column, own in zip(columns, is_quoted, strict=True):
        quoted = pc.binary_join_element_wise('"', pc.replace_substring(column, '"', '""'), '"', "")
        quotes = pc.or_(own, pc.and_(any_quoted, pc.starts_with(column, '"')))
        texts.append(pc.if_else(quotes, quoted, column))
    return texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, _SEPARATOR)


def _text(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return values.cast(pa.string())
