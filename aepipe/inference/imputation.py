"""Missing cells of given rows, drawn given the cells that are there; a seed is one imputation of many (Rubin 1987)."""

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
from aepipe.inference.sampler import Chain
from aepipe.layout import FREE
from aepipe.tables.arrow_arrays import plain_values, restored

ROUNDS = 16
"""Times that a row is drawn at most, again where a cell came out missing; what is missing then stays so."""

_APART = 1 << 32
"""Blocks between the numbers of one round and those of the next."""


class Filled(NamedTuple):
    """Rows with the cells that were missing, and how many of those each column had filled and left."""

    rows: pa.RecordBatch
    filled: dict[str, int]
    left: dict[str, int]


class Filler:
    """Fills the rows of an endless table block by block; the same seed and row number give the same values."""

    def __init__(self, bundle: Bundle, *, seed: int, device: Device = "auto") -> None:
        """Raises OptionInvalid where the family cannot draw some columns given others."""
        if not supports_conditioning(bundle):
            raise OptionInvalid(
                f"a {bundle.manifest.family} cannot draw some cells of a row given the others: tabular_vae can"
            )
        self._bundle = bundle
        self._chain = Chain(bundle, "prior", ConditionPool(bundle), device=device, seed=seed)
        self.rows = self._chain.rows

    def block(self, index: int, batch: pa.RecordBatch) -> Filled:
        """At most `rows` rows, which are those of a block. Cells that are there stay as they are."""
        layout = self._bundle.encoding.layout
        missing = {name: _is_missing(batch[name]) for name in layout.columns}
        forced = self._forced(batch, missing)
        open_rows = np.any(list(missing.values()), axis=0)
        found = dict[str, pa.Array]()
        for turn in range(ROUNDS):
            if not open_rows.any():
                break
            drawn = self._chain.given(index + turn * _APART, forced).slice(0, batch.num_rows)
            whole = open_rows & ~np.any([missing[name] & _is_missing(drawn[name]) for name in missing], axis=0)
            last = turn == ROUNDS - 1
            taken = open_rows if last else whole
            found = {name: _chosen(taken, drawn[name], found.get(name)) for name in missing}
            open_rows = open_rows & ~whole
        return _filled(batch, missing, found)

    def _forced(self, batch: pa.RecordBatch, missing: dict[str, NDArray[np.bool_]]) -> NDArray[np.int32]:
        """Codes of a whole block: `FREE` where a cell is missing, or has a value that training never had."""
        layout = self._bundle.encoding.layout
        codes = self._bundle.encoding.encode(batch).arrays["cat"]
        forced = np.full((self.rows, len(layout.categories)), FREE, np.int32)
        for at, category in enumerate(layout.categories):
            unknown = missing[layout.columns[category.column]] | np.isin(codes[:, at], category.absent)
            forced[: len(codes), at] = np.where(unknown, FREE, codes[:, at])
        return forced


def _is_missing(column: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False))


def _chosen(taken: NDArray[np.bool_], new: pa.Array, before: pa.Array | None) -> pa.Array:
    """The new values where they are taken, else those before; plain values."""
    values = plain_values(new)
    return pc.if_else(pa.array(taken), values, pa.scalar(None, values.type) if before is None else before)


def _filled(batch: pa.RecordBatch, missing: dict[str, NDArray[np.bool_]], found: dict[str, pa.Array]) -> Filled:
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
    return Filled(rows, filled, left)
