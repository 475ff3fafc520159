"""Data model of a report page: plain values, numpy arrays and Arrow tables, independent of files, bundles and HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from aepipe.report.series import SeriesLine
from aepipe.report.unusual_windows import UnusualWindow
from aepipe.report.what_if import WhatIf
from aepipe.storage import PartitionResult


class Header(NamedTuple):
    """Job, model, time and calibration of a report."""

    job: str
    model_version: str
    created_at: datetime
    alias: str | None = None
    alpha: float | None = None
    calibration_rows: int | None = None
    is_polluted: bool = False  # anomalies may be among the calibration rows
    is_adaptive: bool = False  # flags use an adaptive alpha
    has_cells: bool = False  # rows are also flagged for one cell


class Scores(NamedTuple):
    """Current scores and calibration scores; NaN for a row without a score."""

    current: np.ndarray
    calibration: np.ndarray | None = None
    threshold: float | None = None  # the smallest score that is flagged


class CostCurve(NamedTuple):
    """Expected cost per night by alpha; `sentence` states the choice and its basis.

    The curve is empty without labels and scored partitions; `measures` are empty without labels.
    """

    sentence: str
    alpha: np.ndarray  # (T,), ascending
    cost: np.ndarray
    alarms: np.ndarray
    chosen: float
    capacity: int | None = None
    measures: Mapping[str, float] = {}  # at the chosen alpha


@dataclass(frozen=True, kw_only=True)
class TopAnomalies:
    """Rows with the highest scores, in descending order; all tables and arrays have the same rows in the same order.

    Attributes:
        scores: columns of the scores output (keys, score, p_value, is_anomaly, reason_1, reason_1_z, ...).
        keys: names of the key columns.
        partitions: partition of each row.
        rows: position of each row in its partition, from 0.
        source: modelled columns as read.
        reconstruction: modelled columns as reconstructed.
        words: what is unusual about the columns of each row, by name.
        images: (N, C, H, W), 0 to `top`.
        reconstructed: reconstructed images, like `images`.
    """

    scores: pa.Table
    keys: tuple[str, ...] = ()
    partitions: Sequence[str] | None = None
    rows: Sequence[int] | None = None
    source: pa.Table | None = None
    reconstruction: pa.Table | None = None
    words: Sequence[Mapping[str, str]] | None = None
    images: np.ndarray | None = None
    reconstructed: np.ndarray | None = None
    top: int = 255

    def __post_init__(self) -> None:
        for name in ("partitions", "rows", "source", "reconstruction", "words", "images", "reconstructed"):
            _check_length(f"TopAnomalies.{name}", getattr(self, name), len(self.scores))


@dataclass(frozen=True, kw_only=True)
class LatentMap:
    """Latents of scored rows, (N, Z); two columns are drawn directly, more by their principal axes.

    Attributes:
        places: partition of each row and its position in it, from 0.
    """

    points: np.ndarray
    scores: np.ndarray
    flagged: np.ndarray
    labels: Sequence[object] | None = None
    label: str = "label"
    places: Sequence[tuple[str, int]] | None = None

    def __post_init__(self) -> None:
        for name in ("scores", "flagged", "labels", "places"):
            _check_length(f"LatentMap.{name}", getattr(self, name), len(self.points))


@dataclass(frozen=True, kw_only=True)
class Training:
    """Training history: one value per epoch in each array."""

    epochs: np.ndarray
    train: np.ndarray
    dev: np.ndarray
    best_epoch: int
    stopped_because: str
    terms: Mapping[str, np.ndarray] = field(default_factory=dict)
    seconds: float | None = None
    rows_per_s: float | None = None

    def __post_init__(self) -> None:
        for name, values in {"train": self.train, "dev": self.dev, **self.terms}.items():
            _check_length(f"Training.{name}", values, len(self.epochs))


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Synthetic rows, as images (N, C, H, W) or as a table, and real rows for comparison."""

    rows: int
    seed: int
    prior: str
    images: np.ndarray | None = None
    real_images: np.ndarray | None = None
    top: int = 255
    table: pa.Table | None = None
    real: pa.Table | None = None
    check_page: str | None = None  # file name of the page of their checks


