"""Reference of a bundle for drift: binned distributions of input columns or channels, scores and latents.

The file is optional: bundles of version 0.1.0 have none. Independent of torch.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from aepipe.bundles.bundle import Bundle
from aepipe.config.drift import Drift
from aepipe.encoding import Encoding
from aepipe.errors import BundleCorrupt
from aepipe.frozen import FrozenModel
from aepipe.layout import Category, LatentSpace, Number
from aepipe.metrics.drift import PartitionSpread, first_alike
from aepipe.series.stage import SeriesRows, SeriesStage

FILE = "drift.json"
BINS = 32
MOST_CODES = 256
MOST_ROWS = 200_000
WINDOW = 28
"""Partitions that are compared together if `[drift] window` is 0."""

Arrays = Mapping[str, NDArray[np.generic]]
StreamKind = Literal["column", "score", "latent"]
StreamKey = tuple[StreamKind, str]
"""Kind and name of a stream: a column may have the name of the score or of a latent."""
Named = tuple[str, StreamKind, NDArray[np.generic]]


class ReferenceStream(FrozenModel):
    """Distribution of one quantity: counts of missing values and of ordered bins, or of codes."""

    name: str
    kind: StreamKind
    edges: tuple[float, ...] | None = Field(None, description="upper edges of all bins but the last; None: codes")
    counts: tuple[int, ...] = Field(min_length=2)
    spread: PartitionSpread | None = Field(None, description="of the training partitions; None if they are few")

    @property
    def key(self) -> StreamKey:
        """Kind and name."""
        return self.kind, self.name

    @classmethod
    def fit(
        cls,
        name: str,
        kind: StreamKind,
        values: NDArray[np.generic],
        partitions: NDArray[np.integer] | None = None,
        *,
        settings: Drift | None = None,
    ) -> Self:
        """Bin reference values, (B,): floats by their quantiles, NaN is missing; integers are codes.

        Partitions before a lasting change are left out, as `first_alike` says.

        Args:
            name: name of the quantity.
            kind: what it is.
            values: (B,).
            partitions: number of each value's partition, (B,), ascending in time; None if it is not known.
            settings: `[drift]` of the job; None: the defaults.
        """
        edges = _edges(values)
        if partitions is None or not len(values):
            return cls(name=name, kind=kind, edges=edges, counts=tuple(count_values(values, edges).tolist()))
        settings = settings or Drift()
        numbers, counts = _by_partition(values, edges, partitions)
        first = first_alike(counts, window=settings.window or WINDOW, tolerance=settings.tolerance)
        if first:
            kept = partitions >= numbers[first]
            edges = _edges(values[kept])
            _, counts = _by_partition(values[kept], edges, partitions[kept])
        of_all = tuple(counts.sum(axis=0).tolist())
        return cls(name=name, kind=kind, edges=edges, counts=of_all, spread=PartitionSpread.fit(counts))

    def count(self, values: NDArray[np.generic]) -> NDArray[np.int64]:
        """Count values, (B,), in the bins of the reference."""
        counts = count_values(values, self.edges)
        return counts[: len(self.counts)]


class DriftReference(FrozenModel):
    """Distributions that the rows of later nights are compared with."""

    streams: tuple[ReferenceStream, ...]

    @classmethod
    def fit(
        cls,
        encoding: Encoding,
        latent: LatentSpace,
        inputs: Sequence[Arrays],
        outputs: Arrays,
        *,
        partitions: Sequence[NDArray[np.int32]] | None = None,
        settings: Drift | None = None,
    ) -> Self:
        """Fit a reference.

        Args:
            encoding: encoding of the rows.
            latent: feature columns of the scorer.
            inputs: parts of the training data as encoded rows, by port.
            outputs: outputs of the scorer for held-out rows, by port: the last part of `inputs`.
            partitions: number of each row's partition, by part of `inputs`; None if they are not known.
            settings: `[drift]` of the job; None: the defaults.
        """
        all_rows, held_out = (None, None) if partitions is None else (np.concatenate(partitions), partitions[-1])
        columns = zip(*(tuple(input_streams(encoding, part)) for part in inputs), strict=True)
        joined = [(same[0][0], same[0][1], np.concatenate([values for _, _, values in same])) for same in columns]
        named: list[Named] = [*joined, *output_streams(latent, outputs)]
        return cls.of_streams(named, all_rows, held_out, settings=settings)

    @classmethod
    def of_streams(
        cls,
        named: Iterable[Named],
        of_rows: NDArray[np.integer] | None,
        of_held_out: NDArray[np.integer] | None,
        *,
        settings: Drift | None = None,
    ) -> Self:
        """Bin the values of streams, at most MOST_ROWS of each, evenly spaced.

        Args:
            named: name, kind and values of each stream.
            of_rows: number of the partition of each value of a column; None if it is not known.
            of_held_out: the same for the values of scores and latents.
            settings: `[drift]` of the job; None: the defaults.
        """
        found = []
        for name, kind, values in named:
            step = max(1, -(-len(values) // MOST_ROWS))
            origin = of_rows if kind == "column" else of_held_out
            partitions = origin[::step] if origin is not None and len(origin) == len(values) else None
            found.append(ReferenceStream.fit(name, kind, values[::step], partitions, settings=settings))
        return cls(streams=tuple(found))

    def to_json(self) -> bytes:
        """Serialise to the file form."""
        return (self.model_dump_json() + "\n").encode()


def input_streams(encoding: Encoding, inputs: Arrays) -> Iterator[Named]:
    """Yield name, kind and values of the encoded columns of a table; none for images and windows.

    Datetimes are left out: they move on by themselves. So are texts: their positions are no columns.
    """
    layout = encoding.layout
    kinds = {column.name: column.kind for column in encoding.schema.columns}
    features: tuple[tuple[str, Sequence[Number | Category]], ...] = (
        ("num", layout.numbers),
        ("cat", layout.categories),
    )
    for port, described in features:
        for index, feature in enumerate(described):
            if port in inputs and kinds.get(layout.columns[feature.column]) not in ("datetime", "text"):
                yield feature.name, "column", inputs[port][:, index]


def output_streams(latent: LatentSpace, outputs: Arrays) -> Iterator[Named]:
    """Yield name, kind and values of the score and of the real latents."""
    yield "score", "score", outputs["score"]
    names = {"pooled": latent.pooled} if latent.pooled else {"z": latent.names} if latent.kind == "real" else {}
    for port, columns in names.items():
        for index, name in enumerate(columns):
            if port in outputs:
                yield name, "latent", outputs[port][:, index]


def channel_streams(stage: SeriesStage, rows: SeriesRows) -> Iterator[Named]:
    """Yield name, kind and values of the channels of a series job: points in standard deviations of their entity.

    Entities that come and go, each at its own level, are no drift. Rows that are on no step are left out.
    """
    scaled = stage.scaling.apply(rows.names, rows.entity, rows.values)[rows.reasons == 0]
    for at, name in enumerate(stage.source.channels):
        yield name, "column", scaled[:, at]


def count_values(values: NDArray[np.generic], edges: tuple[float, ...] | None) -> NDArray[np.int64]:
    """Count missing values and the values of each bin, (2 + edges,); without edges, the codes, (MOST_CODES,).

    >>> count_values(np.array([np.nan, 0.0, 1.0, 5.0]), (0.0, 1.0)).tolist()
    [1, 1, 1, 1]
    """
    if edges is None:
        return np.bincount(np.minimum(values.astype(np.int64), MOST_CODES - 1), minlength=MOST_CODES)
    missing = np.isnan(values.astype(np.float64))
    bins = np.searchsorted(np.asarray(edges), values[~missing].astype(np.float64), side="left")
    return np.concatenate([[np.count_nonzero(missing)], np.bincount(bins, minlength=len(edges) + 1)]).astype(np.int64)


def _edges(values: NDArray[np.generic]) -> tuple[float, ...] | None:
    """Return the upper edges of bins of equal shares; None for codes."""
    if not np.issubdtype(values.dtype, np.floating):
        return None
    finite = values[np.isfinite(values)]
    shares = np.arange(1, BINS) / BINS
    found = np.quantile(finite, shares, method="lower") if len(finite) else np.zeros(0)
    return tuple(np.unique(found).astype(np.float64).tolist())


def _by_partition(
    values: NDArray[np.generic], edges: tuple[float, ...] | None, partitions: NDArray[np.integer]
) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """Return the numbers of the partitions, (P,), and count their values, (P, bins)."""
    order = np.argsort(partitions, kind="stable")
    starts = np.flatnonzero(np.diff(partitions[order])) + 1
    numbers = partitions[order][np.concatenate([[0], starts])]
    return numbers, np.stack([count_values(part, edges) for part in np.split(values[order], starts)])


def read_drift_reference(bundle: Bundle) -> DriftReference | None:
    """Return the reference of a bundle; None if it has none. Raises BundleCorrupt if it cannot be read."""
    data = bundle.files.get(FILE)
    if data is None:
        return None
    try:
        found = DriftReference.model_validate_json(data)
    except ValidationError:
        raise BundleCorrupt(
            f"{bundle.path / FILE} is intact, but this version of aepipe cannot read it. Train again."
        ) from None
    if bundle.series is None:
        return found
    columns = tuple(stream.name for stream in found.streams if stream.kind == "column")
    return found if columns == bundle.series.source.channels else None  # older versions described windows, not points
