"""Comparison of real and synthetic columns: distances, and histograms of the columns that differ most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aepipe.quality.column_shapes import kolmogorov_smirnov, total_variation
from aepipe.report import formatting
from aepipe.report.figures.histogram_bins import bin_edges, fitting_scale, shares
from aepipe.report.figures.panel import Axis, Panel, Stroke, drawing, numbered
from aepipe.report.figures.svg import PALETTE

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
    panels = []
    for at, column in enumerate(shown):
        panel = (_paint_numbers if column.is_number else _paint_values)(column)
        panel.title = f"{formatting.text(column.name, most=21)}  {formatting.number(column.distance)}"
        panel.title_style = "font-size: 8.5px"
        down, across = divmod(at, _ACROSS)
        panel.fit(175 * across, 26 + 96 * down, 175 * (across + 1), 26 + 96 * (down + 1))
        panels.append(panel)
    legend = Panel(Axis(0, 1), Axis(0, 1))
    _pair(legend, np.zeros(1), np.zeros(1), np.array([0.0, 1.0]), names=("real", "synthetic"))
    legend.box = (0.0, 16.0, 700.0, 16.0)
    label = f"Histograms of {len(shown)} columns, real and synthetic"
    return drawing(panels, name=name, label=label, width=700, height=26 + 96 * rows, more=legend.keys())


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


def _paint_numbers(column: ColumnDistribution) -> Panel:
    both = np.concatenate([column.real, column.synthetic])
    scale = fitting_scale(both)
    edges = bin_edges(both, scale, most=24)
    x = numbered(scale, float(edges[0]), float(edges[-1]), most=3)
    return _of_pair(shares(column.real, edges), shares(column.synthetic, edges), edges, x)


def _paint_values(column: ColumnDistribution) -> Panel:
    """Draw the shares of the most frequent values of the real rows."""
    values, counts = np.unique(column.real, return_counts=True)
    shown = values[np.argsort(-counts, kind="stable")][:_MOST_VALUES]
    real, synthetic = (
        np.array([np.mean(side == value) for value in shown]) for side in (column.real, column.synthetic)
    )
    edges = np.arange(len(shown) + 1) - 0.5
    letters = max(1, int(26 / max(1, len(shown))))
    names = [formatting.text(value, most=max(3, letters)) for value in shown]
    x = Axis(edges[0], edges[-1], ticks=range(len(shown)), names=names, size=7)
    return _of_pair(real, synthetic, edges, x)


def _of_pair(real: np.ndarray, synthetic: np.ndarray, edges: np.ndarray, x: Axis) -> Panel:
    panel = Panel(x, Axis(0, 1.05 * max(real.max(initial=0), synthetic.max(initial=0), 1e-9)))
    _pair(panel, real, synthetic, edges)
    return panel


def _pair(
    panel: Panel, real: np.ndarray, synthetic: np.ndarray, edges: np.ndarray, *, names: tuple[str, str] = ("", "")
) -> None:
    panel.area(real, edges, colour=PALETTE["reference"], opacity=0.5, label=names[0])
    panel.stairs(synthetic, edges, Stroke(PALETTE["current"], 1.4), label=names[1])
