"""Synthetic sequences of entities: each row is drawn given the row before it, and times are in order."""

import logging
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.inference.condition_bank import ConditionPool
from aepipe.inference.related_rows import related_rows
from aepipe.inference.sampler import SamplingChain
from aepipe.jobs.sample.rejection_sampling import Source
from aepipe.jobs.sample.sequence_fit import (
    FEWEST_ENTITIES,
    FEWEST_PAIRS,
    SequenceModel,
    entities_of,
    fit_sequences,
    pair_features,
    times_of,
)
from aepipe.layout import FREE
from aepipe.quality.alignment import align
from aepipe.tables.arrow_arrays import plain_values, restored
from aepipe.tables.arrow_types import plain
from aepipe.tables.parquet_reader import READ_ROWS

log = logging.getLogger(__name__)

_INDEPENDENT = "rows are drawn independently, without entity and time"
CANDIDATES = 32
"""Rows that the model proposes for each step; one is chosen."""
_STRONGEST = 6.0  # log odds: no candidate outweighs the others by more than exp(12)
_COHORTS = 16

KeyNames = Callable[[pa.DataType, NDArray[np.int64]], pa.Array]
"""Function from a type and numbers of entities to names that no source entity has."""


class SequenceSampler:
    """Rows of entities, drawn one step at a time for a cohort of entities; memory holds one cohort.

    The model proposes 32 rows for each step, given the values that are carried over from the row before. One of them is
    chosen with weights that classifiers of real pairs of rows give it (sampling importance resampling, Rubin 1987).
    """

    def __init__(self, source: Source, model: SequenceModel) -> None:
        self._bundle, self._model, self._seed = source.bundle, model, source.seed
        # the chain of imputation: the completer has its own latents, and this prior is not used
        self._chain = SamplingChain(
            source.bundle, "prior", ConditionPool(source.bundle), device=source.device, seed=source.seed
        )
        self._slots = max(self._chain.rows // CANDIDATES, 1)
        self._block = 0

    def batches(self, rows: int, names: KeyNames) -> Iterator[pa.RecordBatch]:
        """Yield `rows` rows, modelled columns, entity and time: each entity's rows together and in order."""
        entity, left = 0, rows
        while left > 0:
            planned = list[tuple[int, NDArray[np.int64]]]()
            while left > 0 and len(planned) < _COHORTS * self._slots:
                times = self._model.pace.draw(np.random.default_rng([self._seed, entity]))[:left]
                planned.append((entity, times))
                entity, left = entity + 1, left - len(times)
            planned.sort(key=lambda each: len(each[1]))  # entities of one cohort have about the same length
            for start in range(0, len(planned), self._slots):
                yield self._cohort(planned[start : start + self._slots], names)

    def _cohort(self, planned: list[tuple[int, NDArray[np.int64]]], names: KeyNames) -> pa.RecordBatch:
        """Draw the rows of some entities."""
        lengths = np.array([len(times) for _, times in planned])
        steps, last = list[pa.RecordBatch](), None
        for _ in range(int(lengths.max())):
            last = self._next(last).slice(0, self._slots)
            steps.append(last.slice(0, len(planned)))
        table = pa.Table.from_batches(steps).unify_dictionaries().combine_chunks()
        places = [np.arange(length) * len(planned) + at for at, length in enumerate(lengths)]
        (rows,) = table.take(pa.array(np.concatenate(places))).combine_chunks().to_batches()
        schema, columns = self._bundle.encoding.schema, dict(zip(rows.schema.names, rows.columns, strict=True))
        numbers = np.repeat([entity for entity, _ in planned], lengths)
        for name in schema.entity:
            if name not in columns:
                kind = schema.arrow.field(name).type
                columns[name] = restored(names(plain(kind), numbers), kind)
        kind = schema.arrow.field(str(schema.event_time)).type
        times = pa.array(np.concatenate([times for _, times in planned]))
        narrow = times.cast(pa.int32()) if plain(kind) == pa.date32() else times
        columns[str(schema.event_time)] = restored(narrow.cast(plain(kind)), kind)
        return pa.RecordBatch.from_pydict(columns)

    def _next(self, last: pa.RecordBatch | None) -> pa.RecordBatch:
        """Choose the next row of every slot among its candidates."""
        generator = np.random.default_rng([self._seed, self._block, 1])
        forced = np.full((self._chain.rows, len(self._bundle.encoding.layout.categories)), FREE, np.int32)
        kept: Mapping[str, tuple[NDArray[np.bool_], pa.Array]] = {}
        owner = np.minimum(np.arange(self._chain.rows) // CANDIDATES, self._slots - 1)
        if last is not None:
            kept = self._carry(last, forced, owner, generator)
        candidates = self._chain.candidates(self._block, forced)
        self._block += 1
        columns = dict(zip(candidates.schema.names, candidates.columns, strict=True))
        for name, (mask, values) in kept.items():
            there = columns[name]
            proposed = plain_values(there)
            same = plain_values(values).take(pa.array(owner)).cast(proposed.type)
            columns[name] = restored(pc.if_else(pa.array(mask[owner]), same, proposed), there.type)
        rows = pa.RecordBatch.from_pydict(columns)
        possible = np.ones(rows.num_rows, np.bool_)
        if related := self._chain.related:
            rows, possible = related.apply(rows, generator.random((rows.num_rows, len(related.relations))))
        values = row_features(self._bundle, pa.Table.from_batches([rows]))
        if last is None:
            learner, matrix = self._model.first, values
        else:
            before = row_features(self._bundle, pa.Table.from_batches([last]))
            learner, matrix = self._model.step, pair_features(before[owner], values)
        odds = np.zeros(len(owner)) if learner is None else learner.decision_function(matrix)
        odds = np.clip(odds, -_STRONGEST, _STRONGEST) + generator.gumbel(size=len(owner))  # choice by the Gumbel trick
        odds = np.where(possible, odds, -np.inf)[: self._slots * CANDIDATES].reshape(self._slots, -1)
        return rows.take(pa.array(odds.argmax(axis=1) + np.arange(self._slots) * odds.shape[1]))

    def _carry(
        self,
        last: pa.RecordBatch,
        forced: NDArray[np.int32],
        owner: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> Mapping[str, tuple[NDArray[np.bool_], pa.Array]]:
        """Force the codes of carried columns; return which slots carry, and the values, by column."""
        encoding = self._bundle.encoding
        columns = dict(zip(last.schema.names, last.columns, strict=True))
        carried = {each.target: columns[each.source] for each in self._model.carried}
        codes = encoding.encode(pa.RecordBatch.from_pydict(columns | carried)).arrays["cat"]
        chances = {each.target: generator.random(len(codes)) < each.probability for each in self._model.carried}
        for at, category in enumerate(encoding.layout.categories):
            name = encoding.layout.sources[category.column]
            if name in chances:
                known = chances[name] & ~np.isin(codes[:, at], category.absent)
                chances[name] = known
                forced[:, at] = np.where(known[owner], codes[owner, at], FREE)
        return {name: (mask, carried[name]) for name, mask in chances.items()}


def fit_sampler(source: Source, rows: pa.Table, order: pa.Table) -> SequenceSampler | None:
    """Fit sequences to the training rows with a time; None, with a warning, if they are too few or times are no times.

    Args:
        source: Model of single rows, seed, prior and device.
        rows: Sampled columns of the training rows.
        order: Their entity columns and time.
    """
    bundle = source.bundle
    schema = bundle.encoding.schema
    name = str(schema.event_time)
    has_time = pc.is_valid(order[name])
    rows, order = rows.filter(has_time), order.filter(has_time)
    time, entities = times_of(order[name]), entities_of(order, schema.entity)
    if time is None:
        kind = plain(order[name].type)
        log.warning("%s: expected times, got %s in the event time '%s'. Write timestamps.", _INDEPENDENT, kind, name)
        return None
    sources = set(bundle.encoding.layout.sources)
    model = fit_sequences(
        rows,
        row_features(bundle, rows),
        entities,
        time,
        fixable=sources - {relation.target for relation in related_rows(bundle).relations},
        seed=0,
    )
    if model is None:
        count = len(np.unique(entities))
        log.warning(
            f"{_INDEPENDENT}: expected at least {FEWEST_ENTITIES} entities with {FEWEST_PAIRS} pairs of rows in all, "
            f"got {count:,} with {len(entities) - count:,}"
        )
        return None
    return SequenceSampler(source, model)


def row_features(bundle: Bundle, rows: pa.Table) -> NDArray[np.float64]:
    """Return a numeric view of rows, (B, D): numbers, and the codes of categories."""
    encoding = bundle.encoding
    columns, (aligned,) = align([rows])
    codes = encoding.encode_table(rows, rows=READ_ROWS).arrays["cat"]
    names = [encoding.layout.sources[category.column] for category in encoding.layout.categories]
    return np.hstack([aligned.numbers, codes[:, [name not in columns.numbers for name in names]]]).astype(np.float64)
