"""Generators of synthetic rows: aepipe through jobs and files, TVAE, and real rows as the upper bound."""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

SPEED_ROWS = 200_000

T = TypeVar("T")


class Made(NamedTuple):
    """Synthetic rows, rows of one class that were asked for, and what they cost in CPU seconds of one thread."""

    rows: pa.Table
    asked: pa.Table
    kept: float
    """share of the draws for `asked` that could be kept"""
    train_cpu_s: float
    rows_a_cpu_s: float
    """as what each gives: ours writes Parquet, the peer makes a DataFrame"""


class Asked(NamedTuple):
    """A class: the rows whose column has this value."""

    column: str
    value: str

    @property
    def where(self) -> str:
        """As a condition of aepipe's."""
        return f"\"{self.column}\" = '{self.value}'"

    def of(self, table: pa.Table) -> pa.Table:
        """The rows of the class."""
        return table.filter(pc.equal(table[self.column], self.value))


Maker = Callable[[pa.Table, Asked, int, int], Made]
"""(training rows, class, rows of each, seed)"""


def aepipe(train: pa.Table, asked: Asked, rows: int, seed: int) -> Made:
    """Job file, `aepipe train` with its defaults and `aepipe sample`, each as a person would call it."""
    from aepipe.jobs.sample.sample import sample
    from aepipe.jobs.train.train import train as train_job

    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.toml"
        (Path(folder) / "rows").mkdir()
        pq.write_table(train, Path(folder) / "rows" / "part.parquet")
        job.write_text(
            f'name = "table"\n[data]\npath = "rows"\n[model]\nfamily = "tabular_vae"\n[train]\nseed = {seed}\n'
            '[samples.quality]\ncheck = false\n[run]\ndevice = "cpu"\n'
        )
        _, train_cpu_s = _timed(lambda: train_job(job))
        made = sample(job, rows=rows, seed=seed + 1, partition="made")
        requested = sample(job, rows=rows, seed=seed + 1, partition="asked", where=asked.where)
        sample(job, rows=2_048, seed=seed + 1, partition="warm")
        _, speed_s = _timed(lambda: sample(job, rows=SPEED_ROWS, seed=seed + 2, partition="many"))
        drawn = pq.read_table(requested.path).select(train.column_names)
        return Made(
            pq.read_table(made.path).select(train.column_names),
            drawn,
            asked.of(drawn).num_rows / drawn.num_rows,
            train_cpu_s,
            SPEED_ROWS / speed_s,
        )


def tvae(train: pa.Table, asked: Asked, rows: int, seed: int) -> Made:
    """SDV's TVAE at its defaults, on the CPU; rows of a class are those among its draws."""
    import torch
    from ctgan import TVAE

    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # it has no seed of its own
    frame = train.to_pandas()
    texts = [field.name for field in train.schema if pt.is_string(field.type)]
    model = TVAE(enable_gpu=False)
    _, train_cpu_s = _timed(lambda: model.fit(frame, discrete_columns=texts))
    made = pa.Table.from_pandas(model.sample(rows), preserve_index=False).select(train.column_names)
    many, speed_s = _timed(lambda: model.sample(SPEED_ROWS))
    kept = asked.of(pa.Table.from_pandas(many, preserve_index=False).select(train.column_names))
    return Made(made, kept.slice(0, rows), kept.num_rows / SPEED_ROWS, train_cpu_s, SPEED_ROWS / speed_s)


def real_rows(train: pa.Table, asked: Asked, rows: int, seed: int) -> Made:
    """The training rows themselves: how good rows can be."""
    return Made(train, asked.of(train), float("nan"), float("nan"), float("nan"))


MAKERS: Mapping[str, Maker] = {"aepipe": aepipe, "TVAE": tvae, "real rows": real_rows}


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    begun = time.process_time()
    answer = call()
    return answer, time.process_time() - begun
