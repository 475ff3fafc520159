"""What changes along a walk: its strips, and how far each column moves on each of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.inference.table_model import TableModel
from aepipe.layout import Layout, Number

_PLACES = ("walk_share", "walk_value", "walk_amount")


class TraversalPath(NamedTuple):
    """Rows of a walk that follow each other: which, and where each of them stands on the way."""

    name: str
    rows: NDArray[np.int64]
    places: tuple[float, ...]


class Change(NamedTuple):
    """How far a column moves on a strip, in standard deviations of the training rows (1 for a category), and how."""

    strip: str
    column: str
    size: float
    places: tuple[float, ...]
    values: tuple[object, ...]


def split_paths(walk: pa.Table, keys: Sequence[str]) -> tuple[TraversalPath, ...]:
    """The strips of a walk's table in their order. keys: of the rows that it sets out from."""
    (place,) = (name for name in _PLACES if name in walk.column_names)
    at = walk[place].to_pylist()
    found: dict[str, list[int]] = {}
    for row, name in enumerate(_names(walk, keys)):
        found.setdefault(name, []).append(row)
    return tuple(
        TraversalPath(name, np.asarray(rows, np.int64), tuple(at[row] for row in rows)) for name, rows in found.items()
    )


def changes(model: TableModel, walk: pa.Table, keys: Sequence[str], *, most: int) -> tuple[Change, ...]:
    """The `most` columns that move furthest, the furthest first; none of images."""
    layout = model.bundle.encoding.layout
    if layout.kind != "table":
        return ()
    strips = split_paths(walk, keys)
    features = _features(layout, model.arrays(walk))
    found = [
        Change(strip.name, column, _movement(features[column], strip), strip.places, ())
        for strip in strips
        for column in features
    ]
    ordered = sorted((change for change in found if change.size > 0), key=lambda change: -change.size)[:most]
    rows = {strip.name: strip.rows for strip in strips}
    return tuple(each._replace(values=tuple(walk[each.column].take(rows[each.strip]).to_pylist())) for each in ordered)


def _names(walk: pa.Table, keys: Sequence[str]) -> Iterator[str]:
    """The strip of each row: its latent, the pair that it lies between, or its key."""
    for row in walk.select([name for name in walk.column_names if name.startswith("walk_")]).to_pylist():
        if "walk_dimension" in row:
            yield row["walk_dimension"]
        elif "walk_to" in row:
            yield f"{keys[row['walk_row']]} to {row['walk_to']}"
        else:
            yield keys[row["walk_row"]]


def _features(layout: Layout, arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, list[NDArray[np.generic]]]:
    """By column, its features (B,): numbers in units of their standard deviation, and codes."""
    found: dict[str, list[NDArray[np.generic]]] = {name: [] for name in layout.columns}
    for at, number in enumerate(layout.numbers):
        found[layout.columns[number.column]].append(_standard(number, arrays["num"][:, at].astype(np.float64)))
    for at, category in enumerate(layout.categories):
        found[layout.columns[category.column]].append(arrays["cat"][:, at])
    return found


def _movement(features: Sequence[NDArray[np.generic]], strip: TraversalPath) -> float:
    """The furthest that any feature of a column moves on a strip."""
    along = [values[strip.rows] for values in features]
    is_code = [np.issubdtype(values.dtype, np.integer) for values in along]
    return max(
        float((values != values[0]).any()) if code else float(np.ptp(values))
        for values, code in zip(along, is_code, strict=True)
    )


def _standard(number: Number, values: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled = (np.nan_to_num(values, nan=number.center) - number.center) / number.scale
    if number.transform == "log":
        scaled = np.sign(scaled) * np.log1p(np.abs(scaled))
    return np.asarray((scaled - number.mean) / number.std)
