"""Plant a fault in one column of a clean row and ask for the first reason of its score; writes docs/benchmarks.md.

python -m benchmarks.reasons
python -m benchmarks.reasons --only 38_thyroid --families ae --no-page
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from aepipe.config.job import Job, parse_job
from aepipe.heads.model_outputs import collect_outputs
from aepipe.heads.scorer import FITTED_ROWS, LossAttribution, LossScale, Scorer, fit_scorer
from aepipe.jobs.train.training_data import TrainingData, read_training_data
from aepipe.models import families
from aepipe.storage import put_parquet
from aepipe.tables.partitions import discover
from aepipe.training.loop import fit
from benchmarks.detection_tables import PATH_VARIABLE, Table, data_path, load, names
from benchmarks.page import put_into
from benchmarks.store import machine

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"

FAULT = 8.0
"""Robust standard deviations by which a number is off."""
MOST_ROWS = 3_000
MOST_VALUES = 12
"""Columns with at most this number of distinct values are categories."""
RAREST = 0.02
"""Share of the training rows that the rarest category has at most; a commoner value is no fault."""
CHOSEN_ON = frozenset({"11_donors", "12_fault", "14_glass", "16_http", "18_Ionosphere"})
"""Tables on which it was chosen that cells which training rows rule out come first."""
_IQR_OF_NORMAL = 1.349


class Planted(NamedTuple):
    """Rows with a fault in one column each."""

    rows: pa.Table
    columns: tuple[str, ...]


class Found(NamedTuple):
    """Shares of the faults whose column is the first reason, and is among the first three."""

    first: float
    among_three: float
    first_by_loss: float
    """the first reason if columns were ranked by their scaled losses, as regions of images are"""


def main(words: Sequence[str] | None = None) -> None:
    """Measure every table and family, print and write the table."""
    asked = _parser().parse_args(words)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    found: dict[str, dict[str, Found]] = {}
    for name in names(asked.data):
        if asked.only and name not in asked.only:
            continue
        rows = normal_rows(load(asked.data, name))
        for family in asked.families:
            found.setdefault(name, {})[family] = result = measure(rows, family, trials=asked.trials)
            print(name, family, *(f"{100 * share:.1f}" for share in result), flush=True)
    text = section(found, trials=asked.trials)
    print(text)
    if not asked.no_page:
        put_into(PAGE, text + "\n", name="reasons")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reasons", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=data_path(), help=f"folder of npz files; {PATH_VARIABLE}")
    parser.add_argument("--families", nargs="+", default=["ae", "vae", "pca"])
    parser.add_argument("--trials", type=int, default=1_000, help="faults planted in each table")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these tables")
    parser.add_argument("--no-page", action="store_true", help="print the table only")
    return parser


def measure(normal: pa.Table, family: str, *, trials: int) -> Found:
    """Learn from 60 % of the normal rows with a family, and plant faults in the others."""
    learned, others = _split(normal)
    planted = plant(learned, others, trials=trials, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        job = _job(Path(folder), learned, family)
        learning = read_training_data(job, discover(job))
    scorer = _scorer(job, learning)
    columns = scorer.probe.model.layout.columns
    right = np.array([columns.index(column) for column in planted.columns])
    rows = learning.encoding.encode_table(planted.rows.select(columns), rows=MOST_ROWS).arrays
    reasons = _reasons(scorer, rows)
    scale = LossScale(torch.cat([_losses(scorer, part) for part in (learning.train, learning.dev)]))
    by_loss = LossAttribution(scale)
    plain = Scorer(scorer.probe, scorer.head, by_loss, reasons=1)
    return Found(
        float((reasons[:, 0] == right).mean()),
        float((reasons[:, :3] == right[:, None]).any(axis=1).mean()),
        float((_reasons(plain, rows)[:, 0] == right).mean()),
    )


def normal_rows(table: Table, *, most: int = MOST_ROWS) -> pa.Table:
    """Return at most `most` normal rows; columns with few values become text, constant columns are left out."""
    normal = table.rows[~table.is_anomaly]
    rows = normal[np.random.default_rng(0).permutation(len(normal))[:most]]
    columns = {}
    for index, column in enumerate(rows.T):
        distinct = len(np.unique(column))
        if distinct > 1:
            text = pa.array([f"{value:g}" for value in column]) if distinct <= MOST_VALUES else pa.array(column)
            columns[f"c{index}"] = text
    return pa.table(columns)


def plant(learned: pa.Table, others: pa.Table, *, trials: int, seed: int) -> Planted:
    """Draw rows from `others`, and plant a fault in a random suitable column of each."""
    generator = np.random.default_rng(seed)
    faults = {name: fault for name in learned.column_names if (fault := _fault(learned[name])) is not None}
    struck = generator.choice(sorted(faults), trials)
    rows = others.take(pa.array(generator.integers(0, others.num_rows, trials)))
    signs = generator.choice([-1.0, 1.0], trials)
    columns = {}
    for name in rows.column_names:
        values, here = rows[name].to_pylist(), struck == name
        fault = faults.get(name)
        for at in np.flatnonzero(here):
            values[at] = values[at] + signs[at] * fault if isinstance(fault, float) else fault
        columns[name] = pa.array(values, rows[name].type)
    return Planted(pa.table(columns), tuple(struck.tolist()))


def _fault(column: pa.ChunkedArray) -> float | str | None:
    """Return the offset of a faulty number, or the rarest category; None if the column can have no such fault."""
    if pa.types.is_floating(column.type):
        low, high = np.quantile(column.to_numpy(), [0.25, 0.75])
        return FAULT * float(high - low) / _IQR_OF_NORMAL or None
    values, counts = np.unique(column.to_numpy().astype(str), return_counts=True)
    rarest = int(np.argmin(counts))
    return str(values[rarest]) if counts[rarest] <= RAREST * len(column) else None


def _split(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    learned = int(0.6 * table.num_rows)
    return table.slice(0, learned), table.slice(learned)


def _job(folder: Path, learned: pa.Table, family: str) -> Job:
    put_parquet(folder / "rows.parquet", learned)
    return parse_job(
        {"name": "reasons", "data": {"path": "."}, "model": {"family": family}}, source=folder / "job.toml"
    )


def _scorer(job: Job, learning: TrainingData) -> Scorer:
    model = families.build(learning.encoding.layout, job.model, job.train.seed)
    fit(model, learning.train, learning.dev, job.train)
    return fit_scorer(model, learning.train, learning.dev, head="knn", reasons=3, has_cells=True)


def _losses(scorer: Scorer, rows: Mapping[str, NDArray[np.generic]]) -> torch.Tensor:
    return collect_outputs(scorer.probe, rows, most=FITTED_ROWS, seed=0).losses


@torch.no_grad()
def _reasons(scorer: Scorer, rows: Mapping[str, NDArray[np.generic]]) -> NDArray[np.int32]:
    outputs = [port.name for port in scorer.part().outputs]
    tensors = scorer(*(torch.from_numpy(rows[port.name]) for port in scorer.probe.model.layout.ports))
    return np.asarray(tensors[outputs.index("reason")].numpy())


def section(found: Mapping[str, Mapping[str, Found]], *, trials: int) -> str:
    """Return the section of the page, in Markdown."""
    return "\n".join(_lines(found, trials=trials))


def _lines(found: Mapping[str, Mapping[str, Found]], *, trials: int) -> Iterator[str]:
    of = list(next(iter(found.values())))
    today = datetime.now(UTC).date().isoformat()
    yield "## The first reason"
    yield ""
    yield (
        f"Made by `python -m benchmarks.reasons`, {today}, {machine()}, one thread. {trials:,} faults in each of "
        f"{len(found)} tables of ADBench (normal rows, at most 3,000; 60 % are learned from, faults are planted in the "
        f"others): a number is off by {FAULT:g} robust standard deviations, a category is the rarest one. Per cent of "
        "the faults whose column is the first reason; in brackets, if columns were ranked by their losses. "
        "Ruled-out cells became the first reasons after a trial on five tables; the other tables are the unseen ones."
    )
    yield ""
    yield f"| table | {' | '.join(of)} |"
    yield f"|---|{'---|' * len(of)}"
    for table, of_family in found.items():
        yield f"| {table} | {' | '.join(_cell(of_family[name]) for name in of)} |"
    others = [of_family for table, of_family in found.items() if table not in CHOSEN_ON]
    if others:
        cells = [Found(*np.mean([each[name] for each in others], axis=0).tolist()) for name in of]
        yield f"| **mean of {len(others)} unseen** | {' | '.join(map(_cell, cells))} |"
    for what, summary in (("mean", np.mean), ("median", np.median), ("least", np.min)):
        cells = [Found(*summary([each[name] for each in found.values()], axis=0).tolist()) for name in of]
        yield f"| **{what}** | {' | '.join(map(_cell, cells))} |"


def _cell(found: Found) -> str:
    return f"{100 * found.first:.1f} ({100 * found.first_by_loss:.1f})"


if __name__ == "__main__":
    main()
