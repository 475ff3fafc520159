"""Tables of the nights and the bundles that score them: generated once and kept in a folder."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.config.job import parse_job

PARTS, ONE, PLAIN = "8 partitions", "one file of pandas'", "one file of Arrow's"
LAYOUTS = (PARTS, ONE)
"""`PLAIN` is `ONE` without dictionaries and with row groups of 65,536, for tables that pandas could not hold."""
_FOLDERS = {PARTS: "parts", ONE: "one", PLAIN: "plain"}
PARTITIONS = 8
GROUP_ROWS = 1_000_000
LEARNED_ROWS = 20_000
COLUMNS, FACTORS, CATEGORIES, SIDE = 64, 12, 10, 28
_CHUNK = 250_000

Sections = Mapping[str, Mapping[str, object]]


class Kind(NamedTuple):
    """A kind of table."""

    name: str
    title: str
    rows: int
    make: Callable[[np.random.Generator, int, int], pa.Table]
    """generator, id of the first row, rows -> the table"""
    sections: Sections
    """sections of the job"""
    epochs: int = 3
    """The speed of a network does not depend on its fit."""


def _numbers(generator: np.random.Generator, begin: int, rows: int, *, columns: int = COLUMNS) -> pa.Table:
    """Generate columns that depend on a few factors, each with noise of its own."""
    mixing = np.random.default_rng(1).standard_normal((FACTORS, columns), dtype=np.float32)
    factors = generator.standard_normal((rows, FACTORS), dtype=np.float32)
    values = factors @ mixing + 0.5 * generator.standard_normal((rows, columns), dtype=np.float32)
    return pa.table(
        {
            "id": np.arange(begin, begin + rows, dtype=np.int64),
            **{f"c{column:02d}": np.ascontiguousarray(values[:, column]) for column in range(columns)},
        }
    )


def _mixed(generator: np.random.Generator, begin: int, rows: int) -> pa.Table:
    """Generate the same number of columns, ten of them texts of 4 to 40 values that depend on the numbers."""
    table = _numbers(generator, begin, rows, columns=COLUMNS - CATEGORIES)
    for at in range(CATEGORIES):
        sizes = 4 * (at + 1)
        number = table.column(1 + at).to_numpy()
        codes = np.clip((number / 3 + 1) * sizes / 2 + generator.standard_normal(rows), 0, sizes - 1).astype(np.int32)
        words = pa.array([f"value {code:02d}" for code in range(sizes)])
        table = table.append_column(f"g{at:02d}", pa.DictionaryArray.from_arrays(codes, words).cast(pa.string()))
    return table


def _images(generator: np.random.Generator, begin: int, rows: int) -> pa.Table:
    """Generate bright blobs on a dark noisy background, as raw bytes."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    images = np.empty((rows, SIDE, SIDE), np.uint8)
    for at in range(0, rows, 10_000):
        part = images[at : at + 10_000]
        places = generator.uniform(8, 20, (2, len(part), 1, 1)).astype(np.float32)
        widths = generator.uniform(2, 6, (len(part), 1, 1)).astype(np.float32)
        blob = 200 * np.exp(-((y - places[0]) ** 2 + (x - places[1]) ** 2) / (2 * widths**2))
        part[...] = np.clip(blob + generator.normal(8, 4, part.shape).astype(np.float32), 0, 255)
    values = pa.FixedSizeBinaryArray.from_buffers(pa.binary(SIDE * SIDE), rows, [None, pa.py_buffer(images)])
    return pa.table({"id": np.arange(begin, begin + rows, dtype=np.int64), "image": values})


