"""Spark data frames in, Spark data frames out: each Python worker opens the model once, and rows never leave Spark."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema
from pyspark.sql.types import StructType

from aepipe.bundles.active_calibration import with_active_calibration
from aepipe.bundles.bundle import Bundle
from aepipe.config.device import Device
from aepipe.errors import SchemaMismatch, TableInvalid
from aepipe.inference.output_schema import SCORE_NAMES, TEXT
from aepipe.inference.table_model import TableModel
from aepipe.stores import as_path

Answer = Literal["score", "encode"]
MODEL_VERSION = "model_version"


def score(
    rows: DataFrame,
    model: str | Path,
    *,
    keep: Sequence[str] | None = None,
    outputs: str | Path | None = None,
    device: Device = "cpu",
) -> DataFrame:
    """Return the columns of `scores` for each row of a Spark data frame; evaluated by Spark when it needs them.

    A row that cannot be scored has nulls, is not flagged, and names the reason in `invalid_reason`.

    Args:
        rows: data frame with the columns of the model, in any order; others are ignored.
        model: exported/<name> (its champion), exported/<name>@<alias> or exported/<name>/<version>; a path that the
            driver can read, or a URL of an object store. The bundle travels to the workers.
        keep: columns of `rows` to copy to the result. None: the keys, labels and event time of the model, as far as
            `rows` has them.
        outputs: output folder of a job, whose latest calibration replaces that of the bundle. None: the bundle's own.
        device: where the graphs run on the workers.

    Raises:
        TableInvalid: `rows` is not a Spark data frame.
        SchemaMismatch: a column is missing or has another type than the model needs, or `keep` names no column.
        BundleNotFound: no such model, version or alias.
    """
    return _answers(rows, model, "score", keep=keep, outputs=outputs, device=device)


def encode(
    rows: DataFrame, model: str | Path, *, keep: Sequence[str] | None = None, device: Device = "cpu"
) -> DataFrame:
    """Return the columns of `features`, the latents z_000 ... and their summaries, for each row of a Spark data frame.

    Labels are not copied unless `keep` names them. See `score` for the arguments and the errors.
    """
    return _answers(rows, model, "encode", keep=keep, outputs=None, device=device)


def _answers(
    rows: DataFrame,
    model: str | Path,
    answer: Answer,
    *,
    keep: Sequence[str] | None,
    outputs: str | Path | None,
    device: Device,
) -> DataFrame:
    if not (hasattr(rows, "mapInArrow") and hasattr(rows, "schema")):
        raise TableInvalid(
            f"rows are not a Spark data frame: expected pyspark.sql.DataFrame, got {type(rows).__name__}. "
            "Pass spark.createDataFrame(rows), or call aepipe.load(...).score(rows)."
        )
    bundle = Bundle.open(model)
    bundle.refuse_points("a Spark data frame", remedy="Score its partitions with: aepipe score")
    if outputs is not None:
        bundle = with_active_calibration(as_path(outputs), bundle)
    kept = _kept(rows, bundle, answer, keep)
    needed = [name for name in rows.columns if name in {*bundle.encoding.columns_read, *kept}]
    empty = to_arrow_schema(rows.select(needed).schema).empty_table()
    # here, not on a worker: a fault of the columns is one sentence and starts no task
    answered = _plain(_answer(TableModel(bundle, device="cpu"), answer, empty))
    taken = [name for name in kept if name in {*answered.column_names, MODEL_VERSION}]
    if taken:
        raise SchemaMismatch(
            "the data frame", [f"has column '{name}', a name of the result. Rename it" for name in taken]
        )
    schema = _schema(rows, kept, answered.schema)
    source = _BundleSource(rows, bundle)
    return rows.select(needed).mapInArrow(
        partial(_map, source=source, answer=answer, kept=tuple(kept), device=device), schema
    )


class _BundleSource:
    """Bundle on its way to the workers: broadcast, once per machine; Spark Connect sends it with the task."""

    def __init__(self, rows: DataFrame, bundle: Bundle) -> None:
        context = getattr(rows.sparkSession, "_sc", None)
        self._value = bundle if context is None else context.broadcast(bundle)
        self.name = f"{bundle.version} {bundle.calibration.digest}"

    def get(self) -> Bundle:
        found: Bundle = self._value if isinstance(self._value, Bundle) else self._value.value
        return found


_models: dict[tuple[str, Device], TableModel] = {}
"""Models that this Python worker has opened, by bundle, calibration and device."""


def _map(
    batches: Iterator[pa.RecordBatch], *, source: _BundleSource, answer: Answer, kept: Sequence[str], device: Device
) -> Iterator[pa.RecordBatch]:
    """Yield the answers to the rows of one Spark partition."""
    key = source.name, device
    if key not in _models:
        _models[key] = TableModel(source.get(), device=device)
    model = _models[key]
    for batch in batches:
        table = pa.Table.from_batches([batch])
        found = _plain(_answer(model, answer, table))
        versions = pa.repeat(pa.scalar(model.version), table.num_rows)
        columns = [*(table[name] for name in kept), *found.columns, versions]
        named = pa.Table.from_arrays(columns, names=[*kept, *found.column_names, MODEL_VERSION])
        yield from named.combine_chunks().to_batches()


def _answer(model: TableModel, answer: Answer, table: pa.Table) -> pa.Table:
    ask: Callable[[pa.Table], pa.Table] = model.score if answer == "score" else model.encode
    return ask(table)


def _plain(table: pa.Table) -> pa.Table:
    """Return the table with text instead of dictionaries, and signed integers: Spark has neither."""
    plain = {TEXT: pa.string(), pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64()}
    fields = [field.with_type(plain.get(field.type, field.type)) for field in table.schema]
    return table.cast(pa.schema(fields))


def _kept(rows: DataFrame, bundle: Bundle, answer: Answer, keep: Sequence[str] | None) -> list[str]:
    """Return the columns to copy, in their order."""
    if keep is None:
        schema = bundle.encoding.schema
        left_out = {name for name in schema.labels if answer == "encode" or name in SCORE_NAMES}
        return [name for name in schema.carried if name in rows.columns and name not in left_out]
    absent = [f"has no column '{name}', which keep names" for name in keep if name not in rows.columns]
    if absent:
        raise SchemaMismatch("the data frame", absent)
    return list(dict.fromkeys(keep))


def _schema(rows: DataFrame, kept: Sequence[str], answered: pa.Schema) -> StructType:
    """Declare the columns of the result."""
    found = from_arrow_schema(answered.append(pa.field(MODEL_VERSION, pa.string())))
    return StructType([*(rows.schema[name] for name in kept), *found.fields])
