"""Run a bundle on Arrow tables in memory: the same results as the batch job, without files."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Device
from aepipe.config.text import MODEL_TOKENS, TokenChoice
from aepipe.encoding import Encoded
from aepipe.errors import SchemaMismatch
from aepipe.expressions.condition import Condition
from aepipe.inference.attribution_output import ATTRIBUTIONS, with_attributions
from aepipe.inference.batch_runner import Runner, outputs_of
from aepipe.inference.condition_values import refuse_unknown_values
from aepipe.inference.golden_check import check_golden
from aepipe.inference.imputation import Imputer
from aepipe.inference.output_schema import Predictions, to_table
from aepipe.inference.predictions import PostProcessor
from aepipe.inference.recommendation import items_codec, rank_items
from aepipe.inference.reconstruct import rebuild
from aepipe.inference.sampler import draw, refuse_where
from aepipe.inference.series_columns import PointPredictions, point_table
from aepipe.inference.series_scores import predict_rows, score_steps
from aepipe.inference.session import Session
from aepipe.inference.traversal import Attribute, Traverser
from aepipe.latent_math import How
from aepipe.series.stage import SeriesRows, SeriesStage
from aepipe.tables.entities import Entities
from aepipe.tables.parquet_reader import READ_ROWS
from aepipe.tables.schema_check import faults
from aepipe.tables.struct_fields import flatten_table
from aepipe.tables.unification import cast_exactly

Arrays = Mapping[str, np.ndarray]


class TableModel:
    """Parts of a bundle, each opened on first use. Tables may have further columns, in any order.

    Methods raise SchemaMismatch with every column of a table that is missing or of another type.
    """

    def __init__(self, bundle: Bundle, *, device: Device = "auto") -> None:
        self.bundle = bundle
        self.device: Device = device
        self._runners: dict[str, Runner[Session]] = {}
        check_golden(bundle, self._runner("scorer"))

    @classmethod
    def open(cls, path: str | Path, *, device: Device = "auto") -> "TableModel":
        """Open the model at exported/<name>, exported/<name>@<alias> or exported/<name>/<version>."""
        return cls(Bundle.open(path), device=device)

    @property
    def version(self) -> str:
        """Name and version."""
        return self.bundle.version

    def arrays(self, table: pa.Table) -> Arrays:
        """Return the encoded rows by input name of the graph."""
        return self._encoded(table).arrays

    def encode(self, table: pa.Table) -> pa.Table:
        """Return the features of each row, in columns z_000 ...; null if a row cannot be scored."""
        encoded = self._encoded(table)
        predictions = self._post.predict(self._run("scorer", encoded.arrays), encoded.invalid)
        return to_table(self._post.feature_columns, predictions)

    def score(self, table: pa.Table) -> pa.Table:
        """Return score, p_value, p_extrapolated, is_anomaly, reason_1 ..., invalid_reason.

        For models that have them also the most unusual cell, its cell_p_value and is_cell_anomaly, and the class. The
        rows of a series job are points: they have a channel and the number of their windows instead of reasons.
        """
        if self.bundle.series is not None:
            return point_table(self._points(self.bundle.series, table))
        return self.scores_of(self.predict(table))

    def predict(self, table: pa.Table) -> Predictions:
        """Return the outputs of the scorer with p-values and flags."""
        encoded = self._encoded(table)
        entities = self.entities(table) if self.bundle.calibration.entities else None
        return self._post.predict(self._run("scorer", encoded.arrays), encoded.invalid, entities)

    def scores_of(self, predictions: Predictions) -> pa.Table:
        """Return the columns of `score` by predictions of this model."""
        return to_table(self._post.score_columns, predictions)

    def entities(self, table: pa.Table) -> Entities:
        """Return the entity of each row, of a model with `[data] entity`."""
        schema = self.bundle.encoding.schema
        absent = [name for name in schema.entity if name not in table.column_names]
        if absent:
            faults = [
                f"has no column '{name}', by which thresholds are chosen ([data] entity). Add it" for name in absent
            ]
            raise SchemaMismatch("the table", faults)
        batches = table.select(schema.entity).combine_chunks().to_batches()
        rows = batches[0] if batches else pa.RecordBatch.from_pylist([], table.select(schema.entity).schema)
        return Entities.of([cast_exactly(rows, schema.arrow.field(name)) for name in schema.entity])

    def reconstruct(self, table: pa.Table) -> pa.Table:
        """Return the reconstruction of each row, in the source's columns and types; null if it cannot be scored."""
        encoded = self._encoded(table)
        layout = self.bundle.encoding.layout
        z = self._run("encoder", {port.name: encoded.arrays[port.name] for port in layout.encoded_ports})["z"]
        given = {port.name: encoded.arrays[port.name] for port in layout.given_ports}
        return rebuild(self.bundle.encoding, self._run, z, given, invalid=encoded.invalid != 0)

    def step_losses(self, table: pa.Table) -> pa.Table:
        """Return the loss of each step of a series, or of each row of an image, in nats, in columns step_000 ...

        Null after the end of a row, and if a row cannot be scored.

        Raises:
            BundleNotFound: the family is not recurrent.
        """
        encoded = self._encoded(table)
        arrays = {port.name: encoded.arrays[port.name] for port in self.bundle.encoding.layout.encoded_ports}
        (losses,) = self._run("steps", arrays).values()
        losses[encoded.invalid != 0] = np.nan
        names = [f"step_{step:03d}" for step in range(losses.shape[1])]
        return pa.table([pa.array(column, mask=np.isnan(column)) for column in losses.T], names=names)

    def scorer_outputs(self, table: pa.Table) -> dict[str, NDArray[np.generic]]:
        """Return all outputs of the scorer by port; rows that cannot be scored have undefined values."""
        onnx, _ = self.bundle.part("scorer")
        return Session(onnx, device=self.device).run(self._encoded(table).arrays)

    def attributions(self, table: pa.Table) -> pa.Table:
        """Return the attributions of all columns, regions or steps, not only of the strongest.

        Null if a row cannot be scored; no columns if the bundle has no reasons.
        """
        encoded = self._encoded(table)
        onnx, _ = self.bundle.part("scorer")
        names = self.bundle.manifest.reason_names
        session = Session(with_attributions(onnx, reasons=len(names)), device=self.device)
        if ATTRIBUTIONS not in {port.name for port in session.outputs}:
            return pa.table({})
        attributions = session.run(encoded.arrays)[ATTRIBUTIONS]
        columns = [pa.array(column, mask=encoded.invalid != 0) for column in attributions.T]
        return pa.Table.from_arrays(columns, names=list(names))

    def sample(
        self,
        rows: int,
        *,
        seed: int = 0,
        prior: Literal["mixture", "normal"] | None = None,
        where: str | None = None,
        tokens: TokenChoice = MODEL_TOKENS,
    ) -> pa.Table:
        """Generate rows. The same seed gives the same rows; a larger sample begins with the smaller one.

        Args:
            rows: number of rows.
            seed: seed of all noise.
            prior: distribution of the latents; None: mixture.
            where: a condition that all rows meet.
            tokens: temperature and truncation of the tokens of texts.

        Raises:
            JobInvalid: no sample can meet `where`.
            OptionInvalid: the model cannot draw `tokens`.
        """
        chosen = prior or "mixture"
        condition = None if where is None else Condition.parse(where)
        if condition is not None:
            refuse_where(self.bundle, condition)
            refuse_unknown_values(self.bundle, condition)
        batches = draw(self.bundle, rows, seed=seed, prior=chosen, where=condition, tokens=tokens, device=self.device)
        return pa.Table.from_batches(list(batches))

    def fill(self, table: pa.Table, *, seed: int = 0) -> pa.Table:
        """Draw missing modelled cells given the observed ones; each seed gives one of many imputations.

        Raises:
            OptionInvalid: the family cannot draw some cells given others.
        """
        imputer = Imputer(self.bundle, seed=seed, device=self.device)
        batches = flatten_table(table).combine_chunks().to_batches(imputer.rows)
        filled = [imputer.block(index, batch).rows for index, batch in enumerate(batches)]
        return pa.Table.from_batches(filled, filled[0].schema) if filled else table

    def recommend(self, table: pa.Table, items: int = 20) -> pa.Table:
        """Rank the items that each row does not have: lists `recommended` and `probability`, the likeliest first.

        Raises:
            OptionInvalid: the model has no list of items.
        """
        name = items_codec(self.bundle).name
        encoded = self._encoded(table)
        lists = flatten_table(table)[name].combine_chunks()
        return rank_items(self.bundle, encoded, lists, run=self._run, most=items)

    def interpolate(self, first: pa.Table, last: pa.Table, *, steps: int = 8, how: How = "slerp") -> pa.Table:
        """Interpolate between each row of `first` and the same row of `last`; the conditions come from the first.

        `walk_row` is the index of the pair, `walk_step` the step, `walk_share` the share of the last row.

        Raises:
            OptionInvalid: the latents of the family are not real vectors.
        """
        return self.traverser.interpolate(flatten_table(first), flatten_table(last), steps=steps, how=how)

    def shift(
        self,
        table: pa.Table,
        attribute: Attribute,
        amount: float | Sequence[float] = 1.0,
        *,
        among: pa.Table | None = None,
    ) -> pa.Table:
        """Decode each row after adding `amount` times an attribute vector to its latents; 0 is its reconstruction.

        `walk_row` is the index of the row, `walk_amount` the amount.

        Args:
            table: the rows.
            attribute: a condition on the rows of `among`; or a table of rows with the attribute and one without it.
            amount: one or several multiples of the attribute vector.
            among: rows on which the condition is evaluated; None: `table`.

        Raises:
            OptionInvalid: the latents of the family are not real vectors, or no row or every row has the attribute.
        """
        table = flatten_table(table)
        vector = self.traverser.attribute_vector(attribute, table if among is None else flatten_table(among))
        amounts = [amount] if isinstance(amount, int | float) else amount
        return self.traverser.shift(table, vector, amounts=amounts)

    def traverse(self, table: pa.Table, dimensions: Sequence[str] | None = None, *, steps: int = 7) -> pa.Table:
        """Move one latent of each row at a time over the range that the training rows cover.

        `walk_row` is the index of the row, `walk_dimension` and `walk_value` the latent and its value.

        Args:
            table: the rows.
            dimensions: latents, such as ["z_000", "z_003"]; None: all.
            steps: values per latent.

        Raises:
            OptionInvalid: the latents of the family are not real vectors.
        """
        return self.traverser.traverse(table, dimensions=dimensions, steps=steps)

    def series_rows(self, stage: SeriesStage, table: pa.Table) -> SeriesRows:
        """Read the rows of a long table, of a model of a series job."""
        found = faults(stage.source.encoding.schema, table.schema)
        if found:
            raise SchemaMismatch("the table", found)
        return stage.source.read(flatten_table(table).combine_chunks().to_batches())

    def _points(self, stage: SeriesStage, table: pa.Table) -> PointPredictions:
        """Score the points of a long table; its rows are all that windows contain."""
        rows = self.series_rows(stage, table)
        runner, calibration = self._runner("scorer"), self.bundle.calibration
        wanted = np.ones(rows.rows, np.bool_)
        scored = score_steps(runner, self.bundle.encoding, stage, rows, wanted, self.bundle.memory)
        return predict_rows(runner, self.bundle.encoding, stage, rows, scored, calibration)

    @property
    def scorer(self) -> Runner[Session]:
        """Session of the scorer."""
        return self._runner("scorer")

    @cached_property
    def traverser(self) -> Traverser:
        """Traversals of the latents; OptionInvalid if the latents are not real vectors."""
        return Traverser(self.bundle, encode=self._encoded, run=self._run)

    @cached_property
    def _post(self) -> PostProcessor:
        return PostProcessor(self.bundle)

    def _encoded(self, table: pa.Table) -> Encoded:
        encoding = self.bundle.encoding
        schema = encoding.schema.without_keys()
        table = flatten_table(table)
        found = faults(schema, table.schema)
        if found:
            raise SchemaMismatch("the table", found)
        return encoding.encode_table(table.select([column.name for column in schema.columns]), rows=READ_ROWS)

    def _run(self, part: str, arrays: Arrays) -> dict[str, np.ndarray]:
        return outputs_of(self._runner(part), arrays)

    def _runner(self, part: str) -> Runner[Session]:
        if part not in self._runners:
            onnx, _ = self.bundle.part(part)
            self._runners[part] = Runner(lambda: Session(onnx, device=self.device))
        return self._runners[part]
