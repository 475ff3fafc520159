"""The Python interface: a bundle on pandas or Arrow, answers in kind."""

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
        """score, p_value, p_extrapolated, is_anomaly, the columns that made the row strange, and invalid_reason."""
        return self._answer(self._tables.score, rows)

    def reconstruct(self, rows: Frame) -> Frame:
        """What the model expected of each row, in the source's own columns and types."""
        return self._answer(self._tables.reconstruct, rows)

    def step_losses(self, rows: Frame) -> Frame:
        """What each step of a series costs, in nats; of recurrent families."""
        return self._answer(self._tables.step_losses, rows)

    def sample(
        self,
        rows: int,
        *,
        seed: int = 0,
        prior: Literal["mixture", "normal"] = "mixture",
        where: str | None = None,
    ) -> pd.DataFrame:
        """Synthetic rows. The same seed gives the same rows, and more of them when more are asked for.

        prior: what latents are drawn from, the Gaussian mixture of the training rows' or the plain Gaussian. where: a
        condition on the model's condition columns, such as "kind = 'boot'", which have the values of training rows for
        which it holds; JobInvalid where it can hold for no sample.
        """
        frame: pd.DataFrame = self._tables.sample(rows, seed=seed, prior=prior, where=where).to_pandas()
        return frame

    def fill(self, rows: Frame, *, seed: int = 0) -> Frame:
        """The rows with every modelled cell that is missing drawn given the others; all other cells as they are.

        A seed is one imputation of many. Raises OptionInvalid where the family cannot draw some cells given others.
        """
        return self._answer(partial(self._tables.fill, seed=seed), rows)

    def interpolate(self, first: Frame, last: Frame, *, steps: int = 8, how: How = "slerp") -> Frame:
        """The rows between each row of `first` and the same one of `last`, in the source's columns and types.

        `walk_row` says which pair, `walk_step` which step, `walk_share` how much of the last row is in it. Conditions
        are the first row's. how: slerp, along the arc, or lerp, straight. Walks raise OptionInvalid where the family's
        latents are no real vectors.
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
        """Each row with `amount` times an attribute added to its latents; 0 is the row as it is rebuilt.

        attribute: a condition judged `among` a frame, by default these rows; or a frame of rows with the attribute and
        one of rows without it. `walk_row` says which row, `walk_amount` how much.
        """
        named = attribute if isinstance(attribute, str) else (_table(attribute[0]), _table(attribute[1]))
        others = None if among is None else _table(among)
        return _like(rows, self._tables.shift(_table(rows), named, amount, among=others))

    def traverse(self, rows: Frame, dimensions: Sequence[str] | None = None, *, steps: int = 7) -> Frame:
        """Each row with one latent at a time moved over the spread of the training rows' latents.

        dimensions: such as ["z_000", "z_003"], all by default. `walk_row` says which row, `walk_dimension` and
        `walk_value` which latent has which value.
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
    """The model at exported/<name> (its champion), exported/<name>@<alias> or exported/<name>/<version>.

    outputs: the folder of a job's outputs, whose latest calibration then judges the scores; none: the bundle's own.
    Raises BundleNotFound, BundleCorrupt where a byte is not the one that was exported, DeviceUnavailable,
    CalibrationInvalid.
    """
    bundle = Bundle.open(path)
    return Model(
        TableModel(bundle if outputs is None else with_active_calibration(Path(outputs), bundle), device=device)
    )


def _like(rows: Frame, answer: pa.Table) -> Frame:
    """The answer as the rows came, pandas or Arrow."""
    return cast(Frame, answer.to_pandas() if isinstance(rows, pd.DataFrame) else answer)


def _table(rows: pd.DataFrame | pa.Table) -> pa.Table:
    if isinstance(rows, pd.DataFrame):
        return pa.Table.from_pandas(rows, preserve_index=False)
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    return rows
