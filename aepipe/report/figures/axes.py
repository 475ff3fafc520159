"""Number formats, ticks and legends shared by all figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aepipe.report import formatting
from aepipe.report.figures.histogram_bins import Scale, round_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis


def stretch(axes: "Axes", scale: Scale, low: float, high: float, *, most: int = 9) -> None:
    """Set the x axis to the range from `low` to `high` on the scale, with round, roughly evenly spaced ticks."""
    if scale.name == "linear":
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]))
    else:
        axes.set_xscale("function", functions=(scale.forward, scale.inverse))
        axes.set_xticks(round_ticks(scale, low, high, most=most))
    axes.set_xlim(low, high)
    axes.minorticks_off()
    plain_numbers(axes.xaxis)


def plain_numbers(axis: "Axis") -> None:
    """Format ticks with the digits needed to distinguish them."""
    from matplotlib.ticker import Formatter

    class Plain(Formatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return formatting.number(x, trim=True)

        def format_ticks(self, values: Sequence[float]) -> list[str]:
            return formatting.ticks(values)

    axis.set_major_formatter(Plain())


def percentages(axis: "Axis") -> None:
    """Format ticks as percentages."""
    axis.set_major_formatter(lambda value, _: formatting.percent(value, trim=True))


def legend_above(axes: "Axes", *, columns: int = 4, **options: Any) -> None:
    """Draw a legend in one line between the title and the plot, where it hides nothing."""
    handles, _ = axes.get_legend_handles_labels()
    if handles or "handles" in options:
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, borderpad=0.1, **options)


def thinned(labels: Sequence[str], *, width: float, character: float = 5.4) -> list[int]:
    """Select evenly spaced labels that fit in `width` points, including the last; return their indices.

    >>> thinned(["a"] * 4, width=100.0), thinned(["abcd"] * 10, width=130.0)
    ([0, 1, 2, 3], [1, 5, 9])
    """
    longest = max((len(label) for label in labels), default=1)
    fitting = max(1, int(width / (character * longest + 12)))
    step = -(-len(labels) // fitting)
    return list(range((len(labels) - 1) % step, len(labels), step)) if labels else []
