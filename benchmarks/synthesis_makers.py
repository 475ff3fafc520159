"""Generators of synthetic rows: aepipe through jobs and files, peers, and real rows as the upper bound."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.peers import draw_rows
from benchmarks.synthesis_copula import GaussianCopula
from benchmarks.synthesis_measures import Order

SPEED_ROWS = 200_000
_MOST_DRAWS = 10
"""Draws per training row from which a peer's rows of a class, or in an order, are chosen."""

T = TypeVar("T")


class Class(NamedTuple):
    """The rows whose column has this value."""

    column: str
    value: str

    @property
    def where(self) -> str:
        """Return the condition in aepipe's syntax."""
        return f"\"{self.column}\" = '{self.value}'"

    def of(self, table: pa.Table) -> pa.Table:
        """Return the rows of the class."""
        return table.filter(pc.equal(table[self.column], self.value))


class Asked(NamedTuple):
    """Request to a maker beyond plain rows: rows of a class, and rows in which one number is at most another."""

    of_class: Class | None
    order: Order | None


@dataclass(frozen=True, slots=True)
class Made:
    """Synthetic rows, what else was asked for, and what they cost in CPU seconds of one thread; None: not measured."""

    rows: pa.Table
    many: pa.Table
    """200,000 rows or more, for shares and moments, which vary in small sets; for real rows, the same as `rows`"""
    of_class: pa.Table | None = None
    kept: float | None = None
    """share of the draws for `of_class` that could be kept"""
    ordered: pa.Table | None = None
    train_cpu_s: float | None = None
    rows_a_cpu_s: float | None = None
    """format: aepipe writes Parquet, the peers return a table"""


Maker = Callable[[pa.Table, Asked, int], Made]
"""(training rows, request, seed)"""


def aepipe(train: pa.Table, asked: Asked, seed: int) -> Made:
    """Write a job file, then run `aepipe train` with its defaults and `aepipe sample`, as a user would."""
    from aepipe.jobs.sample.sample import sample
    from aepipe.jobs.train.train import train as train_job

    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.toml"
        (Path(folder) / "rows").mkdir()
        pq.write_table(train, Path(folder) / "rows" / "part.parquet")
        text = (
            f'name = "table"\n[data]\npath = "rows"\n[model]\nfamily = "tabular_vae"\n[train]\nseed = {seed}\n'
            '[samples.quality]\ncheck = false\n[run]\ndevice = "cpu"\n'
        )
        job.write_text(text)

        def drawn(partition: str, where: str | None = None) -> pa.Table:
            found = sample(job, rows=train.num_rows, seed=seed + 1, partition=partition, where=where)
            return pq.read_table(found.path).select(train.column_names)

        _, train_cpu_s = _timed(lambda: train_job(job))
        rows = drawn("free")
        many, speed_s = _timed(lambda: sample(job, rows=SPEED_ROWS, seed=seed + 2, partition="many"))
        many_rows = pq.read_table(many.path).select(train.column_names)
        of_class = None if asked.of_class is None else drawn("class", asked.of_class.where)
        kept = None if of_class is None or asked.of_class is None else asked.of_class.of(of_class).num_rows
        ordered = None
        if asked.order is not None:
            low, high = asked.order
            job.write_text(f'{text}[[samples.constraints]]\nlow = "{low}"\nhigh = "{high}"\n')
            ordered = drawn("held")
        share = None if kept is None else kept / train.num_rows
        return Made(rows, many_rows, of_class, share, ordered, train_cpu_s, SPEED_ROWS / speed_s)


def copula(train: pa.Table, asked: Asked, seed: int) -> Made:
    """Draw from the Gaussian copula of `synthesis_copula`."""
    model, train_cpu_s = _timed(lambda: GaussianCopula(train, seed=seed))
    rows = model.sample(train.num_rows, seed=seed + 1)
    many, speed_s = _timed(lambda: model.sample(_many_of(train), seed=seed + 2))
    return _by_rejection(rows, many, asked, train_cpu_s=train_cpu_s, speed_s=speed_s)


def peer(name: str, train: pa.Table, asked: Asked, seed: int) -> Made:
    """Draw from a peer of `peers` at its defaults, in a process of its own."""
    drawn = draw_rows(name, train, (train.num_rows, _many_of(train)), seed=seed)
    rows, many = (each.select(train.column_names).cast(train.schema) for each in drawn.rows)
    return _by_rejection(rows, many, asked, train_cpu_s=drawn.fit_cpu_s, speed_s=drawn.cpu_s[1])


def real_rows(train: pa.Table, asked: Asked, seed: int) -> Made:
    """Return the training rows themselves, the best rows that a maker could draw."""
    return Made(train, train, None if asked.of_class is None else asked.of_class.of(train))


MAKERS: Mapping[str, Maker] = {
    "aepipe": aepipe,
    "copula": copula,
    "TVAE": partial(peer, "TVAE"),
    "TabularARGN": partial(peer, "TabularARGN"),
    "real rows": real_rows,
}
OPTIONAL = ("TVAE", "TabularARGN")
"""Makers that are no dependencies."""


def _many_of(train: pa.Table) -> int:
    return max(SPEED_ROWS, _MOST_DRAWS * train.num_rows)


def _by_rejection(rows: pa.Table, many: pa.Table, asked: Asked, *, train_cpu_s: float, speed_s: float) -> Made:
    """Choose what was asked for among many draws."""
    of_class = None if asked.of_class is None else asked.of_class.of(many)
    ordered = None
    if asked.order is not None:
        ordered = many.filter(pc.fill_null(pc.less_equal(many[asked.order.low], many[asked.order.high]), True))
    return Made(
        rows,
        many,
        None if of_class is None else of_class.slice(0, rows.num_rows),
        None if of_class is None else of_class.num_rows / many.num_rows,
        ordered,
        train_cpu_s,
        many.num_rows / speed_s,
    )


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    begun = time.process_time()
    answer = call()
    return answer, time.process_time() - begun
