"""Verdicts of people about rows: an append-only log in the outputs of a job. Nothing here knows torch or pandas."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import AwareDatetime, Field, ValidationError, field_validator

from aepipe.config.job import Job
from aepipe.errors import DataUnreadable
from aepipe.frozen import FrozenModel
from aepipe.storage import HIDDEN, append_lines, digest_bytes, naming
from aepipe.storage.chained_log import warn_of_incomplete_line
from aepipe.tables.arrow_arrays import texts_of
from aepipe.tables.entities import join_columns

LOG = "feedback.jsonl"
Meaning = Literal["expected", "anomaly", "unsure"]

_TIMES = ((r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)", r"\1 \2"), (r"(\d\d:\d\d:\d\d)\.0+\b", r"\1"))
"""How people and Arrow write times, and how keys have them: both mean the same row."""


class Verdict(FrozenModel):
    """One line of the log: what a person says about the row with a key. The latest verdict about a key counts."""

    key: str = Field(description="values of the key columns, separated by commas")
    verdict: Meaning
    reason: str = ""
    expires: date | None = Field(None, description="last day on which `mute` applies; None: it never ends")
    mute: float | None = Field(None, ge=0, description="also mute rows whose first attribution differs by at most this")
    partition: str | None = Field(None, description="where the row was found; None: it is not scored")
    first_reason: str | None = None
    first_reason_z: float | None = None
    who: str
    when: AwareDatetime

    _plain_key = field_validator("key")(lambda key: plain_key(key))

    def is_active(self, today: date) -> bool:
        """Return whether the verdict mutes rows on a day."""
        return self.verdict == "expected" and (self.expires is None or today <= self.expires)


@dataclass(frozen=True)
class Verdicts:
    """Latest verdict of each key, and the digest of the log."""

    keys: tuple[str, ...]
    latest: tuple[Verdict, ...]
    digest: str

    @cached_property
    def _texts(self) -> pa.Array:
        return texts_of([verdict.key for verdict in self.latest])

    def find(self, rows: pa.Table) -> NDArray[np.int64]:
        """Return the index in `latest` of the verdict about each row, (B,); -1: there is none."""
        if not self.latest or not set(self.keys) <= set(rows.column_names):
            return np.full(rows.num_rows, -1, np.int64)
        found = pc.index_in(key_texts(rows, self.keys), value_set=self._texts)
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), np.int64)

    def apply(
        self, rows: pa.Table, known: NDArray[np.bool_], is_anomaly: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Replace the labels of rows by their verdicts: expected is normal, unsure is unlabelled."""
        found = self.find(rows)
        meanings = np.array([*(verdict.verdict for verdict in self.latest), ""])[found]
        has = found >= 0
        return (
            np.where(has, meanings != "unsure", known),
            np.where(has, meanings == "anomaly", is_anomaly),
        )


def plain_key(text: str) -> str:
    """Return a key as `key_texts` writes it: times with a space, and without a fraction of zeros.

    >>> plain_key("m1,2026-01-11T09:30:00.000000")
    'm1,2026-01-11 09:30:00'
    """
    for pattern, written in _TIMES:
        text = re.sub(pattern, written, text)
    return text


def key_texts(rows: pa.Table, keys: Sequence[str]) -> pa.Array:
    """Return the key of each row as text, the values of several columns as by `join_columns`; null without a key."""
    texts = join_columns([rows[name].combine_chunks().cast(pa.string()) for name in keys])
    for pattern, written in _TIMES:
        texts = pc.replace_substring_regex(texts, pattern=pattern, replacement=written)
    return texts


def log_path(job: Job) -> Path:
    """Return the path of the log of a job."""
    return job.out_path / HIDDEN / LOG


def read_verdicts(job: Job) -> Verdicts | None:
    """Read the log of a job; None if it has none. Raises DataUnreadable for a line that is not a verdict."""
    path = log_path(job)
    try:
        with naming(path):
            data = path.read_bytes()
    except FileNotFoundError:
        return None
    latest: dict[str, Verdict] = {}
    for number, line in enumerate(data.splitlines(), 1):
        try:
            verdict = Verdict.model_validate_json(line)
        except ValidationError:
            if line.endswith(b"}"):
                raise DataUnreadable(f"{path} line {number} is not a verdict. Restore the file.") from None
            warn_of_incomplete_line(path, number)
            continue
        latest.pop(verdict.key, None)
        latest[verdict.key] = verdict
    return Verdicts(job.data.keys, tuple(latest.values()), digest_bytes(data))


def feedback_digest(job: Job) -> str | None:
    """Return the digest of the log of a job; None if it has none."""
    try:
        with naming(log_path(job)):
            return digest_bytes(log_path(job).read_bytes())
    except FileNotFoundError:
        return None


def append_verdicts(job: Job, verdicts: Sequence[Verdict]) -> None:
    """Append verdicts to the log: all, or none if the disk is full."""
    append_lines(log_path(job), [verdict.model_dump_json() for verdict in verdicts])


def utc_today() -> date:
    """Return today's date in UTC."""
    return datetime.now(UTC).date()
