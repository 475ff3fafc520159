"""A job with linear bundles, one of them champion, and partitions to score: no training."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle, write_bundle
from aepipe.bundles.drift_reference import FILE, DriftReference
from aepipe.bundles.registry import Registry
from aepipe.inference.table_model import TableModel
from tests.support.linear_bundle import make_bundle, numbers

DAYS = ("dt=2026-03-01", "dt=2026-03-02", "dt=2026-03-03")


def write_job(folder: Path, extra: str = "") -> Path:
    """Write the job, three partitions of 200 rows with labels, and a champion."""
    for day, name in enumerate(DAYS):
        write_partition(folder, name, seed=day + 10)
    job = folder / "job.toml"
    job.write_text(
        'name = "linear"\n[data]\npath = "rows"\nkeys = ["id"]\nlabels = ["bad"]\n[columns]\nbad = "label"\n'
        f'[evaluate]\nanomaly = "bad = 1"\n{extra}'
    )
    add_version(folder, "champion", seed=0)
    return job


def write_partition(folder: Path, name: str, *, seed: int, rows: int = 200, shift: float = 0.0) -> Path:
    """Write normal rows, with anomalies further out in the first ten; `shift` is added to column `a`."""
    table = numbers(rows, seed=seed, first_id=seed * 1_000)
    outlying = np.arange(rows) < 10
    for at, column in enumerate("abc", 1):
        values = table[column].to_numpy() * np.where(outlying, 4, 1).astype(np.float32)
        values += np.float32(shift if column == "a" else 0.0)
        table = table.set_column(at, column, pa.array(values))
    path = folder / "rows" / name / "part-0.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.append_column("bad", pa.array(outlying.astype(np.int64))), path)
    return path


def add_version(folder: Path, alias: str, *, seed: int, alpha: float = 0.05) -> str:
    """Write another version, as if trained on other rows, and set its alias."""
    table = numbers(400, seed=seed)
    bundle = make_bundle(folder, table, data={"keys": ["id"]}, alpha=alpha)
    Registry(folder / "exported" / "linear").set_alias(alias, bundle.path.name, who="ada", why="a test")
    return bundle.path.name


def add_reference(folder: Path, *, deviation: float = 0.0) -> None:
    """Write the champion again, with a drift reference of 20 nights; deviation: of the nightly mean of column `a`."""
    table = numbers(20_000, seed=77)
    nights = np.repeat(np.arange(20, dtype=np.int32), 1_000)
    means = deviation * np.random.default_rng(0).standard_normal(20)[nights]
    table = table.set_column(table.column_names.index("a"), "a", pa.array((table["a"].to_numpy() + means).astype("f4")))
    write_reference(folder, table, nights if deviation else None)


def write_reference(folder: Path, table: pa.Table, nights: NDArray[np.int32] | None = None) -> None:
    """Write the champion again, with a drift reference of a table; nights: number of the night of each row."""
    bundle = Bundle.open(folder / "exported" / "linear")
    outputs = TableModel(bundle, device="cpu")
    scores = outputs.score(table)["score"].to_numpy()
    z = np.column_stack([column.to_numpy() for column in outputs.encode(table).columns])
    inputs = bundle.encoding.encode_table(table.drop_columns(["id"]), rows=1_000).arrays
    known = DriftReference.fit(
        bundle.encoding,
        bundle.manifest.latent,
        [inputs],
        {"score": scores, "z": z},
        partitions=None if nights is None else [nights],
    )
    path = write_bundle(
        folder / "exported" / "linear",
        bundle.manifest.model_copy(update={"created_at": "", "files": {}}),
        encoding=bundle.encoding,
        onnx={name: bundle.files[f"{name}.onnx"] for name in bundle.manifest.parts},
        calibration=bundle.calibration,
        golden=bundle.golden,
        extras={FILE: known.to_json()},
    )
    Registry(path.parent).set_alias("champion", path.name, who="ada", why="a test")
