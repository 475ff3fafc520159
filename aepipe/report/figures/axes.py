"""Number formats and labels of axes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aepipe.report import formatting

if TYPE_CHECKING:
    from matplotlib.axis import Axis


def plain_numbers(axis: "Axis") -> None:
    """Format ticks with the digits needed to distinguish them."""
    from matplotlib.ticker import Formatter

    class Plain(Formatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return formatting.number(x, trim=True)

        def format_ticks(self, values: Sequence[float]) -> list[str]:
            return formatting.ticks(values)

    axis.set_major_formatter(Plain())


def thinned(labels: Sequence[str], *, width: float, character: float = 5.4) -> list[int]:
    """Select evenly spaced labels that fit in `width` points, including the last; return their indices.

    >>> thinned(["a"] * 4, width=100.0), thinned(["abcd"] * 10, width=130.0)
    ([0, 1, 2, 3], [1, 5, 9])
    """
    longest = max((len(label) for label in labels), default=1)
    fitting = max(1, int(width / (character * longest + 12)))
    step = -(-len(labels) // fitting)
    return list(range((len(labels) - 1) % step, len(labels), step)) if labels else []
