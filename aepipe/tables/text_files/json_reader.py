"""JSON files as batches: one object per line, or an array of objects, in bounded memory."""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pajson
import pyarrow.types as pt

from aepipe.errors import DataUnreadable
from aepipe.progress import Progress
from aepipe.tables.text_files.csv_reader import decompressed

BLOCK_BYTES = 4 << 20
_LONGEST = 64 << 20
"""Maximum number of characters of one object."""
_DECODER = json.JSONDecoder()


def read_objects(path: Path, *, stage: str, progress: Progress) -> Iterator[bytes]:
    """Yield blocks of objects as JSON text, one object after the other.

    Raises:
        DataUnreadable: the file is neither a list of objects nor one object per line.
    """
    size, pending, in_array = max(1, path.stat().st_size), "", False
    try:
        with path.open("rb") as raw:
            text = io.TextIOWrapper(decompressed(path, raw), encoding="utf-8-sig")
            at_start = True
            while block := text.read(BLOCK_BYTES):
                pending = (pending + block).lstrip()
                if at_start and pending:
                    at_start, in_array = False, pending.startswith("[")
                    pending = pending.removeprefix("[")
                objects, pending = _split(path, pending, in_array)
                if objects:
                    yield "\n".join(objects).encode()
                progress(stage, min(1.0, raw.tell() / size))
    except (UnicodeError, OSError, EOFError) as error:
        raise DataUnreadable(f"{path} is not UTF-8 text: {error}. Write the file again.") from None
    rest = pending.strip()
    if rest != ("]" if in_array else ""):
        try:
            _DECODER.raw_decode(rest)
            fault = "it ends within the array"
        except json.JSONDecodeError as error:
            fault = f"{error.msg} in {rest[:40]!r}"
        raise DataUnreadable(f"{path} is not complete JSON: {fault}. Write the file again.")


def read_block(block: bytes, schema: pa.Schema | None = None) -> pa.Table:
    """Return the rows of a block; a column with values of several types is text.

    Args:
        block: objects, one after the other.
        schema: types to read; None infers them.
    """
    options = pajson.ParseOptions(explicit_schema=schema, newlines_in_values=True, unexpected_field_behavior="infer")
    try:
        read = pajson.ReadOptions(block_size=max(len(block) + 1, 1 << 20))
        return pajson.read_json(io.BytesIO(block), read_options=read, parse_options=options)
    except pa.ArrowException:
        return _by_python(block, schema)


def _by_python(block: bytes, schema: pa.Schema | None) -> pa.Table:
    rows: list[Mapping[str, Any]] = []
    text, at = block.decode(), 0
    while at < len(text):
        row, at = _DECODER.raw_decode(text, at)
        rows.append(row)
        at += 1
    names = dict.fromkeys([*(schema.names if schema is not None else ()), *(name for row in rows for name in row)])
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        kind = schema.field(name).type if schema is not None and name in schema.names else None
        try:
            columns[name] = pa.array(values, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            columns[name] = pa.array([_text(value) for value in values], pa.string())
    return pa.table(columns)


def is_for_text(kind: pa.DataType) -> bool:
    """Return True if Parquet cannot hold the type: a struct without fields is in it."""
    if pt.is_struct(kind):
        return kind.num_fields == 0 or any(is_for_text(field.type) for field in kind)
    return pt.is_list(kind) and is_for_text(kind.value_type)


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _split(path: Path, text: str, in_array: bool) -> tuple[list[str], str]:
    """Return the complete objects at the start of a text, and the rest."""
    objects: list[str] = []
    at = 0
    while True:
        while at < len(text) and text[at] in (" \t\r\n," if in_array else " \t\r\n"):
            at += 1
        if at == len(text) or (in_array and text[at] == "]"):
            return objects, text[at:]
        if text[at] != "{":
            raise DataUnreadable(
                f"{path} is not a table: expected an array of objects or one object per line, got "
                f"{text[at : at + 20]!r}. Write the file again."
            )
        try:
            _, end = _DECODER.raw_decode(text, at)
        except json.JSONDecodeError as error:
            if len(text) - at < _LONGEST:
                return objects, text[at:]
            raise DataUnreadable(f"{path} is not JSON: {error.msg}. Write the file again.") from None
        except RecursionError:
            raise DataUnreadable(f"{path} has values that are nested too deeply. Write the file again.") from None
        objects.append(text[at:end])
        at = end
