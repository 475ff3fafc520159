"""How alike pairs of columns are, as a map of squares."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from aepipe.report import formatting as wording
from aepipe.report.figures.svg import LEVELS, PALETTE, draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COLUMNS = 30
_EDGES = (0.0, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 1.0)
"""Of 1 - similarity; one more than there are levels."""


def heat_map(names: Sequence[str], similarity: np.ndarray) -> str:
    """The similarity of each pair (P, P), the darker the less alike; the 30 columns that are least like the real ones.

    Pairs that are unknown are left blank.
    """
    kept = _least_alike(similarity)
    apart = np.ma.masked_invalid(1 - similarity[np.ix_(kept, kept)])
    np.fill_diagonal(apart, np.ma.masked)
    labels = [wording.text(names[at], most=18) for at in kept]

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
        bar.ax.set_yticklabels([wording.number(1 - edge, trim=True) for edge in _EDGES])
        bar.outline.set_visible(False)

    side = 150 + 18 * len(kept)
    return draw(paint, name="heat", label="Likeness of each pair of columns", width=min(side + 90, 700), height=side)


def _least_alike(similarity: np.ndarray) -> np.ndarray:
    """At most 30 columns in their order."""
    known = np.where(np.isfinite(similarity), similarity, 1.0)
    return np.sort(np.argsort(known.mean(axis=1), kind="stable")[:MOST_COLUMNS])
