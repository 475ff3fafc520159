"""Typed details of a run, one model per kind of run: counts, settings and timings that a manifest records."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

RunName = Literal["score", "sample", "fill", "walk", "recommend"]


def counted_reasons(counts: Mapping[str, int]) -> str:
    """Return reasons with the number of rows of each, the most frequent first.

    >>> counted_reasons({"when is out of range": 2, "amount is infinite": 1_200})
    'amount is infinite (1,200), when is out of range (2)'
    """
    return ", ".join(f"{reason} ({rows:,})" for reason, rows in sorted(counts.items(), key=lambda item: -item[1]))


class RunDetails(BaseModel):
    """Base of the details.

    Every field has a default and unknown fields are ignored, so that manifests of other versions can be read. Only
    fields that were set are written.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _to_json_types(cls, values: object) -> object:
        return to_json_types(values)

    @model_serializer(mode="wrap")
    def _only_set_fields(self, serialize: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if name in self.model_fields_set}


class StreamDetails(RunDetails):
    """State of an adaptive stream of flags after a partition."""

    after: str | None = Field(None, description="the partition before; None: the stream starts here")
    alpha: float = 0.0
    scores: tuple[float, ...] = Field((), description="buffer of the latest scores, oldest first")


class DeadChannel(RunDetails):
    """Channel of one entity without a value in a partition, or with a single one for longer than in training."""

    entity: str = ""
    channel: str = ""
    value: float | None = Field(None, description="the only value; None: there is none")
    longest: int = Field(0, description="points in a row that had one value in training, at most")


class ScoreDetails(RunDetails):
    """Counts, settings and timings of a scored partition."""

    rows: int = 0
    flagged: int = 0
    cell_flagged: int = Field(0, description="flagged rows with a flagged cell; not set without an alarm for cells")
    flag_reasons: Mapping[str, int] = Field(
        default_factory=dict, description="flagged rows by first reason, the ten most frequent"
    )
    invalid: Mapping[str, int] = Field(default_factory=dict, description="rows without a score, by reason")
    unseen: Mapping[str, int] = Field(default_factory=dict, description="values that training never saw, by column")
    cut: Mapping[str, int] = Field(
        default_factory=dict, description="texts and lists longer than the model reads, by column; not set without any"
    )
    extra_columns: tuple[str, ...] = Field((), description="columns of the source that the model does not use")
    inputs: Mapping[str, str] = Field(default_factory=dict, description="digests of the source files, by path")
    checksums: Literal["files", "pages", "none"] | None = Field(
        None, description="how damage inside a source file is noticed: known digests, page checksums, or not at all"
    )
    alpha: float | None = None
    alpha_means: str = ""
    threshold: float | None = Field(None, description="lowest score that is flagged; None: no score is")
    threshold_chosen: str | None = None
    calibration: str | None = Field(None, description="digest of the calibration that flagged the rows")
    stream: StreamDetails | None = Field(None, description="None: flags did not adapt")
    context: Mapping[str, str] = Field(
        default_factory=dict, description="digests of the files of other partitions that windows reach into, by path"
    )
    duplicates: int = Field(0, description="rows of a series job that another row of the same step replaces")
    events: int = Field(0, description="events of a series job")
    absent: tuple[str, ...] = Field((), description="channels of a series job without a value in the partition")
    dead: tuple[DeadChannel, ...] = Field((), description="channels of single entities that are dead, the first ones")
    dead_count: int = Field(0, description="channels of single entities that are dead")
    feedback: str | None = Field(None, description="digest of the feedback log at the time of the run")
    provider: str = Field("", description="ONNX Runtime execution provider")
    batch_rows: int = 0
    seconds: Mapping[str, float] = Field(default_factory=dict, description="by stage, summed over threads")
    over_io: float | None = Field(None, description="seconds of all stages divided by seconds of Parquet I/O")
    wall_s: float | None = None
    rows_per_s: float | None = None

    @property
    def has_cells(self) -> bool:
        """True if the scores have the columns of the alarm for cells."""
        return "cell_flagged" in self.model_fields_set


class SampleDetails(RunDetails):
    """Request, quality and rejections of a partition of synthetic rows."""

    rows: int = 0
    seed: int = 0
    prior: str = ""
    where: str | None = None
    shares: Mapping[str, Mapping[str, float]] = Field(default_factory=dict)
    tokens: Mapping[str, float] = Field(default_factory=dict, description="temperature, top_k and top_p, if set")
    quality: Mapping[str, float | None] = Field(default_factory=dict, description="measured; empty: not measured")
    rejected: Mapping[str, int] = Field(default_factory=dict, description="rows drawn and rejected, by constraint")
    entities: tuple[str, ...] = Field((), description="series job: entities that were drawn")
    left_out: tuple[str, ...] = Field((), description="series job: entities with too few training steps")
    calendar: str = Field("", description="series job: cycles that the series follow")
    windows: int = Field(0, description="series job: number of single windows; 0: whole series")


class ImputeDetails(RunDetails):
    """Imputed cells of a partition."""

    seed: int = 0
    filled: Mapping[str, int] = Field(default_factory=dict, description="imputed cells, by column")
    left: Mapping[str, int] = Field(default_factory=dict, description="cells that stay missing, by column")


class RecommendDetails(RunDetails):
    """Ranked items of a partition."""

    items: int = Field(0, description="maximum number of items of a row")


class TraversalDetails(RunDetails):
    """Start rows and settings of a latent traversal."""

    kind: str = ""
    keys: tuple[str, ...] = ()
    steps: int | None = None
    how: str | None = Field(None, description="of an interpolation: slerp or lerp")
    condition: str | None = Field(None, description="of a shift: the attribute")
    amount: float | None = Field(None, description="of a shift")
    vector: tuple[float, ...] | None = Field(None, description="of a shift: the direction in latent space")
    dimensions: tuple[str, ...] | None = Field(None, description="of a traversal: the latents; None: all")


_PLAIN = frozenset({str, int, bool, type(None)})
"""Types of values that stay as they are."""


def to_json_types(value: object) -> object:
    """Convert numpy scalars, tuples and mappings to the types of JSON; NaN and infinities become None.

    >>> to_json_types({"rows": np.int64(3), "mean": math.nan})
    {'rows': 3, 'mean': None}
    """
    if isinstance(value, dict | Mapping):
        # a nightly run converts the manifests of all nights: calls for plain values would take most of the time
        return {str(key): item if type(item) in _PLAIN else to_json_types(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_types(item) for item in value]
    if isinstance(value, np.generic):
        return to_json_types(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
