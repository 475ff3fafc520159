"""Golden rows: a few rows with the expected outputs, kept in the bundle."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aepipe.layout import LatentSpace
from aepipe.tables.arrow_arrays import array_of, values_of

_EXPECTED = "expected:"


class Golden(NamedTuple):
    """Golden rows and the outputs of the exported scorer for them: score (B,) and features."""

    rows: pa.Table
    answers: Mapping[str, NDArray[np.generic]]


def golden_bytes(golden: Golden, latent: LatentSpace) -> bytes:
    """Serialise golden rows to Parquet: source columns, then expected score and features with a prefix."""
    table = golden.rows
    for output, names in _golden_columns(latent).items():
        answers = golden.answers[output].reshape(len(table), -1)
        for name, values in zip(names, answers.T, strict=True):
            column = array_of(np.ascontiguousarray(values), pa.from_numpy_dtype(values.dtype))
            table = table.append_column(f"{_EXPECTED}{name}", column)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)  # into memory: put_folder writes the bytes
    return bytes(sink.getvalue())


def golden_of(data: bytes, latent: LatentSpace) -> Golden:
    """Parse the output of `golden_bytes`."""
    table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    rows = table.select([name for name in table.column_names if not name.startswith(_EXPECTED)])
    answers = {}
    for output, names in _golden_columns(latent).items():
        columns = [values_of(table[f"{_EXPECTED}{name}"].combine_chunks()) for name in names]
        answers[output] = columns[0] if output == "score" else np.stack(columns, axis=1)
    return Golden(rows, answers)


def _golden_columns(latent: LatentSpace) -> dict[str, tuple[str, ...]]:
    return {"score": ("score",)} | latent.features
