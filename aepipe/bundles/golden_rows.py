"""Feature names of a model, and golden rows: a few rows with the expected outputs, kept in the bundle."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from aepipe.layout import LatentKind
from aepipe.tables.arrow_arrays import array_of, values_of

_EXPECTED = "expected:"

CLUSTER_COLUMNS = ("cluster", "cluster_distance")


class Latent(BaseModel):
    """Input of the decoder, and feature columns of the scorer."""

    names: tuple[str, ...]
    kind: LatentKind = "real"
    pooled: tuple[str, ...] = Field((), description="real features that summarise the latents")
    is_written: bool = Field(True, description="whether the latents are features themselves")
    has_clusters: bool = Field(False, description="whether the features name each row's cluster and its distance")

    @property
    def features(self) -> dict[str, tuple[str, ...]]:
        """Feature columns by output of the scorer."""
        return self._spaces | ({name: (name,) for name in CLUSTER_COLUMNS} if self.has_clusters else {})

    @property
    def columns(self) -> tuple[str, ...]:
        """Feature columns that are coordinates, in order, without the cluster columns."""
        return tuple(name for names in self._spaces.values() for name in names)

    @property
    def _spaces(self) -> dict[str, tuple[str, ...]]:
        return ({"z": self.names} if self.is_written else {}) | ({"pooled": self.pooled} if self.pooled else {})


class Golden(NamedTuple):
    """Golden rows and the outputs of the exported scorer for them: score (B,) and features."""

    rows: pa.Table
    answers: Mapping[str, NDArray[np.generic]]


def golden_bytes(golden: Golden, latent: Latent) -> bytes:
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


def golden_of(data: bytes, latent: Latent) -> Golden:
    """Parse the output of `golden_bytes`."""
    table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    rows = table.select([name for name in table.column_names if not name.startswith(_EXPECTED)])
    answers = {}
    for output, names in _golden_columns(latent).items():
        columns = [values_of(table[f"{_EXPECTED}{name}"].combine_chunks()) for name in names]
        answers[output] = columns[0] if output == "score" else np.stack(columns, axis=1)
    return Golden(rows, answers)


def _golden_columns(latent: Latent) -> dict[str, tuple[str, ...]]:
    return {"score": ("score",)} | latent.features
