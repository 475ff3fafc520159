"""Page of a set of synthetic series: moments and stylised facts of each channel, and of the training steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.quality.stylised_facts import StylisedFacts, fact_names, fact_values, stylised_facts
from aepipe.report import formatting
from aepipe.report.render import environment
from aepipe.report.sample_page import NO_GUARANTEE

MOMENTS = ("mean", "deviation")


class ChannelFacts(NamedTuple):
    """Facts of one channel over all entities, each standardised by its own training rows."""

    mean: float
    deviation: float
    facts: StylisedFacts

    @property
    def values(self) -> tuple[float, ...]:
        """Values in the order of `MOMENTS` and `fact_names`."""
        return (self.mean, self.deviation, *fact_values(self.facts))


@dataclass(frozen=True, kw_only=True)
class SeriesSamplePage:
    """Content of the page; facts: of the synthetic series, then of the real ones, by channel."""

    job: str
    model_version: str
    partition: str
    written_at: datetime
    rows: int
    seed: int
    entities: int
    calendar: str
    channels: Sequence[str]
    facts: Sequence[tuple[ChannelFacts, ChannelFacts]]


def facts_of(
    drawn: Mapping[str, Sequence[NDArray[np.float64]]], real: Mapping[str, NDArray[np.float64]]
) -> list[tuple[ChannelFacts, ChannelFacts]]:
    """Return the facts of each channel of synthetic and of real series.

    Args:
        drawn: Scaled values by entity, (B, S, F) each.
        real: Scaled training steps by entity, (S, F), NaN where missing.
    """
    synthetic = [series for parts in drawn.values() for part in parts for series in part]
    return [
        (_channel_facts([each[:, channel] for each in synthetic]), _channel_facts([each[:, channel] for each in known]))
        for known in [list(real.values())]
        for channel in range(known[0].shape[1])
    ]


def render_series_sample_page(page: SeriesSamplePage) -> str:
    """Render the page as HTML; equal pages give equal bytes."""
    rows = [
        (
            name,
            *(formatting.number(value) for pair in zip(*(side.values for side in both), strict=True) for value in pair),
        )
        for name, both in zip(page.channels, page.facts, strict=True)
    ]
    return (
        environment()
        .get_template("series_samples.html")
        .render(page=page, guarantee=NO_GUARANTEE, names=(*MOMENTS, *fact_names()), rows=rows)
    )


def _channel_facts(series: Sequence[NDArray[np.float64]]) -> ChannelFacts:
    values = np.concatenate(series)
    known = values[np.isfinite(values)]
    mean, deviation = (float(known.mean()), float(known.std())) if len(known) else (float("nan"), float("nan"))
    owner = np.repeat(np.arange(len(series)), [len(each) for each in series])
    return ChannelFacts(mean, deviation, stylised_facts(values, owner))
