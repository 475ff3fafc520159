"""Heatmap of the similarity of column pairs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from aepipe.report import formatting
from aepipe.report.figures.svg import LEVELS, PALETTE, draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COLUMNS = 30
_EDGES = (0.0, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 1.0)
"""Colour boundaries of 1 - similarity; one more than LEVELS."""


def draw_pair_heatmap(names: Sequence[str], similarity: np.ndarray) -> str:
    """Draw the similarity of each pair of the 30 least similar columns; darker is less similar, blank is unknown.

    Args:
        names: the columns, (P,).
        similarity: similarity of each pair, (P, P), 0 to 1; NaN if unknown.
    """
    known = np.where(np.isfinite(similarity), similarity, 1.0)
    kept = np.sort(np.argsort(known.mean(axis=1), kind="stable")[:MOST_COLUMNS])
    apart = np.ma.masked_invalid(1 - similarity[np.ix_(kept, kept)])
    np.fill_diagonal(apart, np.ma.masked)
    labels = [formatting.text(names[index], most=18) for index in kept]

    def paint(figure: "Figure") -> None:
        from matplotlib.colors import BoundaryNorm, ListedColormap

        axes = figure.add_subplot()
        colours = ListedColormap(list(LEVELS))
        mesh = axes.pcolormesh(apart, cmap=colours, norm=BoundaryNorm(_EDGES, len(LEVELS)), edgecolors=PALETTE["paper"])
        axes.set_aspect("equal")
        axes.invert_yaxis()
        middle = np.arange(len(labels)) + 0.5
        axes.set_xticks(middle, labels, rotation=60, ha="right", fontsize=7.5)
        axes.set_yticks(middle, labels, fontsize=7.5)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        bar = figure.colorbar(mesh, ax=axes, ticks=_EDGES, spacing="uniform", shrink=0.8)
        bar.ax.set_yticklabels([formatting.number(1 - edge, trim=True) for edge in _EDGES])
        bar.outline.set_visible(False)

    side = 150 + 18 * len(kept)
    return draw(paint, name="heat", label="Similarity of each pair of columns", width=min(side + 90, 700), height=side)
