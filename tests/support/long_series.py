"""A long table of series, its partitions, and an untrained bundle whose point scores numpy can compute."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aepipe.batch.partition_scorer import score_partition
from aepipe.batch.score_settings import ScoreSettings
from aepipe.bundles.bundle import Bundle
from aepipe.calibration.conformal import Calibration
from aepipe.config.job import parse_job
from aepipe.encoding import fit
from aepipe.encoding.number import NumberCodec
from aepipe.inference.batch_runner import Runner
from aepipe.inference.session import Session
from aepipe.series.cutting import window_schema, window_table
from aepipe.series.scaling import Scaling
from aepipe.series.stage import SeriesSource, SeriesStage
from aepipe.storage import PartitionResult
from aepipe.tables.partitions import Partition
from aepipe.tables.schema_check import infer
from tests.support.linear_bundle import make_bundle

START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
MINUTE = 60_000_000


def long_table(
    values: Mapping[str, NDArray[Any]], *, step: int = MINUTE, start: int = START, channels: Sequence[str] = ("x",)
) -> pa.Table:
    """Build a long table of entities with values (T,) or (T, F) each, one step apart."""
    tables = []
    for entity, of_entity in values.items():
        columns = np.asarray(of_entity, np.float64).reshape(len(of_entity), -1)
        times = pa.array(start + step * np.arange(len(columns)), pa.timestamp("us"))
        named = {name: pa.array(columns[:, at]) for at, name in enumerate(channels)}
        tables.append(pa.table({"machine": [entity] * len(columns), "at": times, **named}))
    return pa.concat_tables(tables)


def series_bundle(folder: Path, table: pa.Table, *, window: int, reads: int | None = None, **stage: Any) -> Bundle:
    """Write a bundle for tables like `long_table`, whose score is the sum of |x|, without scaling.

    reads: steps that the network reads at once; default: the window.
    """
    channels = [name for name in table.column_names if name not in ("machine", "at", "label")]
    labels = [name for name in table.column_names if name == "label"]
    data = {"path": ".", "keys": ["machine"], "event_time": "at", "labels": labels}
    job = parse_job({"name": "series", "data": data}, source=folder / "job.toml")
    encoding = fit(infer(table.schema, job, table), table.to_batches())
    codecs = tuple(
        codec.model_copy(update={"offset": 0, "number": codec.number.model_copy(update={"may_be_missing": True})})
        for codec in encoding.codecs
        if isinstance(codec, NumberCodec)
    )
    fitted = SeriesStage(
        source=SeriesSource(encoding=encoding.model_copy(update={"codecs": codecs}), entity=("machine",), time="at"),
        window=window,
        scaling=Scaling(mean=(0.0,) * len(channels), deviation=(1.0,) * len(channels)),
        **{"step": MINUTE, "longest_gap": 3, **stage},
    )
    steps = reads or window
    schema = window_schema(channels, steps, by_step=False)
    rows = np.random.default_rng(0).normal(size=(40, len(channels), steps)).astype(np.float32)
    made = make_bundle(
        folder, window_table(rows, schema), columns=dict.fromkeys(channels, "vector"), reasons=0, alpha=0.05
    )
    return replace(made, series=fitted)


def calibrated(bundle: Bundle, scores: NDArray[Any], alpha: float = 0.05) -> Bundle:
    """Return the bundle with a calibration on these point scores."""
    return replace(bundle, calibration=Calibration.fit(scores, alpha=alpha))


def write_partitions(folder: Path, parts: Sequence[pa.Table]) -> tuple[Partition, ...]:
    """Write `day=000`, `day=001`, ... and return them."""
    found = []
    for number, part in enumerate(parts):
        file = folder / f"day={number:03d}" / "part-0.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(part, file)
        found.append(Partition(file.parent.name, (file,)))
    return tuple(found)


def score_all(bundle: Bundle, partitions: Sequence[Partition], out: Path, **options: Any) -> list[PartitionResult]:
    """Score the partitions in order."""
    settings = ScoreSettings(out, table=tuple(partitions), **options)
    runner = Runner(lambda: Session(bundle.part("scorer")[0], device="cpu"))
    return [score_partition(bundle, partition, settings, runner) for partition in partitions]


def read_all(partitions: Sequence[Partition], out: Path, output: str = "scores") -> pa.Table:
    """Read the rows of an output of all partitions."""
    return pa.concat_tables(
        [pq.ParquetFile(out / output / each.name / "part-0.parquet").read() for each in partitions],
        promote_options="permissive",
    )


def expected_scores(values: NDArray[Any], window: int) -> NDArray[np.float64]:
    """Compute the scores of the points of a series (T,) or (T, F): the mean over all windows that contain the point."""
    size = np.abs(np.asarray(values, np.float32).reshape(len(values), -1)).sum(axis=1).astype(np.float64)
    windows = [size[begin : begin + window].sum() for begin in range(len(size) - window + 1)]
    return np.array(
        [
            np.mean([score for begin, score in enumerate(windows) if begin <= point < begin + window] or [np.nan])
            for point in range(len(size))
        ]
    )
