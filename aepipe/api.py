"""Python interface: run a bundle on pandas or Arrow tables and return the same type."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar, cast

import pandas as pd
import pyarrow as pa

from aepipe.bundles.active_calibration import with_active_calibration
from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Device
from aepipe.inference.table_model import TableModel
from aepipe.latent_math import How

Frame = TypeVar("Frame", bound=pd.DataFrame | pa.Table)


class Model:
    """Model from a bundle; returns pandas for pandas and Arrow for Arrow.

    Columns are found by name; other columns are ignored. The result has one row per input row, in order, with the index
    of the pandas frame. A row that cannot be scored has nulls, and the reason in `invalid_reason`. A frame without the
    model's columns raises SchemaMismatch.
    """

    def __init__(self, tables: TableModel) -> None:
        self._tables = tables

    @property
    def bundle(self) -> Bundle:
        """Bundle of the model: manifest, calibration, encoding."""
        return self._tables.bundle

    @property
    def version(self) -> str:
        """Name and version, such as cells/20261121T130501Z-1a2b3c4d."""
        return self._tables.version

    def encode(self, rows: Frame) -> Frame:
        """Return the latents of each row, in columns z_000 ..."""
        return self._answer(self._tables.encode, rows)

    def score(self, rows: Frame) -> Frame:
        """Return score, p_value, p_extrapolated, is_anomaly, the attributed columns, and invalid_reason."""
        return self._answer(self._tables.score, rows)

    def reconstruct(self, rows: Frame) -> Frame:
        """Return the model's reconstruction of each row, in the source's columns and types."""
        return self._answer(self._tables.reconstruct, rows)

    def step_losses(self, rows: Frame) -> Frame:
        """Return the loss of each step of a series, in nats. Only recurrent families have step losses."""
        return self._answer(self._tables.step_losses, rows)

    def sample(
        self,
        rows: int,
        *,
        seed: int = 0,
        prior: Literal["mixture", "normal"] = "mixture",
        where: str | None = None,
    ) -> pd.DataFrame:
        """Draw synthetic rows. The same seed gives the same rows; a larger number of rows extends them.

        Args:
            rows: number of rows.
            seed: seed of all random draws.
            prior: distribution of the latents: the Gaussian mixture fitted on the training rows, or the standard
                normal.
            where: condition on the model's condition columns, such as "kind = 'boot'". Their values come from training
                rows that satisfy it. Raises JobInvalid if no sample can satisfy it.
        """
        frame: pd.DataFrame = self._tables.sample(rows, seed=seed, prior=prior, where=where).to_pandas()
        return frame

    def fill(self, rows: Frame, *, seed: int = 0) -> Frame:
        """Impute the missing cells of all modelled columns given the other cells, which stay as they are.

        Each seed gives one of many imputations. Raises OptionInvalid if the family does not support imputation.
        """
        return self._answer(partial(self._tables.fill, seed=seed), rows)

    def interpolate(self, first: Frame, last: Frame, *, steps: int = 8, how: How = "slerp") -> Frame:
        """Return the rows between each row of `first` and the same row of `last`.

        `walk_row` is the index of the pair, `walk_step` the step, `walk_share` the share of the last row. Conditions
        are taken from the first row. Raises OptionInvalid if the latents of the family are not real vectors.

        Args:
            first: rows where the paths start.
            last: rows where the paths end, one per row of `first`.
            steps: rows per path, both ends included.
            how: "slerp" follows the arc, "lerp" the straight line.
        """
        return _like(first, self._tables.interpolate(_table(first), _table(last), steps=steps, how=how))

    def shift(
        self,
        rows: Frame,
        attribute: str | tuple[Frame, Frame],
        amount: float | Sequence[float] = 1.0,
        *,
        among: Frame | None = None,
    ) -> Frame:
        """Return each row decoded after adding `amount` times an attribute vector to its latents.

        `walk_row` is the index of the row, `walk_amount` the amount; an amount of 0 gives the reconstruction.

        Args:
            rows: rows to shift.
            attribute: a condition on the columns of `among`, or a frame of rows with the attribute and one of rows
                without it.
            amount: one amount, or several.
            among: rows that the condition is evaluated on. Default: `rows`.
        """
        named = attribute if isinstance(attribute, str) else (_table(attribute[0]), _table(attribute[1]))
        others = None if among is None else _table(among)
        return _like(rows, self._tables.shift(_table(rows), named, amount, among=others))

    def traverse(self, rows: Frame, dimensions: Sequence[str] | None = None, *, steps: int = 7) -> Frame:
        """Return each row decoded with one latent at a time set to values from the training distribution.

        `walk_row` is the index of the row, `walk_dimension` the latent, `walk_value` its value.

        Args:
            rows: rows to traverse.
            dimensions: names of latents, such as ["z_000", "z_003"]. Default: all.
            steps: values per latent.
        """
        return _like(rows, self._tables.traverse(_table(rows), dimensions, steps=steps))

    @staticmethod
    def _answer(ask: Callable[[pa.Table], pa.Table], rows: Frame) -> Frame:
        answers = ask(_table(rows))
        if isinstance(rows, pd.DataFrame):
            answers = answers.to_pandas()
            answers.index = rows.index
        return cast(Frame, answers)


def load(path: str | Path, *, device: Device = "auto", outputs: str | Path | None = None) -> Model:
    """Load the model at exported/<name> (its champion), exported/<name>@<alias> or exported/<name>/<version>.

    Args:
        path: path of the model.
        device: where the graphs run.
        outputs: output folder of a job, whose latest calibration replaces that of the bundle. None: keep the bundle's
            own.

    Raises:
        BundleNotFound: no such model, version or alias.
        BundleCorrupt: a file differs from the exported one.
        DeviceUnavailable: the device cannot be used.
        CalibrationInvalid: the calibration in `outputs` is missing or changed.
    """
    bundle = Bundle.open(path)
    return Model(
        TableModel(bundle if outputs is None else with_active_calibration(Path(outputs), bundle), device=device)
    )


def _like(rows: Frame, answer: pa.Table) -> Frame:
    """Convert the answer to the type of `rows`, pandas or Arrow."""
    return cast(Frame, answer.to_pandas() if isinstance(rows, pd.DataFrame) else answer)


def _table(rows: pd.DataFrame | pa.Table) -> pa.Table:
    if isinstance(rows, pd.DataFrame):
        return pa.Table.from_pandas(rows, preserve_index=False)
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    return rows
