"""Imputation: draw missing cells given the observed ones. Each seed gives one of many imputations (Rubin 1987)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Device
from aepipe.encoding.relations.numeric_view import numbers_of
from aepipe.errors import JobInvalid, OptionInvalid
from aepipe.expressions.condition import Condition
from aepipe.inference.best_estimate import FEWEST_ROWS, WeighedEstimate, has_mean, rounded
from aepipe.inference.condition_bank import ConditionPool
from aepipe.inference.conditional import supports_conditioning, unknown_column
from aepipe.inference.gap_filling import GapFiller, fills_gaps
from aepipe.inference.sampler import SamplingChain
from aepipe.layout import FREE
from aepipe.tables.arrow_arrays import plain_values, restored

ROUNDS = 16
"""Maximum draws per row: a row is drawn again if a cell came out missing. Cells missing after the last stay missing."""

MOST_DRAWS = 1_000
_BLOCKS_PER_ROUND = 1 << 32
_BLOCKS_PER_DRAW = ROUNDS * _BLOCKS_PER_ROUND
"""Offset of block numbers between rounds, so that no round repeats the noise of another."""


class ImputedRows(NamedTuple):
    """Rows with missing cells filled; `filled` and `left` count the filled and still missing cells per column."""

    rows: pa.RecordBatch
    filled: dict[str, int]
    left: dict[str, int]


class Imputer:
    """Imputation of a stream of rows in blocks; the same seed and row number give the same values."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        seed: int,
        device: Device = "auto",
        draws: int = 1,
        columns: Sequence[str] = (),
        where: Condition | None = None,
    ) -> None:
        """Open the sampler of the bundle.

        Args:
            bundle: the model.
            seed: seed of all noise.
            device: where the graphs run.
            draws: number of draws per cell. With several, a cell becomes their mean, or for categories the most
                frequent value: the best estimate, with less spread than real cells have. A `masked_ae` gives that
                estimate without draws.
            columns: columns to fill; none: all modelled ones.
            where: condition on the rows to fill; None: all.

        Raises:
            OptionInvalid: the family cannot draw some columns given others.
            JobInvalid: a column to fill is not modelled.
        """
        is_filler = fills_gaps(bundle)
        if not is_filler and not supports_conditioning(bundle):
            raise OptionInvalid(
                f"{bundle.version}, a {bundle.manifest.family}, cannot impute: expected a family that draws some "
                "columns given others. Train a tabular_vae or a masked_ae."
            )
        known = tuple(dict.fromkeys(bundle.encoding.layout.sources))
        faults = [
            unknown_column(bundle, name, known, what="a modelled column") for name in columns if name not in known
        ]
        if faults:
            raise JobInvalid("columns", faults)
        self._bundle, self.draws, self._where = bundle, draws, where
        self._weighed: WeighedEstimate | None = None
        self._columns = frozenset(columns or known)
        self._filler = GapFiller(bundle, seed=seed, device=device) if is_filler else None
        if self._filler is None:
            self._chain = SamplingChain(bundle, "prior", ConditionPool(bundle), device=device, seed=seed)
        self.rows = self._chain.rows if self._filler is None else self._filler.rows

    def learn(self, train: pa.Table, held_out: pa.Table) -> None:
        """Weigh best estimates against the nearest known rows from now on, with the weights that suit held-out rows.

        Args:
            train: modelled columns of rows that the model was trained on.
            held_out: modelled columns of rows that trained no weight; the first block of them is used.
        """
        if self.draws < 2 or min(train.num_rows, held_out.num_rows) < FEWEST_ROWS:
            return
        self._weighed = WeighedEstimate.learn(
            self._bundle.encoding,
            train,
            held_out.slice(0, self.rows),
            lambda rows, missing: self._found(0, rows, missing),
        )

    def block(self, index: int, batch: pa.RecordBatch) -> ImputedRows:
        """Impute the missing cells of the rows of a block, at most `rows`. Observed cells are unchanged."""
        rows = np.ones(batch.num_rows, np.bool_)
        if self._where is not None:
            rows = np.asarray(self._where.mask(batch).to_numpy(zero_copy_only=False))
        sources = dict.fromkeys(self._bundle.encoding.layout.sources)
        missing = {name: _is_missing(batch[name]) & rows for name in sources if name in self._columns}
        found = self._found(index, batch, missing)
        return _filled(batch, missing, found if self._weighed is None else self._weighed.refine(batch, missing, found))

    def _found(
        self, index: int, batch: pa.RecordBatch, missing: Mapping[str, NDArray[np.bool_]]
    ) -> dict[str, pa.Array]:
        """Return what the model says of the missing cells of a block, one draw or the best estimate."""
        if self._filler is not None:
            is_estimate = self.draws > 1
            return self._filler.estimate(batch) if is_estimate else self._filler.draw(index, batch)
        forced = self._forced(batch)
        draws = [
            self._drawn(index + draw * _BLOCKS_PER_DRAW, batch.num_rows, forced, missing) for draw in range(self.draws)
        ]
        if self.draws == 1:
            return draws[0]
        return {name: self._estimate(name, [draw[name] for draw in draws if name in draw]) for name in draws[0]}

    def _drawn(
        self, index: int, rows: int, forced: NDArray[np.int32], missing: Mapping[str, NDArray[np.bool_]]
    ) -> dict[str, pa.Array]:
        """Draw the missing cells of a block once; no columns if none is missing."""
        open_rows = np.any(list(missing.values()), axis=0)
        found = dict[str, pa.Array]()
        for turn in range(ROUNDS):
            if not open_rows.any():
                break
            drawn = self._chain.complete(index + turn * _BLOCKS_PER_ROUND, forced).slice(0, rows)
            whole = open_rows & ~np.any([missing[name] & _is_missing(drawn[name]) for name in missing], axis=0)
            last = turn == ROUNDS - 1
            taken = open_rows if last else whole
            for name in missing:
                values = plain_values(drawn[name])
                earlier = found.get(name, pa.scalar(None, values.type))
                found[name] = pc.if_else(pa.array(taken), values, earlier)
            open_rows = open_rows & ~whole
        return found

    def _estimate(self, name: str, draws: Sequence[pa.Array]) -> pa.Array:
        """Combine several draws of a column: their mean, rounded as in training, or the most frequent value."""
        kind = draws[0].type
        codec = next(codec for codec in self._bundle.encoding.codecs if codec.name == name)
        if has_mean(codec, kind):
            values = np.stack([numbers_of(draw) for draw in draws])
            known = ~np.isnan(values)
            mean = np.where(known, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
            return rounded(codec, np.where(known.any(axis=0), mean, np.nan), kind)
        if pa.types.is_nested(kind):
            return draws[0]
        packed = pa.chunked_array(list(draws)).combine_chunks().dictionary_encode()
        codes = np.asarray(packed.indices.fill_null(len(packed.dictionary))).reshape(len(draws), -1)
        counts = (codes[:, :, None] == np.arange(len(packed.dictionary))[None, None, :]).sum(axis=0)
        never = ~counts.any(axis=1) if counts.shape[1] else np.ones(codes.shape[1], np.bool_)
        best = counts.argmax(axis=1) if counts.shape[1] else np.zeros(codes.shape[1], np.int64)
        return packed.dictionary.take(pa.array(best, mask=never))

    def _forced(self, batch: pa.RecordBatch) -> NDArray[np.int32]:
        """Return the codes of a whole block: `FREE` where a cell is missing or has a value unseen in training."""
        layout = self._bundle.encoding.layout
        codes = self._bundle.encoding.encode(batch).arrays["cat"]
        forced = np.full((self.rows, len(layout.categories)), FREE, np.int32)
        for at, category in enumerate(layout.categories):
            unknown = _is_missing(batch[layout.sources[category.column]]) | np.isin(codes[:, at], category.absent)
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
