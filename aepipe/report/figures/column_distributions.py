"""Comparison of real and synthetic columns: distances, and histograms of the columns that differ most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aepipe.quality.column_shapes import kolmogorov_smirnov, total_variation
from aepipe.report import formatting
from aepipe.report.figures.axes import stretch
from aepipe.report.figures.histogram_bins import bin_edges, fitting_scale, shares
from aepipe.report.figures.svg import PALETTE, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLUMNS = 12
_ACROSS = 4
_MOST_VALUES = 8


@dataclass(frozen=True, slots=True)
class ColumnDistribution:
    """Real and synthetic values of one column (numbers or texts) and their distance, 0 to 1."""

    name: str
    real: np.ndarray
    synthetic: np.ndarray
    distance: float

    @property
    def is_number(self) -> bool:
        """True for numbers, False for texts."""
        return self.real.dtype.kind == "f"


def compare_columns(real: pa.Table, synthetic: pa.Table) -> list[ColumnDistribution]:
    """Compare the columns that both tables have, largest distance first."""
    names = [name for name in synthetic.column_names if name in real.column_names]
    found = [_compare_column(name, real.column(name), synthetic.column(name)) for name in names]
    return sorted((m for m in found if m is not None), key=lambda m: (-m.distance, m.name))


def draw_distributions(shown: Sequence[ColumnDistribution], *, name: str = "columns") -> str:
    """Draw a small histogram for each of at most MOST_COLUMNS columns, real filled, synthetic as a line.

    Args:
        shown: the columns.
        name: prefix of the ids; unique within a page.
    """
    shown = shown[:MOST_COLUMNS]
    rows = -(-len(shown) // _ACROSS)

    def paint(figure: "Figure") -> None:
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        grid = figure.subplots(rows, _ACROSS, squeeze=False).ravel()
        for axes, column in zip(grid, shown, strict=False):
            (_paint_numbers if column.is_number else _paint_values)(axes, column)
            title = f"{formatting.text(column.name, most=21)}  {formatting.number(column.distance)}"
            axes.set_title(title, fontsize=8.5, fontweight="normal", pad=4)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
        for axes in grid[len(shown) :]:
            axes.set_axis_off()
        handles = [
            Patch(color=PALETTE["reference"], alpha=0.5, label="real"),
            Line2D([], [], color=PALETTE["current"], label="synthetic"),
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=2)

    label = f"Histograms of {len(shown)} columns, real and synthetic"
    return draw(paint, name=name, label=label, width=700, height=26 + 96 * rows)


def _compare_column(name: str, real: pa.ChunkedArray, synthetic: pa.ChunkedArray) -> ColumnDistribution | None:
    """Compare one column; None if it has no values on one side, or is neither number nor category."""
    real, synthetic = _without_dictionary(real), _without_dictionary(synthetic)
    read = _numbers if _is_number(real.type) and _is_number(synthetic.type) else _texts
    first, second = read(real), read(synthetic)
    if first is None or second is None or not len(first) or not len(second):
        return None
    distance = kolmogorov_smirnov if read is _numbers else total_variation
    return ColumnDistribution(name, first, second, distance(first, second))


def _without_dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    values = np.asarray(pc.cast(column, pa.float64(), safe=False).drop_null(), np.float64)
    return values[np.isfinite(values)]


def _texts(column: pa.ChunkedArray) -> np.ndarray | None:
    """Return categories as texts and dates as months; None for other types."""
    kind = column.type
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return np.array([formatting.NONE if value is None else str(value)[:7] for value in column.to_pylist()])
    if not (pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return None
    return np.array([formatting.cell(value, most=40) for value in column.to_pylist()])


def _paint_numbers(axes: "Axes", column: ColumnDistribution) -> None:
    both = np.concatenate([column.real, column.synthetic])
    scale = fitting_scale(both)
    edges = bin_edges(both, scale, most=24)
    _pair(axes, shares(column.real, edges), shares(column.synthetic, edges), edges)
    stretch(axes, scale, edges[0], edges[-1], most=3)


def _paint_values(axes: "Axes", column: ColumnDistribution) -> None:
    """Draw the shares of the most frequent values of the real rows."""
    values, counts = np.unique(column.real, return_counts=True)
    shown = values[np.argsort(-counts, kind="stable")][:_MOST_VALUES]
    sides = [np.array([np.mean(side == value) for value in shown]) for side in (column.real, column.synthetic)]
    edges = np.arange(len(shown) + 1) - 0.5
    _pair(axes, sides[0], sides[1], edges)
    letters = max(1, int(26 / max(1, len(shown))))
    axes.set_xticks(range(len(shown)), [formatting.text(value, most=max(3, letters)) for value in shown], fontsize=7)


def _pair(axes: "Axes", real: np.ndarray, synthetic: np.ndarray, edges: np.ndarray) -> None:
    axes.stairs(real, edges, fill=True, color=PALETTE["reference"], alpha=0.5, linewidth=0)
    axes.stairs(synthetic, edges, color=PALETTE["current"], linewidth=1.4)
    axes.set_ylim(bottom=0)
