"""Feedback of people about rows: check verdicts, show their effect, and append them to the log."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from aepipe.bundles.registry import current_user
from aepipe.config.job import Job, read_job
from aepipe.errors import ArgumentInvalid, DataUnreadable, JobInvalid, did_you_mean
from aepipe.jobs.feedback.muting import MutedRow, muted_rows
from aepipe.jobs.feedback.verdicts import (
    Meaning,
    Verdict,
    Verdicts,
    append_verdicts,
    feedback_digest,
    key_texts,
    plain_key,
    read_verdicts,
    utc_today,
)
from aepipe.jobs.results import Result
from aepipe.jobs.scored_manifests import LATEST
from aepipe.storage import SCORE, Manifest, Outputs, PartitionResult, ScoreDetails
from aepipe.tables.entities import quoted_as_needed
from aepipe.tables.parquet_reader import READ_ROWS, read_footer, slices
from aepipe.tables.source_files import describe_read_error

MEANINGS = get_args(Meaning)
log = logging.getLogger(__name__)

OPTIONAL = ("reason", "expires", "mute")


class FeedbackRow(Result):
    """Verdict with the row that it is about, as it is scored now; None: the row is not among the latest scores."""

    verdict: Verdict
    is_flagged: bool | None
    p_value: float | None


class FeedbackResult(Result):
    """Verdicts and their effect on the latest partitions; `applied` is False for a dry run or a listing."""

    rows: tuple[FeedbackRow, ...]
    muted: tuple[MutedRow, ...]
    """flagged rows of the latest partitions that are muted with these verdicts"""
    flagged: int
    """flagged rows of the latest partitions"""
    applied: bool
    digest: str | None
    """digest of the log"""


class _Request(NamedTuple):
    """Verdict as it was asked for."""

    key: str
    verdict: Meaning
    reason: str
    expires: date | None
    mute: float | None


class _Place(NamedTuple):
    """Scored row with a key."""

    partition: str
    is_flagged: bool
    p_value: float | None
    first_reason: str | None
    first_reason_z: float | None


def give_feedback(
    job_path: str | Path,
    keys: Sequence[str] = (),
    *,
    verdict: str | None = None,
    reason: str = "",
    expires: str | None = None,
    mute: float | None = None,
    file: Path | None = None,
    dry_run: bool = False,
) -> FeedbackResult:
    """Record verdicts about rows, or list the current ones if none is given.

    Args:
        job_path: job file, or the folder that holds job.toml.
        keys: keys of rows as text; the values of several key columns separated by commas.
        verdict: expected, anomaly or unsure, for all keys.
        reason: reason for the log.
        expires: last day on which the verdict mutes rows, such as 2026-12-31.
        mute: also mute rows with the same first attribution within this distance, in standard deviations.
        file: Parquet or CSV file with the key columns, `verdict`, and `reason`, `expires`, `mute` if wanted.
        dry_run: show the effect only.

    Raises:
        ArgumentInvalid: a verdict, date or distance is wrong; every fault is listed.
        JobInvalid: the job has no key columns.
    """
    job = read_job(job_path)
    if not job.data.keys:
        raise JobInvalid(str(job.source), ["rows have no key. Name the key columns: [data] keys"])
    requests = list(_requests(job, keys, verdict, reason, expires, mute, file))
    _warn_of_expired(requests)
    outputs = Outputs(job.out_path)
    readable = (m for m in outputs.manifests(SCORE) if (outputs.root / m.files["scores"].path).is_file())
    nights = list(readable)[-LATEST:]
    known = read_verdicts(job)
    wanted = [request.key for request in requests] or [v.key for v in (known.latest if known is not None else ())]
    places = _find(job, nights, wanted)
    new = [_verdict(request, places.get(request.key)) for request in requests]
    _warn_of_unknown([verdict.key for verdict in new if verdict.partition is None], partitions=len(nights))
    merged = {v.key: v for v in (*(known.latest if known is not None else ()), *new)}
    results = [PartitionResult.of_manifest(night, job.out_path, "already done") for night in nights]
    effect = muted_rows(results, Verdicts(job.data.keys, tuple(merged.values()), ""), today=utc_today())
    applied = bool(new) and not dry_run
    if applied:
        append_verdicts(job, new)
    return FeedbackResult(
        rows=tuple(
            FeedbackRow(verdict=each, is_flagged=place and place.is_flagged, p_value=place and place.p_value)
            for each in (new or merged.values())
            for place in (places.get(each.key),)
        ),
        muted=effect,
        flagged=sum(night.details.flagged for night in nights),
        applied=applied,
        digest=feedback_digest(job),
    )


def _warn_of_expired(requests: Sequence[_Request]) -> None:
    today = utc_today()
    expired = [(each.key, each.expires) for each in requests if each.expires is not None and each.expires < today]
    if expired:
        key, day = expired[0]
        others = f" and {len(expired) - 1:,} more" if len(expired) > 1 else ""
        log.warning(
            "the verdict on row '%s'%s mutes nothing: it expired on %s, before today, %s. Set a later day in expires.",
            key, others, day, today,
        )  # fmt: skip


def _warn_of_unknown(keys: Sequence[str], *, partitions: int) -> None:
    if keys:
        others = f" and {len(keys) - 1:,} more" if len(keys) > 1 else ""
        log.warning(
            "no row of the latest %d scored partitions has the key '%s'%s: a verdict mutes nothing until one has. "
            "Check the key.", partitions, keys[0], others,
        )  # fmt: skip


def _requests(
    job: Job,
    keys: Sequence[str],
    verdict: str | None,
    reason: str,
    expires: str | None,
    mute: float | None,
    file: Path | None,
) -> Iterator[_Request]:
    if keys and file is not None:
        raise ArgumentInvalid("file", ["expected keys or a file, got both. Leave one out."])
    named = {"verdict": verdict, "reason": reason or None, "expires": expires, "mute": mute}
    given = [name for name, value in named.items() if value is not None]
    if given and (file is not None or not keys):
        expected = "its columns to say it" if file is not None else "the keys of rows, or a file, got neither"
        raise ArgumentInvalid(given[0], [f"expected {expected}. Leave it out, or name the keys of rows."])
    if file is not None:
        records = _read(job, file)
    else:
        if keys and verdict is None:
            raise ArgumentInvalid("verdict", [f"expected one of {', '.join(MEANINGS)}, got none. Name one."])
        records = [{"key": quoted_as_needed(key, len(job.data.keys)), **named} for key in keys]
    faults: list[_Fault] = []
    found = [
        _checked(record, f"row {index}" if file else record["key"], faults) for index, record in enumerate(records)
    ]
    if faults:
        option = faults[0].option if file is None else "file"
        raise ArgumentInvalid(option, [fault.text for fault in faults if file is not None or fault.option == option])
    yield from (each for each in found if each is not None)


class _Fault(NamedTuple):
    """Fault of a verdict, and the option that it is given by."""

    option: str
    text: str


def _checked(record: Mapping[str, Any], name: str, faults: list[_Fault]) -> _Request | None:
    """Return a request, or note what is wrong with it."""
    before = len(faults)

    def note(option: str, text: str) -> None:
        faults.append(_Fault(option, f"{name}: {text}"))

    meaning, expires, mute = record.get("verdict"), record.get("expires"), record.get("mute")
    if meaning not in MEANINGS:
        note("verdict", f"expected a verdict of {', '.join(MEANINGS)}, got {meaning!r}")
    if isinstance(expires, datetime):
        expires = expires.date()
    if expires is not None and not isinstance(expires, date):
        try:
            expires = date.fromisoformat(str(expires))
        except ValueError:
            note("expires", f"expected a day such as 2026-12-31 in expires, got {expires!r}")
    if mute is not None and not (isinstance(mute, int | float) and 0 <= mute < math.inf):
        note("mute", f"expected a distance of 0 or more in mute, got {mute!r}")
    if mute is not None and meaning != "expected":
        note("mute", f"mute goes with the verdict expected, got {meaning!r}")
    if not record.get("key"):
        note("key", "expected a key, got none")
    if len(faults) > before:
        return None
    return _Request(plain_key(str(record["key"])), meaning, str(record.get("reason") or ""), expires, mute)  # type: ignore[arg-type]


def _read(job: Job, file: Path) -> list[dict[str, Any]]:
    """Read verdicts from Parquet or CSV."""
    if file.is_dir() or not file.exists():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise DataUnreadable(f"{file} {what}. Name a Parquet or CSV file of verdicts.")
    try:
        if file.suffix == ".csv":
            # keys stay text: 007 is another key than 7
            options = arrow_csv.ConvertOptions(column_types=dict.fromkeys(job.data.keys, pa.string()))
            table = arrow_csv.read_csv(file, convert_options=options)
        else:
            table = pq.read_table(file, partitioning=None, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise DataUnreadable(
            f"{file} cannot be read as {'CSV' if file.suffix == '.csv' else 'Parquet'}: "
            f"{describe_read_error(error, remedy='Write it again, as Parquet or as .csv.')}"
        ) from None
    absent = [name for name in (*job.data.keys, "verdict") if name not in table.column_names]
    if absent:
        known = table.column_names
        faults = [f"{file} has no column '{name}'{did_you_mean(name, known, listed=20)}" for name in absent]
        raise ArgumentInvalid("file", faults)
    if not table.num_rows:
        raise ArgumentInvalid("file", [f"{file} has no rows. Write a row per verdict."])
    columns = [name for name in ("verdict", *OPTIONAL) if name in table.column_names]
    texts = key_texts(table, job.data.keys).to_pylist()
    return [{**record, "key": key} for record, key in zip(table.select(columns).to_pylist(), texts, strict=True)]


def _find(job: Job, nights: Sequence[Manifest[ScoreDetails]], keys: Sequence[str]) -> dict[str, _Place]:
    """Find rows among the latest scores by their keys; the latest partition counts."""
    wanted, found = pa.array(sorted(set(keys)), pa.string()), dict[str, _Place]()
    if not len(wanted):
        return found
    for night in nights:
        path = job.out_path / night.files["scores"].path
        names = read_footer(path).schema.names
        optional = [name for name in ("reason_1", "reason_1_z") if name in names]
        for batch in slices([path], [*job.data.keys, "is_anomaly", "p_value", *optional], rows=READ_ROWS):
            table = pa.Table.from_batches([batch])
            texts = key_texts(table, job.data.keys)
            rows = table.append_column("key", texts).filter(pc.is_in(texts, value_set=wanted))
            for row in rows.to_pylist():
                found[row["key"]] = _Place(
                    night.partition, row["is_anomaly"], row["p_value"], row.get("reason_1"), row.get("reason_1_z")
                )
    return found


def _verdict(request: _Request, place: _Place | None) -> Verdict:
    if request.mute is not None and (place is None or place.first_reason_z is None):
        raise ArgumentInvalid(
            "mute", [f"row '{request.key}' has no attribution among the latest scores. Leave out mute, or score it."]
        )
    return Verdict(
        key=request.key,
        verdict=request.verdict,
        reason=request.reason,
        expires=request.expires,
        mute=request.mute,
        partition=None if place is None else place.partition,
        first_reason=None if place is None else place.first_reason,
        first_reason_z=None if place is None else place.first_reason_z,
        who=current_user(),
        when=datetime.now(UTC),
    )