class TraversalLine(NamedTuple):
    """Values of one column along one strip of a traversal, with the position of each row."""

    strip: str
    column: str
    positions: tuple[float, ...]
    values: tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class Traversal:
    """Latent traversal: strips of images (N, S, C, H, W), or the columns that change most.

    Attributes:
        title: for example "From 12 to 15".
        unit: meaning of the positions.
        strips: names of the strips.
        positions: position of each image, (N, S).
        images: (N, S, C, H, W), 0 to `top`.
        lines: values by column, largest change first.
    """

    title: str
    unit: str
    strips: tuple[str, ...] = ()
    positions: np.ndarray | None = None
    images: np.ndarray | None = None
    top: int = 255
    lines: tuple[TraversalLine, ...] = ()

    def __post_init__(self) -> None:
        for name in ("positions", "images"):
            _check_length(f"Traversal.{name}", getattr(self, name), len(self.strips))


class Comparison(NamedTuple):
    """Table of measures (higher is better) of the model and its baselines."""

    title: str
    measures: tuple[str, ...]
    lines: Mapping[str, tuple[float, ...]]
    ours: str
    note: str = ""
    ranges: Mapping[str, tuple[tuple[float, float] | None, ...]] = {}  # interval of each measure, by line


class DriftLine(NamedTuple):
    """Change of one column, latent or score of a partition against the training data, with its 95 % interval.

    With `partitions` above 1 the figures are of the partition and the ones before it together.
    """

    partition: str
    name: str
    kind: Literal["column", "score", "latent"]
    distance: float
    low: float
    high: float
    shift: float
    alarm: bool
    partitions: int = 1


class PairedNight(NamedTuple):
    """Rows of one partition, and those flagged by each version and by both."""

    partition: str
    rows: int
    first: int
    second: int
    both: int


class EntityLine(NamedTuple):
    """Rows of one entity, such as a device: flagged rows, lowest p-value, and its threshold, own or shared."""

    entity: str
    rows: int
    flagged: int
    p_value: float | None
    threshold: float
    is_own: bool


class FileLine(NamedTuple):
    """Input or output file; the path is relative to the job's folder."""

    role: Literal["read", "written"]
    what: str
    path: str
    bytes: int
    digest: str
    rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """Description of the model."""

    family: str
    trunk: str
    head: str = ""
    created_at: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)  # train, dev, calibration
    partitions: tuple[str, ...] = ()  # trained on
    parity: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # part -> measure -> difference to torch
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ReportPage:
    """Content of one report; a missing section is omitted, with the reason in `absent`.

    Attributes:
        reasons: number of flagged rows by first attribution.
        drift: every alarm, and the largest changes of the latest compared partition.
        entities: the entities with the most flagged rows.
        series: the series with the highest scores, of a series job.
        windows: its most unusual windows, in the order of their scores.
        absent: reason per missing section: partitions, scores, costs, what_if, drift, series, anomalies,
            entities, latents, samples, traversals, comparisons, training, files, card.
    """

    header: Header
    notices: tuple[str, ...] = ()
    partitions: tuple[PartitionResult, ...] = ()
    scores: Scores | None = None
    costs: CostCurve | None = None
    what_if: WhatIf | None = None
    drift: tuple[DriftLine, ...] = ()
    entities: tuple[EntityLine, ...] = ()
    series: tuple[SeriesLine, ...] = ()
    windows: tuple[UnusualWindow, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)
    anomalies: TopAnomalies | None = None
    latents: LatentMap | None = None
    samples: Samples | None = None
    traversals: tuple[Traversal, ...] | None = None
    comparisons: tuple[Comparison, ...] = ()
    training: Training | None = None
    files: tuple[FileLine, ...] = ()
    card: Card | None = None
    absent: Mapping[str, str] = field(default_factory=dict)


def _check_length(name: str, values: Sequence[object] | np.ndarray | pa.Table | None, rows: int) -> None:
    if values is not None and len(values) != rows:
        raise ValueError(f"{name} has the wrong length: expected {rows} rows, got {len(values)}.")
