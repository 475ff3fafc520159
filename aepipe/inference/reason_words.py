"""Descriptions of unusual cells of one row, in words."""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.drift_reference import MOST_CODES, ReferenceStream, read_drift_reference
from aepipe.encoding import Encoding
from aepipe.encoding.binned.datetime import DatetimeCodes
from aepipe.encoding.binned.number import NumberCodes
from aepipe.encoding.binned.vector import VectorCodes
from aepipe.encoding.tags import TagsCodec
from aepipe.encoding.vector import VectorCodec
from aepipe.inference.related_rows import related_rows
from aepipe.layout import MISSING, RARE, UNSEEN, Category, Number

TOGETHER = "usual by itself, unusual with the other columns"
RARE_SHARE = 0.01
"""Share of the training rows below which the value of a category is rare."""
FEWEST_BINS = 16
"""Least number of bins of a number's training values by which a value is among the highest, or near another value."""

_USUAL_TOKENS = "each token is usual after the ones before it"
_ANOTHER = "the other columns suggest another value"
_BINNED = (NumberCodes, DatetimeCodes, VectorCodes)
_TIMES = (date, datetime, time)

Arrays = Mapping[str, np.ndarray]


class _Feature(NamedTuple):
    """Feature of a column with its encoded value, and with the value of the reconstruction."""

    made: Number | Category
    value: float
    guess: float


class CellDescriber:
    """Clauses that say what is unusual about the cells of a row."""

    def __init__(self, bundle: Bundle) -> None:
        self._encoding = bundle.encoding
        self._rules = related_rows(bundle)
        reference = read_drift_reference(bundle)
        streams = () if reference is None else reference.streams
        self._streams = {stream.name: stream for stream in streams if stream.kind == "column"}
        codecs = bundle.encoding.codecs
        self._binned = {name for codec in codecs if isinstance(codec, _BINNED) for name in codec.columns}
        self._vectors = {codec.name for codec in codecs if isinstance(codec, VectorCodec)}

    def describe(self, source: pa.Table, expected: pa.Table) -> dict[str, str]:
        """Describe each modelled column: outside training, else a broken rule, else rare, else the difference.

        Args:
            source: the row, one row.
            expected: its reconstruction, one row.

        Returns:
            A clause by column, for every column of the layout.
        """
        layout = self._encoding.layout
        row = self._encoding.conformed(_one_batch(source))
        rebuilt = row
        for name, column in zip(expected.schema.names, _one_batch(expected).columns, strict=True):
            rebuilt = rebuilt.set_column(rebuilt.schema.get_field_index(name), name, column)
        features = self._features(row, rebuilt)
        values, guesses = (
            cell_columns(self._encoding, pa.Table.from_batches([each])).to_pylist()[0] for each in (row, rebuilt)
        )
        broken = self.broken_rules(source)
        texts = {text.column for text in layout.texts}
        found = {}
        for index, column in enumerate(layout.columns):
            rule = next((f"breaks {title}" for title, columns in broken.items() if column in columns), "")
            if index in texts:
                is_equal = values[column] == guesses[column]
                found[column] = rule or (TOGETHER if is_equal else _USUAL_TOKENS)
                continue
            parts = features[index]
            words = self._outside_training(column, parts) or rule or self._rarity(column, parts)
            found[column] = words or self._difference(column, parts, values[column], guesses[column])
        return found

    def broken_rules(self, source: pa.Table) -> dict[str, tuple[str, ...]]:
        """Return the columns of each rule that a row breaks, by title, such as `gross = net + vat`.

        Rules are relations that hold in nearly all training rows.
        """
        rows = pa.Table.from_batches([self._encoding.conformed(_one_batch(source))])
        return {
            each.title: (each.target, *each.sources)
            for each, share in zip(self._rules.relations, self._rules.shares(rows), strict=True)
            if each.is_exact and share == 0.0
        }

    def _features(self, row: pa.RecordBatch, rebuilt: pa.RecordBatch) -> list[list[_Feature]]:
        """Return the features of each column of the layout."""
        layout = self._encoding.layout
        read, guess = (self._encoding.encode(each).arrays for each in (row, rebuilt))
        found: list[list[_Feature]] = [[] for _ in layout.columns]
        described: tuple[tuple[str, tuple[Number | Category, ...]], ...] = (
            ("num", layout.numbers),
            ("cat", layout.categories),
        )
        for port, features in described:
            for at, feature in enumerate(features):
                pair = (float(arrays[port][0, at]) for arrays in (read, guess))
                found[feature.column].append(_Feature(feature, *pair))
        return found

    def _outside_training(self, column: str, parts: list[_Feature]) -> str:
        """Return that a value is missing, rare, never seen in training, or outside its range; else nothing."""
        unseen = "far outside all training values" if column in self._binned else "never seen in training"
        for feature, value, _ in parts:
            subject = f"{feature.name} is " if column in self._vectors else ""
            if np.isnan(value):
                return "missing"
            if isinstance(feature, Category):
                names = {MISSING: "missing", UNSEEN: unseen, RARE: "rare value"}
                if value in names:
                    return names[int(value)]
                continue
            low, high = (np.inf if end is None else sign * end for sign, end in ((-1, feature.low), (1, feature.high)))
            if value > high or -value > low:
                return subject + _beyond(feature.name.removeprefix(column), is_above=value > high)
        return ""

    def _rarity(self, column: str, parts: list[_Feature]) -> str:
        """Return that few training rows have this value of a category; else nothing."""
        if column in self._binned or len(parts) != 1 or not isinstance(parts[0].made, Category):
            return ""
        code, stream = int(parts[0].value), self._streams.get(parts[0].made.name)
        if stream is None or not code < min(len(stream.counts), MOST_CODES - 1):
            return ""
        share = stream.counts[code] / max(1, sum(stream.counts))
        if not share:
            return "never seen in training"
        return f"rare value: in {100 * share:.2g} % of training rows" if share < RARE_SHARE else ""

    def _difference(self, column: str, parts: list[_Feature], read: object, guess: object) -> str:
        """Compare a value with its reconstruction."""
        if guess is None:
            return "the other columns suggest a missing value"
        if column in self._vectors:
            feature, value, other = max(parts, key=_distance)
            return _where(self._streams.get(feature.name), f"{feature.name} is ", value, other)
        if len(parts) == 1 and isinstance(parts[0].made, Number) and not isinstance(read, timedelta | time):
            return _where(self._streams.get(parts[0].made.name), "", parts[0].value, parts[0].guess)
        return _compared(read, guess)


