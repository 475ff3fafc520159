"""The Python interface: a bundle on pandas or Arrow, answers in kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar, cast

import pandas as pd
import pyarrow as pa

from aepipe.batch.model import TableModel
from aepipe.bundle import Bundle
from aepipe.config import Device

Frame = TypeVar("Frame", bound=pd.DataFrame | pa.Table)


class Model:
    """A model from a bundle. A pandas frame is answered by one with the same index, an Arrow table by an Arrow table.

    Columns are found by name; others are ignored. Every row is answered, in order: one that cannot be scored has nulls,
    and its reason in `invalid_reason`. A frame without the model's columns raises SchemaMismatch.
    """

    def __init__(self, tables: TableModel) -> None:
        self._tables = tables

    @property
    def bundle(self) -> Bundle:
        """The bundle behind it: manifest, calibration, encoding."""
        return self._tables.bundle

    @property
    def version(self) -> str:
        """Name and version, such as cells/20261121T130501Z-1a2b3c4d."""
        return self._tables.version

    def encode(self, rows: Frame) -> Frame:
        """The latents of each row, in columns z_000 ..."""
        return self._answer(self._tables.encode, rows)

    def score(self, rows: Frame) -> Frame:
        """score, p_value, is_anomaly, the columns that made the row strange, and invalid_reason."""
        return self._answer(self._tables.score, rows)

    def reconstruct(self, rows: Frame) -> Frame:
        """What the model expected of each row, in the source's own columns and types."""
        return self._answer(self._tables.reconstruct, rows)

    def sample(self, rows: int, *, seed: int = 0, prior: Literal["mixture", "normal"] = "mixture") -> pd.DataFrame:
        """Synthetic rows. The same seed gives the same rows, and more of them when more are asked for.

        prior: what latents are drawn from, the Gaussian mixture of the training rows' or the plain Gaussian.
        """
        frame: pd.DataFrame = self._tables.sample(rows, seed=seed, prior=prior).to_pandas()
        return frame

    @staticmethod
    def _answer(ask: Callable[[pa.Table], pa.Table], rows: Frame) -> Frame:
        answers = ask(_table(rows))
        if isinstance(rows, pd.DataFrame):
            answers = answers.to_pandas()
            answers.index = rows.index
        return cast(Frame, answers)


def load(path: str | Path, *, device: Device = "auto") -> Model:
    """The model at exported/<name> (its champion), exported/<name>@<alias> or exported/<name>/<version>.

    Raises BundleNotFound, BundleCorrupt where a byte is not the one that was exported, DeviceUnavailable.
    """
    return Model(TableModel.open(path, device=device))


def _table(rows: pd.DataFrame | pa.Table) -> pa.Table:
    if isinstance(rows, pd.DataFrame):
        return pa.Table.from_pandas(rows, preserve_index=False)
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    return rows
