"""Imputation: draw missing cells given the observed ones. Each seed gives one of many imputations (Rubin 1987)."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Device
from aepipe.errors import OptionInvalid
from aepipe.inference.condition_bank import ConditionPool
from aepipe.inference.conditional import supports_conditioning
from aepipe.inference.sampler import SamplingChain
from aepipe.layout import FREE
from aepipe.tables.arrow_arrays import plain_values, restored

ROUNDS = 16
"""Maximum draws per row: a row is drawn again if a cell came out missing. Cells missing after the last stay missing."""

_BLOCKS_PER_ROUND = 1 << 32
"""Offset of block numbers between rounds, so that no round repeats the noise of another."""


class ImputedRows(NamedTuple):
    """Rows with missing cells filled; `filled` and `left` count the filled and still missing cells per column."""

    rows: pa.RecordBatch
    filled: dict[str, int]
    left: dict[str, int]


class Imputer:
    """Imputation of a stream of rows in blocks; the same seed and row number give the same values."""

    def __init__(self, bundle: Bundle, *, seed: int, device: Device = "auto") -> None:
        """Open the sampler of the bundle.

        Raises:
            OptionInvalid: the family cannot draw some columns given others.
        """
        if not supports_conditioning(bundle):
            raise OptionInvalid(
                f"{bundle.version}, a {bundle.manifest.family}, cannot impute: expected a family that draws some "
                "columns given others. Train a tabular_vae."
            )
        self._bundle = bundle
        self._chain = SamplingChain(bundle, "prior", ConditionPool(bundle), device=device, seed=seed)
        self.rows = self._chain.rows

    def block(self, index: int, batch: pa.RecordBatch) -> ImputedRows:
        """Impute the missing cells of the rows of a block, at most `rows`. Observed cells are unchanged."""
        layout = self._bundle.encoding.layout
        missing = {name: _is_missing(batch[name]) for name in dict.fromkeys(layout.sources)}
        forced = self._forced(batch, missing)
        open_rows = np.any(list(missing.values()), axis=0)
        found = dict[str, pa.Array]()
        for turn in range(ROUNDS):
            if not open_rows.any():
                break
            drawn = self._chain.complete(index + turn * _BLOCKS_PER_ROUND, forced).slice(0, batch.num_rows)
            whole = open_rows & ~np.any([missing[name] & _is_missing(drawn[name]) for name in missing], axis=0)
            last = turn == ROUNDS - 1
            taken = open_rows if last else whole
            for name in missing:
                values = plain_values(drawn[name])
                earlier = found.get(name, pa.scalar(None, values.type))
                found[name] = pc.if_else(pa.array(taken), values, earlier)
            open_rows = open_rows & ~whole
        return _filled(batch, missing, found)

    def _forced(self, batch: pa.RecordBatch, missing: dict[str, NDArray[np.bool_]]) -> NDArray[np.int32]:
        """Return the codes of a whole block: `FREE` where a cell is missing or has a value unseen in training."""
        layout = self._bundle.encoding.layout
        codes = self._bundle.encoding.encode(batch).arrays["cat"]
        forced = np.full((self.rows, len(layout.categories)), FREE, np.int32)
        for at, category in enumerate(layout.categories):
            unknown = missing[layout.sources[category.column]] | np.isin(codes[:, at], category.absent)
            forced[: len(codes), at] = np.where(unknown, FREE, codes[:, at])
        return forced


def _is_missing(column: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False))


def _filled(batch: pa.RecordBatch, missing: dict[str, NDArray[np.bool_]], found: dict[str, pa.Array]) -> ImputedRows:
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    filled, left = dict[str, int](), dict[str, int]()
    for name, cells in missing.items():
        if not cells.any():
            continue
        there = plain_values(columns[name])
        values = pc.if_else(pa.array(cells), found[name].cast(there.type), there)
        left[name] = int(_is_missing(values).sum())
        filled[name] = int(cells.sum()) - left[name]
        columns[name] = restored(values, columns[name].type)
    rows = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return ImputedRows(rows, filled, left)
