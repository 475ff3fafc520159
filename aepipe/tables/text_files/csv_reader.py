"""CSV files as batches of text, in bounded memory."""

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

import pyarrow as pa
import pyarrow.csv as pacsv

from aepipe.errors import DataUnreadable
from aepipe.progress import Progress

BLOCK_BYTES = 4 << 20
_DELIMITERS = ",;\t|"


class CsvDialect(NamedTuple):
    """Delimiter and encoding of a CSV file, and the names of its columns."""

    delimiter: str
    encoding: str
    names: tuple[str, ...]


def read_dialect(path: Path, encoding: str) -> CsvDialect:
    """Read the first line of a file.

    Args:
        path: file of comma-, semicolon-, tab- or bar-separated values, which may be compressed by gzip.
        encoding: encoding of the text; a byte order mark takes precedence.

    Raises:
        DataUnreadable: the file is empty, is not text of this encoding, or names two columns alike.
    """
    encoding = _encoding_of(path, encoding)
    try:
        with path.open("rb") as raw:
            start = decompressed(path, raw).read(1 << 20)
        text = start.decode(encoding, errors="strict" if encoding == "utf-16" else "replace")
        first = next(iter(text.removeprefix("\ufeff").splitlines()), "")
    except (OSError, UnicodeError, LookupError, EOFError) as error:
        raise DataUnreadable(_not_text(path, encoding, error)) from None
    outside = "".join(first.split('"')[::2])
    is_tabbed = path.name.removesuffix(".gz").endswith(".tsv")
    delimiter = "\t" if is_tabbed else max(_DELIMITERS, key=outside.count)
    names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    if not any(names):
        raise DataUnreadable(f"{path} has no header: expected a first line with the names of its columns. Write one.")
    names = [name or f"column_{index}" for index, name in enumerate(names, start=1)]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise DataUnreadable(f"{path} has {names.count(double[0])} columns '{double[0]}'. Rename all but one.")
    return CsvDialect(delimiter, encoding, tuple(names))


def read_csv(path: Path, dialect: CsvDialect, *, stage: str, progress: Progress) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file as text; empty fields without quotes are null.

    Raises:
        DataUnreadable: a line has another number of fields, or is not text of the file's encoding.
    """
    names = list(dialect.names)
    size = max(1, path.stat().st_size)
    read = pacsv.ReadOptions(block_size=BLOCK_BYTES, column_names=names, skip_rows=1, encoding=dialect.encoding)
    parse = pacsv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True)
    convert = pacsv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    try:
        with path.open("rb") as raw:
            if not _has_rows(path, dialect.encoding):
                return
            stream = pa.PythonFile(decompressed(path, raw), "r")
            reader = pacsv.open_csv(stream, read_options=read, parse_options=parse, convert_options=convert)
            for batch in reader:
                yield batch
                progress(stage, min(1.0, raw.tell() / size))
    except (OSError, EOFError, pa.ArrowException) as error:
        said = " ".join(str(error).split()).rstrip(".")
        if "UTF8" in said or "codec" in said:
            raise DataUnreadable(_not_text(path, dialect.encoding, error)) from None
        raise DataUnreadable(
            f"{path} cannot be read as CSV with {len(names)} columns: {said}. Correct that line of the file."
        ) from None


def decompressed(path: Path, raw: IO[bytes]) -> IO[bytes]:
    """Return the content of an open file, decompressed if its name ends in .gz."""
    return cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw


def _encoding_of(path: Path, encoding: str) -> str:
    try:
        with path.open("rb") as raw:
            mark = decompressed(path, raw).read(3)
    except (OSError, EOFError) as error:
        raise DataUnreadable(f"{path} cannot be read: {error}. Write the file again.") from None
    if not mark:
        raise DataUnreadable(f"{path} is empty. Write the file again, or leave it out.")
    if mark[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    return "utf-8" if mark == b"\xef\xbb\xbf" else encoding


def _has_rows(path: Path, encoding: str) -> bool:
    """Return False for a header alone, which Arrow takes for an empty file."""
    with path.open("rb") as raw:
        return len(decompressed(path, raw).read(1 << 20).decode(encoding, errors="replace").splitlines()) > 1


def _not_text(path: Path, encoding: str, error: Exception) -> str:
    return f"{path} is not {encoding} text: {error}. Name its encoding, such as encoding latin-1."
