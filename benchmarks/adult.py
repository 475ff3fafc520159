"""Census table "adult": locate and read the CSV."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.types as pt

from benchmarks import command

PATH_VARIABLE = "AEPIPE_ADULT_DATA"


def data_path() -> Path:
    """Return the path of the table: AEPIPE_ADULT_DATA, or the default next to the checkout."""
    return command.data_path(PATH_VARIABLE, "adult.csv")


def read(path: Path) -> pa.Table:
    """Read the table, without the spaces that follow its commas."""
    found = pa_csv.read_csv(path)
    columns = [pc.utf8_trim_whitespace(column) if pt.is_string(column.type) else column for column in found.columns]
    return pa.table(columns, names=[name.strip() for name in found.column_names])


def as_dictionaries(rows: pa.Table) -> pa.Table:
    """Return the rows in one chunk with texts as dictionaries, as aepipe's reader yields them."""
    return pa.table(
        {
            name: column.dictionary_encode() if pt.is_string(column.type) else column
            for name, column in zip(rows.column_names, rows.columns, strict=True)
        }
    ).combine_chunks()
