"""Split a traversal into paths and measure how far each column changes along each of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.inference.table_model import TableModel
from aepipe.layout import Layout

_PLACES = ("walk_share", "walk_value", "walk_amount")


class TraversalPath(NamedTuple):
    """Consecutive rows of a traversal: their row indices, and the position of each on the path."""

    name: str
    rows: NDArray[np.int64]
    places: tuple[float, ...]


class Change(NamedTuple):
    """Range of a column along a path, in standard deviations of the training rows (1 for a category)."""

    path: str
    column: str
    size: float
    places: tuple[float, ...]
    values: tuple[object, ...]


def split_paths(walk: pa.Table, keys: Sequence[str]) -> tuple[TraversalPath, ...]:
    """Split a table of a traversal into its paths, in order. keys: keys of the start rows."""
    (place,) = (name for name in _PLACES if name in walk.column_names)
    positions = walk[place].to_pylist()
    found: dict[str, list[int]] = {}
    for row, name in enumerate(_names(walk, keys)):
        found.setdefault(name, []).append(row)
    return tuple(
        TraversalPath(name, np.asarray(rows, np.int64), tuple(positions[row] for row in rows))
        for name, rows in found.items()
    )


def changes(model: TableModel, walk: pa.Table, keys: Sequence[str], *, most: int) -> tuple[Change, ...]:
    """Return the `most` columns that change furthest, in descending order; empty for images and series."""
    layout = model.bundle.encoding.layout
    if not layout.has_cells:
        return ()
    paths = split_paths(walk, keys)
    features = _features(layout, model.arrays(walk))
    found = [
        Change(path.name, column, _largest_range(features[column], path), path.places, ())
        for path in paths
        for column in features
    ]
    ordered = sorted((change for change in found if change.size > 0), key=lambda change: -change.size)[:most]
    rows = {path.name: path.rows for path in paths}
    return tuple(each._replace(values=tuple(walk[each.column].take(rows[each.path]).to_pylist())) for each in ordered)


def _names(walk: pa.Table, keys: Sequence[str]) -> Iterator[str]:
    """Yield the path of each row: its latent, the pair that it lies between, or its key."""
    for row in walk.select([name for name in walk.column_names if name.startswith("walk_")]).to_pylist():
        if "walk_dimension" in row:
            yield row["walk_dimension"]
        elif "walk_to" in row:
            yield f"{keys[row['walk_row']]} to {row['walk_to']}"
        else:
            yield keys[row["walk_row"]]


def _features(layout: Layout, arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, list[NDArray[np.generic]]]:
    """Return the features of each column, (B,) each: numbers in standard deviations, and codes."""
    found: dict[str, list[NDArray[np.generic]]] = {name: [] for name in layout.sources}
    for index, number in enumerate(layout.numbers):
        values = np.nan_to_num(arrays["num"][:, index].astype(np.float64), nan=number.center)
        scaled = (values - number.center) / number.scale
        if number.transform == "log":
            scaled = np.sign(scaled) * np.log1p(np.abs(scaled))
        found[layout.sources[number.column]].append((scaled - number.mean) / number.std)
    for index, category in enumerate(layout.categories):
        found[layout.sources[category.column]].append(arrays["cat"][:, index])
    return found


def _largest_range(features: Sequence[NDArray[np.generic]], path: TraversalPath) -> float:
    """Return the largest range of any feature of a column along a path."""
    along = [values[path.rows] for values in features]
    is_code = [np.issubdtype(values.dtype, np.integer) for values in along]
    return max(
        float((values != values[0]).any()) if code else float(np.ptp(values))
        for values, code in zip(along, is_code, strict=True)
    )
