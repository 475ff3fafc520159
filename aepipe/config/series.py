"""Series jobs: long tables with one row per entity and time."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from aepipe.frozen import FrozenModel

FEWEST_STEPS, MOST_STEPS = 4, 10_000
"""Bounds of the window length."""

MOST_CHANNELS_OF_WINDOWS = 8
"""Channels up to which a network reads whole windows.

On generated machines with 12 and 30 correlated channels, a network of single steps finds planted faults far better.
"""

LONGEST_GAP = 3
"""Missing steps that a window may contain in a row, unless the job sets another number."""

_UNITS = {
    "us": 1,
    "ms": 10**3,
    "s": 10**6,
    "min": 60 * 10**6,
    "h": 3_600 * 10**6,
    "d": 86_400 * 10**6,
    "w": 7 * 86_400 * 10**6,
}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]+)")


def parse_duration(text: str) -> int | None:
    """Return the microseconds of a duration; None if the text is not one.

    >>> parse_duration("5min"), parse_duration("1.5 h"), parse_duration("often")
    (300000000, 5400000000, None)
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or match[2] not in _UNITS:
        return None
    return round(float(match[1]) * _UNITS[match[2]]) or None


def _is_step(text: str) -> str:
    if text not in ("auto", "row") and parse_duration(text) is None:
        raise ValueError(f"step is not a duration: expected auto, row or a duration such as 5min or 1h, got {text!r}")
    return text


class Series(FrozenModel):
    """Long table of series, scored point by point; the presence of this section makes the job a series job."""

    entity: tuple[str, ...] = Field((), description="columns that identify a series; default: one series")
    values: tuple[str, ...] = Field((), description="columns of the channels; default: all numbers")
    step: Annotated[str, AfterValidator(_is_step)] = Field(
        "auto",
        description="time between two steps: auto, the most frequent difference; a duration such as 5min; row, the "
        "order alone",
    )
    window: Literal["auto"] | Annotated[int, Field(ge=FEWEST_STEPS, le=MOST_STEPS)] = Field(
        "auto", description="steps of a window; auto: 100, or a multiple of the period between 64 and 200"
    )
    gap: Literal["split"] | Annotated[int, Field(ge=0, le=1_000)] = Field(
        "split", description=f"missing steps in a row that a window may contain; split: {LONGEST_GAP}"
    )
    reads: Literal["auto", "windows", "steps"] = Field(
        "auto",
        description="what the network reads: windows, or single steps whose scores are averaged over the window; auto: "
        f"windows of up to {MOST_CHANNELS_OF_WINDOWS} channels, steps of more if the trunk is mlp",
    )
    scale: Literal["entity", "pooled", "none"] = Field(
        "entity",
        description="standardise channels by the training part of each entity, of all entities, or not; an entity that "
        "training did not see is scaled like all entities together",
    )
    context: bool = Field(True, description="windows reach into earlier partitions")
    revise: bool = Field(
        False,
        description="score the last points of a partition again when the next partition has arrived, so that every "
        "window that contains them counts",
    )

    @field_validator("entity", "values", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @property
    def longest_gap(self) -> int:
        """Missing steps in a row that a window may contain."""
        return LONGEST_GAP if self.gap == "split" else self.gap

    def role_faults(
        self, roles: Mapping[str, Sequence[str]], kinds: Mapping[str, str | None], *, entity: Sequence[str]
    ) -> Iterator[str]:
        """Yield what is wrong with the roles of columns.

        Args:
            roles: columns of labels and event time, by key of the job.
            kinds: kinds that `[columns]` names.
            entity: columns that `[data] entity` names.
        """
        seen: dict[str, str] = {}
        for role, names in {"entity": self.entity, "values": self.values, **roles}.items():
            for name in names:
                if seen.setdefault(name, role) != role:
                    yield (
                        f"series: column '{name}' has two roles: expected one, got {seen[name]} and {role}. "
                        "Remove one of them"
                    )
        for name, kind in kinds.items():
            if name in self.values and kind not in (None, "number"):
                yield f"series: column '{name}' is a channel: expected kind number, got {kind}"
            elif kind in ("condition", "target"):
                yield f"series: column '{name}' is a {kind}, which a series job cannot have. Set it to ignore"
        if tuple(entity) != self.entity:
            own, of_data = (", ".join(names) or "none" for names in (self.entity, entity))
            yield (
                f"series: entity differs from data.entity: expected the same columns, got {own} and {of_data}. "
                "Leave out that of data"
            )
        if not roles["[data] event_time"] and self.step not in ("auto", "row"):
            yield f'series: step {self.step} needs a time: expected data.event_time, got none. Set it, or step = "row"'


def series_faults(unfit: Mapping[str, bool]) -> Iterator[str]:
    """Yield what a job asks for that points of a series cannot have; unfit: whether it does, by name."""
    for name, is_asked in unfit.items():
        if is_asked:
            yield f"series: {name} does not fit the points of a series. Leave it out"


DENOISING = {"family": "ae", "trunk": "mlp", "latent": 8, "corruption": "gaussian", "corruption_amount": 0.5}
"""Model of a series job that names no family. A recurrent one takes three times as long and is no better."""


def with_series_defaults(raw: dict[str, object]) -> dict[str, object]:
    """Return a parsed job file with the defaults of series jobs.

    Thresholds are adaptive, keys name a point, and the model is a denoising autoencoder whose residual is the score.
    Entity and event time are keys, which are not modelled: kind ignore means the same, and is left out.
    """
    series, data, calibration = raw.get("series"), raw.get("data", {}), raw.get("calibration", {})
    if not (isinstance(series, dict) and isinstance(data, dict) and isinstance(calibration, dict)):
        return raw
    entity = series.get("entity", data.get("entity", ()))
    keys, time = data.get("keys", ()), data.get("event_time")
    columns = raw.get("columns", {})
    if isinstance(keys, list | tuple) and isinstance(entity, str | list | tuple):
        named = [entity] if isinstance(entity, str) else entity
        points = [*named, *([time] if isinstance(time, str) else [])]
        keys = list(dict.fromkeys([*keys, *points]))
        columns = _without_ignore(columns, points) if isinstance(columns, dict) else columns
    if "per" not in calibration:
        calibration = {"adaptive": True} | calibration
    model, score = raw.get("model", {}), raw.get("score", {})
    if isinstance(model, dict) and "family" not in model:
        model = DENOISING | model
    if isinstance(score, dict):
        score = {"head": "residual"} | score
    return raw | {
        "data": {"entity": entity} | data | {"keys": keys},
        "columns": columns,
        "model": model,
        "score": score,
        "series": {"entity": entity} | series,
        "calibration": calibration,
    }


def _without_ignore(columns: Mapping[str, object], points: Sequence[object]) -> dict[str, object]:
    """Return the section `[columns]` without the kind ignore of columns that name a point."""
    found = dict(columns)
    for name in points:
        spec = found.get(str(name))
        if spec == "ignore":
            del found[str(name)]
        elif isinstance(spec, Mapping) and spec.get("kind") == "ignore":
            found[str(name)] = {key: value for key, value in spec.items() if key != "kind"}
    return found
