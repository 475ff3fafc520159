"""What a report shows: plain values, numpy arrays and Arrow tables. Nothing here knows files, bundles or HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from aepipe.storage import PartitionResult


class Header(NamedTuple):
    """What ran, when, with which model."""

    job: str
    model_version: str
    created_at: datetime
    alias: str | None = None
    alpha: float | None = None
    calibration_rows: int | None = None
    is_polluted: bool = False  # anomalies may be among the calibration rows
    is_adaptive: bool = False  # flags follow the stream of nights


class Scores(NamedTuple):
    """The night's scores beside those of the calibration rows; NaN where a row has none."""

    night: np.ndarray
    calibration: np.ndarray | None = None
    threshold: float | None = None  # the smallest score that is flagged


class CostCurve(NamedTuple):
    """What each alpha would cost in a night; `sentence` says what was chosen and on what grounds.

    Without labels and scored nights there is no curve, and without labels there are no measures.
    """

    sentence: str
    alpha: np.ndarray  # (T,), ascending
    cost: np.ndarray
    alarms: np.ndarray
    chosen: float
    capacity: int | None = None
    measures: Mapping[str, float] = {}  # at the chosen alpha


@dataclass(frozen=True, kw_only=True)
class StrangeRows:
    """The rows of greatest score, strangest first; every table and array holds the same rows in the same order.

    scores: as in the scores Parquet (keys, score, p_value, is_anomaly, reason_1, reason_1_z, ...).
    source, reconstruction: the modelled columns as they were read, and as the model expected them.
    images, reconstructed: (N, C, H, W), 0 to `top`.
    """

    scores: pa.Table
    keys: tuple[str, ...] = ()
    partitions: Sequence[str] | None = None
    source: pa.Table | None = None
    reconstruction: pa.Table | None = None
    images: np.ndarray | None = None
    reconstructed: np.ndarray | None = None
    top: int = 255

    def __post_init__(self) -> None:
        for name in ("partitions", "source", "reconstruction", "images", "reconstructed"):
            _same_length(f"StrangeRows.{name}", getattr(self, name), len(self.scores))


@dataclass(frozen=True, kw_only=True)
class LatentMap:
    """Latents of the night's rows, (N, Z); two columns are drawn as they are, more through their principal axes."""

    points: np.ndarray
    scores: np.ndarray
    flagged: np.ndarray
    labels: Sequence[object] | None = None
    label: str = "label"

    def __post_init__(self) -> None:
        for name in ("scores", "flagged", "labels"):
            _same_length(f"LatentMap.{name}", getattr(self, name), len(self.points))


@dataclass(frozen=True, kw_only=True)
class Training:
    """The curve: one number an epoch in each array."""

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
            _same_length(f"Training.{name}", values, len(self.epochs))


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Synthetic rows, as pictures (N, C, H, W) or as a table, and real ones to hold them against."""

    rows: int
    seed: int
    prior: str
    images: np.ndarray | None = None
    real_images: np.ndarray | None = None
    top: int = 255
    table: pa.Table | None = None
    real: pa.Table | None = None
    judged: str | None = None  # the page of their checks, beside this one


class WalkLine(NamedTuple):
    """One column along one strip of a walk: where each row stands on the way, and its value there."""

    strip: str
    column: str
    places: tuple[float, ...]
    values: tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Rows along ways through the latents: strips of pictures (N, S, C, H, W), or the columns that change most.

    title: such as "From 12 to 15". unit: what the places on the way are. places: of each picture, (N, S).
    lines: the greatest change first.
    """

    title: str
    unit: str
    strips: tuple[str, ...] = ()
    places: np.ndarray | None = None
    images: np.ndarray | None = None
    top: int = 255
    lines: tuple[WalkLine, ...] = ()

    def __post_init__(self) -> None:
        for name in ("places", "images"):
            _same_length(f"Walk.{name}", getattr(self, name), len(self.strips))


class Comparison(NamedTuple):
    """One table of measures (greater is better) with the model among its rivals."""

    title: str
    measures: tuple[str, ...]
    lines: Mapping[str, tuple[float, ...]]
    ours: str
    note: str = ""
    ranges: Mapping[str, tuple[tuple[float, float] | None, ...]] = {}  # by line, where a measure likely lies


class FileLine(NamedTuple):
    """A file that was read or written; the path is relative to the job's folder."""

    role: Literal["read", "written"]
    what: str
    path: str
    bytes: int
    digest: str
    rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """What the model is."""

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
    """Everything one report shows. What is absent is left out, with the reason that `absent` gives for it.

    absent: by section: partitions, scores, costs, reasons, strange, latents, samples, walks, comparisons, training,
    files, card.
    """

    header: Header
    notices: tuple[str, ...] = ()
    partitions: tuple[PartitionResult, ...] = ()
    scores: Scores | None = None
    costs: CostCurve | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)  # first reasons of the flagged rows
    strange: StrangeRows | None = None
    latents: LatentMap | None = None
    samples: Samples | None = None
    walks: tuple[Walk, ...] | None = None
    comparisons: tuple[Comparison, ...] = ()
    training: Training | None = None
    files: tuple[FileLine, ...] = ()
    card: Card | None = None
    absent: Mapping[str, str] = field(default_factory=dict)


def _same_length(name: str, values: Sequence[object] | np.ndarray | pa.Table | None, rows: int) -> None:
    if values is not None and len(values) != rows:
        raise ValueError(f"{name} has {len(values)} rows where {rows} were expected")
