"""Training from a data frame in memory, without files of the user."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from aepipe.api.arguments import text
from aepipe.api.frames import to_arrow
from aepipe.api.model import Model
from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Device, parse_job
from aepipe.errors import ArgumentInvalid, DataUnreadable, JobInvalid, SchemaMismatch
from aepipe.inference.table_model import TableModel
from aepipe.jobs.train.train import train_job
from aepipe.jobs.train.training_rows import FEWEST_ROWS
from aepipe.progress import Progress
from aepipe.storage import put_parquet
from aepipe.storage.atomic_folders import scratch_folder
from aepipe.versions import named_extras

_SECTIONS = ("columns", "train", "calibration", "score", "samples", "evaluate", "run")


def fit(
    rows: object,
    *,
    family: str = "vae",
    name: str = "table",
    keys: Sequence[str] = (),
    labels: Sequence[str] = (),
    event_time: str | None = None,
    entity: Sequence[str] = (),
    columns: Mapping[str, object] | None = None,
    model: Mapping[str, object] | None = None,
    train: Mapping[str, object] | None = None,
    calibration: Mapping[str, object] | None = None,
    score: Mapping[str, object] | None = None,
    samples: Mapping[str, object] | None = None,
    evaluate: Mapping[str, object] | None = None,
    device: Device = "auto",
    progress: Progress | None = None,
) -> Model:
    """Train a model on a data frame and return it, exported and calibrated as by `aepipe train`.

    >>> model = fit(frame, family="pca", keys=["id"])  # doctest: +SKIP
    >>> model.score(frame)  # doctest: +SKIP

    Args:
        rows: pandas or Polars data frame, or any table that Arrow reads; at least 20 rows.
        family: model family, such as ae, vae, tabular_vae or pca.
        name: name of the model; letters, digits, - and _.
        keys: columns that identify a row, never modelled.
        labels: ground-truth columns, never modelled.
        event_time: time column that orders rows for the split into training, dev and calibration rows.
        entity: columns that name what a row is about, for calibration={"per": "entity"}.
        columns: kind or settings by column, as the section [columns] of a job file.
        model: options of the family, as the section [model].
        train: as the section [train], such as {"epochs": 50, "seed": 1}.
        calibration: as the section [calibration], such as {"alpha": 0.05}.
        score: as the section [score].
        samples: as the section [samples].
        evaluate: as the section [evaluate].
        device: where the model is trained and runs.
        progress: receives stages and their completed shares.

    Raises:
        TableInvalid: `rows` is not a table.
        JobInvalid: an option does not exist, or has a wrong value.
        DataUnreadable: there are fewer than 20 rows.
        SchemaMismatch: a column cannot be modelled.
    """
    named = zip(_SECTIONS, (columns, train, calibration, score, samples, evaluate, {"device": device}), strict=True)
    columns_of = {"keys": keys, "labels": labels, "entity": entity}
    job = {
        "name": text("name", name, such_as='"fraud"'),
        "data": {name: _names(name, value) for name, value in columns_of.items()} | {"event_time": event_time},
        "model": {"family": family, **(model or {})},
        **{section: dict(options) for section, options in named if options is not None},
    }
    return Model(TableModel(_train(job, to_arrow(rows), progress), device=device))


def _train(job: dict[str, Any], table: pa.Table, progress: Progress | None) -> Bundle:
    """Train in a temporary folder and return the bundle, which is held in memory."""
    if table.num_rows < FEWEST_ROWS:
        raise DataUnreadable(
            f"the table is too small: expected at least {FEWEST_ROWS} rows, got {table.num_rows}. Pass more rows."
        )
    with scratch_folder() as folder:
        source = {**job, "data": {**job["data"], "path": str(folder / "data")}}
        try:
            parsed = parse_job(source, source=folder / "job.toml")
            put_parquet(folder / "data" / "rows.parquet", table)
            with named_extras():
                return Bundle.open(train_job(parsed, progress=progress).bundle)
        except JobInvalid as error:  # its path is temporary
            raise error if isinstance(error, ArgumentInvalid) else JobInvalid("aepipe.fit", error.faults) from None
        except SchemaMismatch as error:
            raise SchemaMismatch("the table", error.faults) from None


def _names(argument: str, value: object) -> list[str]:
    """Return column names; one name may be given alone."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Sequence) and all(isinstance(name, str) for name in value):
        return list(value)
    raise ArgumentInvalid(argument, [f"expected column names, got {value!r}"])