_NETWORK = {"family": "ae", "hidden": [128, 64], "latent": 16, "shortcut": False}
KINDS = {
    kind.name: kind
    for kind in (
        Kind("numbers", "64 float32 columns", 2_000_000, _numbers, {"model": _NETWORK}),
        Kind("mixed", "54 float32 columns and 10 of text", 1_000_000, _mixed, {"model": _NETWORK}),
        Kind(
            "images",
            "images of 28 x 28 bytes",
            200_000,
            _images,
            {
                "model": {"family": "ae", "trunk": "conv", "latent": 16},
                "columns": {"image": {"kind": "image", "shape": [1, SIDE, SIDE]}},
            },
            epochs=1,
        ),
    )
}


class Night(NamedTuple):
    """A table in one layout, and the job that scores it."""

    kind: Kind
    layout: str
    rows: int
    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / f"{self.kind.name}-{self.rows}-{_FOLDERS[self.layout]}"

    @property
    def job_path(self) -> Path:
        return self.folder / f"{self.data.name}.toml"

    @property
    def out(self) -> Path:
        return self.folder / f"{self.data.name}-out"

    @property
    def files(self) -> list[Path]:
        return sorted(self.data.rglob("*.parquet"))

    @property
    def bundle(self) -> Path:
        """Return the folder of the kind's only version."""
        (version,) = (path for path in (self.folder / "exported" / self.kind.name).iterdir() if path.is_dir())
        return version


def ready(night: Night) -> None:
    """Write the files, the job and the bundle of the night, unless they exist."""
    if not night.data.exists():
        staged = night.data.with_suffix(".tmp")
        shutil.rmtree(staged, ignore_errors=True)
        _write(night, staged)
        staged.rename(night.data)
    night.job_path.write_text(_job_file(night), encoding="utf-8")
    learn(night)


def learn(night: Night) -> None:
    """Train the bundle of the kind, by a job with training rows of its own."""
    from aepipe.jobs.train.train import train_job  # loads torch, whose memory would count as that of whoever scores

    path = night.folder / f"{night.kind.name}-learned" / "rows.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(night.kind.make(np.random.default_rng(99), 0, LEARNED_ROWS), path)
    train_job(parse_job(_sections(night, path.parent), source=night.folder / "learn.toml"), device="cpu")


def _write(night: Night, folder: Path) -> None:
    rows = night.rows // PARTITIONS if night.layout == PARTS else night.rows
    for part in range(PARTITIONS if night.layout == PARTS else 1):
        path = folder / f"dt=2026-01-{part + 1:02d}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        tables = _chunks(night.kind, part, rows)
        if night.layout == PLAIN:
            _write_plain(path, tables)
        else:
            pa.concat_tables(tables).to_pandas().to_parquet(path, index=False, row_group_size=GROUP_ROWS)


def _chunks(kind: Kind, part: int, rows: int) -> Iterator[pa.Table]:
    generator = np.random.default_rng([2, part])
    for at in range(0, rows, _CHUNK):
        yield kind.make(generator, part * rows + at, min(_CHUNK, rows - at))


def _write_plain(path: Path, tables: Iterator[pa.Table]) -> None:
    first = next(tables)
    with pq.ParquetWriter(path, first.schema, use_dictionary=False, write_page_checksum=True) as writer:
        writer.write_table(first, row_group_size=65_536)
        for table in tables:
            writer.write_table(table, row_group_size=65_536)


def _sections(night: Night, data: Path) -> dict[str, Any]:
    return {
        "name": night.kind.name,
        "data": {"path": str(data), "keys": ["id"]},
        "score": {"head": "reconstruction"},
        "train": {"epochs": night.kind.epochs},
        "output": {"path": str(night.out), "exported": str(night.folder / "exported")},
        **night.kind.sections,
    }


def _job_file(night: Night) -> str:
    """Return the job as TOML; strings, numbers, booleans and lists are written as in JSON."""
    lines: list[str] = []
    for name, section in _sections(night, night.data).items():
        if name == "name":
            lines.insert(0, f"name = {json.dumps(section)}")
            continue
        lines.append(f"[{name}]")
        lines += [f"{key} = {_toml(value)}" for key, value in section.items()]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)