def cell_columns(encoding: Encoding, rows: pa.Table) -> pa.Table:
    """Return the columns of the layout: of a list of text, what it says about each member. Structs must be flat."""
    found: dict[str, pa.ChunkedArray | list[str | int | None]] = {}
    for codec in encoding.codecs:
        if isinstance(codec, TagsCodec):
            lists = rows[codec.name].to_pylist()
            found |= {name: [codec.read(members, name) for members in lists] for name in codec.columns}
        else:
            found[codec.name] = rows[codec.name]
    return pa.table(found)


def _one_batch(rows: pa.Table) -> pa.RecordBatch:
    (batch,) = rows.combine_chunks().to_batches()
    return batch


def _beyond(part: str, *, is_above: bool) -> str:
    """Say that a number, or a part of a time, is outside its training range."""
    if part == ".week":
        return f"{'later' if is_above else 'earlier'} than all training values"
    if part == ".time":
        return f"{'later' if is_above else 'earlier'} in the day than all training values"
    return f"{'above' if is_above else 'below'} all training values"


def _distance(part: _Feature) -> float:
    """Return how far a number is from its reconstruction, as a share of its training range."""
    assert isinstance(part.made, Number)
    low, high = part.made.low or 0.0, part.made.high or 0.0
    return abs(part.value - part.guess) / (high - low or 1.0)


def _where(stream: ReferenceStream | None, subject: str, value: float, guess: float) -> str:
    """Compare a number with its reconstruction by the bins of its training values, or by three digits.

    A number in the bin of its reconstruction does not differ from it: bins hold about equally many training values.
    """
    bins = None
    if stream is not None and stream.edges is not None and len(stream.edges) + 1 >= FEWEST_BINS:
        bins = [int(np.searchsorted(stream.edges, each)) for each in (value, guess)]
    is_equal = value == guess or f"{value:.3g}" == f"{guess:.3g}"
    last = 0 if stream is None or stream.edges is None else len(stream.edges)
    if bins is not None and (is_equal or bins[0] == bins[1]) and bins[0] in (0, last):
        assert stream is not None
        share = stream.counts[1 + bins[0]] / max(1, sum(stream.counts))
        return f"{subject}among the {'highest' if bins[0] else 'lowest'} {100 * share:.2g} % of training values"
    if is_equal or (bins is not None and bins[0] == bins[1]):
        return TOGETHER
    return f"{subject}too {'high' if value > guess else 'low'} given the other columns"


def _compared(read: object, guess: object) -> str:
    """Compare a value with its reconstruction by their types.

    >>> _compared(timedelta(hours=2), timedelta(hours=1)), _compared("x", "y"), _compared(5, 5)
    ('too long given the other columns', 'the other columns suggest another value', \
'usual by itself, unusual with the other columns')
    """
    if read == guess:
        return TOGETHER
    is_amount = isinstance(read, int | float | Decimal) and not isinstance(read, bool)
    if not is_amount and not isinstance(read, timedelta | date | time):
        return _ANOTHER
    is_more = read > guess  # type: ignore[operator]
    if isinstance(read, timedelta):
        return f"too {'long' if is_more else 'short'} given the other columns"
    if isinstance(read, _TIMES):
        return f"{'later' if is_more else 'earlier'} than the other columns suggest"
    return f"too {'high' if is_more else 'low'} given the other columns"
