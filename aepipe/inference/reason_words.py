"""Descriptions of unusual cells of one row, in words."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta

import numpy as np
import pyarrow as pa

from aepipe.bundles.bundle import Bundle
from aepipe.errors import AepipeError
from aepipe.inference.related_rows import related_rows
from aepipe.layout import MISSING, RARE, UNSEEN

TOGETHER = "usual by itself, unusual with the other columns"
_USUAL_TOKENS = "each token is usual after the ones before it"

_TIMES = (date, datetime, time, timedelta)


def describe_cells(bundle: Bundle, source: pa.Table, expected: pa.Table) -> dict[str, str]:
    """Describe each modelled column of a row: a value outside training, else a broken rule, else the difference.

    Args:
        bundle: model of a table.
        source: the row, one row.
        expected: its reconstruction, one row.

    Returns:
        A clause by column; no entry for a column without a value to compare.
    """
    source = source.select(
        [column.name for column in bundle.encoding.schema.modelled if column.name in source.schema.names]
    )
    read, rebuilt = source.to_pylist()[0], expected.to_pylist()[0]
    texts = {text.name for text in bundle.encoding.layout.texts}
    outside = dict(_outside_training(bundle, source))
    broken = broken_rules(bundle, source)
    found = {}
    for column in bundle.encoding.layout.columns:
        rule = next((f"breaks {title}" for title, columns in broken.items() if column in columns), "")
        if words := outside.get(column) or rule or _difference(read.get(column), rebuilt.get(column)):
            found[column] = _USUAL_TOKENS if column in texts and words != TOGETHER else words
    return found


def broken_rules(bundle: Bundle, source: pa.Table) -> dict[str, tuple[str, ...]]:
    """Return the columns of each rule that a row breaks, by title, such as `gross = net + vat`.

    Rules are relations that hold in nearly all training rows.
    """
    rows = related_rows(bundle)
    shares = rows.shares(source)
    return {
        each.title: (each.target, *each.sources)
        for each, share in zip(rows.relations, shares, strict=True)
        if each.is_exact and share == 0.0
    }


def _outside_training(bundle: Bundle, source: pa.Table) -> Iterator[tuple[str, str]]:
    """Yield columns whose value is missing, rare, never seen in training, or outside its range."""
    layout = bundle.encoding.layout
    try:
        arrays: Mapping[str, np.ndarray] = bundle.encoding.encode_table(source, rows=1).arrays
    except AepipeError:  # the row cannot be scored either, which says why
        return
    names = {MISSING: "missing", UNSEEN: "never seen in training", RARE: "rare value"}
    texts = {text.column for text in layout.texts}
    for index, category in enumerate(layout.categories):
        if category.column in texts:  # an unknown token is usual; unlikely tokens are described by themselves
            continue
        code = int(arrays["cat"][0, index])
        if code in names:
            yield layout.columns[category.column], names[code]
    for index, number in enumerate(layout.numbers):
        value = float(arrays["num"][0, index])
        column = layout.columns[number.column]
        if np.isnan(value):
            yield column, "missing"
        elif number.low is not None and value < number.low:
            yield column, "below all training values"
        elif number.high is not None and value > number.high:
            yield column, "above all training values"


def _difference(read: object, expected: object) -> str:
    """Compare a value with its reconstruction; empty if they cannot be compared.

    >>> _difference(7.5, 5.0), _difference("x", "y"), _difference(5, 5)
    ('too high given the other columns', 'the other columns suggest another value', \
'usual by itself, unusual with the other columns')
    """
    if read is None or expected is None or isinstance(read, list | dict | bytes):
        return ""
    if isinstance(read, float) and isinstance(expected, float) and f"{read:.3g}" == f"{expected:.3g}":
        return TOGETHER
    if read == expected:
        return TOGETHER
    if isinstance(read, bool | str) or type(read) is not type(expected):
        return "the other columns suggest another value"
    is_more = read > expected  # type: ignore[operator]
    if isinstance(read, _TIMES):
        return f"{'later' if is_more else 'earlier'} than the other columns suggest"
    return f"too {'high' if is_more else 'low'} given the other columns"
