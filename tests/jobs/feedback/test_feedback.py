"""Verdicts of people: their record, the alarms that they mute, and the results that they change."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest

from aepipe.config.job import read_job
from aepipe.errors import ArgumentInvalid, DataUnreadable, JobInvalid
from aepipe.jobs.alerts.alert import alert
from aepipe.jobs.evaluate.labelled_scores import LabelledScores, join_labels
from aepipe.jobs.feedback.feedback import FeedbackResult, give_feedback
from aepipe.jobs.feedback.muting import muting_verdicts
from aepipe.jobs.feedback.verdicts import Verdict, read_verdicts
from aepipe.jobs.ground_truth import label_rule, resolve_label_rule
from aepipe.jobs.score import score
from aepipe.jobs.scored_partitions import ScoredPartitions, open_model
from aepipe.jobs.train.train import training_key
from aepipe.storage import SCORE, Outputs
from tests.support.two_models import DAYS, write_job, write_partition


@pytest.fixture
def job(tmp_path: Path) -> Path:
    job = write_job(tmp_path)
    score(job)
    return job


def flagged(job: Path, day: str = DAYS[2]) -> pa.Table:
    table = pq.read_table(job.parent / "out" / "linear" / "scores" / day / "part-0.parquet", partitioning=None)
    return table.filter(table["is_anomaly"]).sort_by("p_value")


def top_key(job: Path) -> str:
    return str(flagged(job)["id"][0].as_py())


def labelled(job: Path) -> tuple[LabelledScores, str]:
    """Return the labelled rows that `evaluate` measures, and the rule that labels them."""
    read = read_job(job)
    scored = ScoredPartitions(read, open_model(read, "champion"))
    files = [job.parent / "rows" / day / "part-0.parquet" for day in DAYS]
    rule = resolve_label_rule(read, files, label=None)
    return join_labels(scored, rule), rule.words


def log_lines(job: Path) -> list[dict[str, object]]:
    path = job.parent / "out" / "linear" / ".aepipe" / "feedback.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_verdict_is_recorded_with_the_row_that_it_is_about(job: Path) -> None:
    row = flagged(job).slice(0, 1).to_pylist()[0]

    result = give_feedback(job, [str(row["id"])], verdict="expected", reason="maintenance", expires="2099-12-31")

    (line,) = log_lines(job)
    assert (line["key"], line["verdict"], line["reason"], line["expires"]) == (
        str(row["id"]),
        "expected",
        "maintenance",
        "2099-12-31",
    )
    assert (line["partition"], line["first_reason"]) == (DAYS[2], row["reason_1"])
    assert line["first_reason_z"] == pytest.approx(row["reason_1_z"])
    assert result.applied
    assert [muted.key for muted in result.muted] == [str(row["id"])]


def test_a_dry_run_shows_the_effect_and_records_nothing(job: Path) -> None:
    result = give_feedback(job, [top_key(job)], verdict="expected", dry_run=True)

    assert (result.applied, len(result.muted)) == (False, 1)
    assert log_lines(job) == []


def test_the_latest_verdict_about_a_key_counts_and_all_stay_in_the_log(job: Path) -> None:
    key = top_key(job)
    give_feedback(job, [key], verdict="expected")
    give_feedback(job, [key], verdict="anomaly")

    listed = give_feedback(job)

    assert [row.verdict.verdict for row in listed.rows] == ["anomaly"]
    assert listed.muted == ()
    assert len(log_lines(job)) == 2


def write_verdicts(path: Path, columns: dict[str, list[object]]) -> Path:
    table = pa.table(columns)
    if path.suffix == ".csv":
        arrow_csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_verdicts_come_from_a_file(job: Path, tmp_path: Path, suffix: str) -> None:
    ids = [int(value) for value in flagged(job)["id"].to_pylist()[:2]]
    columns = {
        "id": ids,
        "verdict": ["expected", "anomaly"],
        "reason": ["known", None],
        "expires": ["2099-01-31", None],
    }

    give_feedback(job, file=write_verdicts(tmp_path / f"verdicts{suffix}", columns))

    found = read_verdicts(read_job(job))
    assert found is not None
    assert [(v.key, v.verdict, v.reason, v.expires) for v in found.latest] == [
        (str(ids[0]), "expected", "known", date(2099, 1, 31)),
        (str(ids[1]), "anomaly", "", None),
    ]


def test_every_fault_of_a_file_is_named_and_nothing_is_recorded(job: Path, tmp_path: Path) -> None:
    columns = {"id": [1, 2, 3], "verdict": ["good", "anomaly", "expected"], "mute": [None, 1.0, -1.0]}

    with pytest.raises(ArgumentInvalid) as refused:
        give_feedback(job, file=write_verdicts(tmp_path / "verdicts.parquet", columns))

    assert refused.value.faults == (
        "row 0: expected a verdict of expected, anomaly, unsure, got 'good'",
        "row 1: mute goes with the verdict expected, got 'anomaly'",
        "row 2: expected a distance of 0 or more in mute, got -1.0",
    )
    assert log_lines(job) == []


def test_wrong_requests_are_refused(job: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentInvalid, match="expected one of expected, anomaly, unsure, got none"):
        give_feedback(job, ["1"])
    with pytest.raises(ArgumentInvalid, match="expected a day such as 2026-12-31 in expires, got 'soon'"):
        give_feedback(job, ["1"], verdict="expected", expires="soon")
    with pytest.raises(ArgumentInvalid, match="row 'absent' has no attribution among the latest scores"):
        give_feedback(job, ["absent"], verdict="expected", mute=1.0)
    with pytest.raises(ArgumentInvalid, match="has no column 'verdict'"):
        give_feedback(job, file=write_verdicts(tmp_path / "a.csv", {"id": [1]}))
    with pytest.raises(ArgumentInvalid, match=r"has no column 'id': expected one of key, verdict"):
        give_feedback(job, file=write_verdicts(tmp_path / "a.csv", {"key": [1], "verdict": ["anomaly"]}))
    with pytest.raises(ArgumentInvalid, match=r"a\.csv has no rows\. Write a row per verdict\."):
        give_feedback(job, file=write_verdicts(tmp_path / "a.csv", {"id": [], "verdict": []}))
    with pytest.raises(DataUnreadable, match=r"absent\.csv does not exist\. Name a Parquet or CSV file of verdicts\."):
        give_feedback(job, file=tmp_path / "absent.csv")
    with pytest.raises(DataUnreadable, match="is a folder"):
        give_feedback(job, file=tmp_path)
    for name, kind in (("b.csv", "CSV"), ("b.parquet", "Parquet")):
        (tmp_path / name).write_text("")
        with pytest.raises(DataUnreadable, match=rf"cannot be read as {kind}: .*\. Write it again, as Parquet or as"):
            give_feedback(job, file=tmp_path / name)
    job.write_text(job.read_text().replace('keys = ["id"]\n', ""))
    with pytest.raises(JobInvalid, match="rows have no key"):
        give_feedback(job, ["1"], verdict="anomaly")


def test_a_distance_mutes_rows_like_this_one(job: Path) -> None:
    first = flagged(job).slice(0, 1).to_pylist()[0]
    distance = 0.5
    expected = {
        str(row["id"])
        for day in DAYS
        for row in flagged(job, day).to_pylist()
        if row["reason_1"] == first["reason_1"] and abs(row["reason_1_z"] - first["reason_1_z"]) <= distance
    }

    result = give_feedback(job, [str(first["id"])], verdict="expected", mute=distance)

    assert {row.key for row in result.muted} == expected
    assert {row.by for row in result.muted} == {str(first["id"])}


def test_a_verdict_that_has_expired_is_recorded_with_a_warning(job: Path, caplog: pytest.LogCaptureFixture) -> None:
    give_feedback(job, ["1", "2"], verdict="expected", expires="2099-12-31")
    assert "expired" not in caplog.text

    result = give_feedback(job, ["1", "2"], verdict="expected", expires="2020-01-31")

    assert result.applied
    assert "the verdict on row '1' and 1 more mutes nothing: it expired on 2020-01-31, before today" in caplog.text


@pytest.mark.parametrize(
    ("option", "value"), [("verdict", "expected"), ("reason", "known"), ("expires", "2099-12-31"), ("mute", 1.0)]
)
def test_what_has_no_key_to_be_about_is_refused(job: Path, tmp_path: Path, option: str, value: Any) -> None:
    file = write_verdicts(tmp_path / "verdicts.csv", {"id": [1], "verdict": ["anomaly"]})

    for keys, where in ([], None), ([], file):
        with pytest.raises(ArgumentInvalid, match="Leave it out, or name the keys of rows") as refused:
            give_feedback(job, keys, file=where, **{option: value})
        assert refused.value.source == option
    assert log_lines(job) == []


@pytest.mark.parametrize(
    ("changes", "option"),
    [({"verdict": "good"}, "verdict"), ({"expires": "soon"}, "expires"), ({"mute": -1.0}, "mute")],
)
def test_a_fault_names_its_option(job: Path, changes: dict[str, Any], option: str) -> None:
    with pytest.raises(ArgumentInvalid) as refused:
        give_feedback(job, ["1"], **{"verdict": "expected", **changes})

    assert refused.value.source == option


def test_a_key_that_no_scored_row_has_is_recorded_with_a_warning(job: Path, caplog: pytest.LogCaptureFixture) -> None:
    give_feedback(job, [top_key(job)], verdict="expected")
    assert caplog.text == ""

    result = give_feedback(job, ["absent", "gone"], verdict="expected")

    assert result.applied
    assert "no row of the latest 3 scored partitions has the key 'absent' and 1 more" in caplog.text


def test_a_verdict_mutes_until_it_expires(job: Path) -> None:
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    key = top_key(job)

    def muted(expires: str) -> FeedbackResult:
        return give_feedback(job, [key], verdict="expected", expires=expires)

    assert muted(yesterday).muted == ()
    assert len(muted("2099-01-01").muted) == 1


def test_rows_without_attributions_are_muted_by_key_only() -> None:
    verdict = Verdict(
        key="1", verdict="expected", mute=9.0, first_reason="a", first_reason_z=1.0, who="ada", when=datetime.now(UTC)
    )

    assert muting_verdicts(pa.table({"id": [1, 2]}), ["1", "2"], [verdict]) == [verdict, None]


def test_an_alert_leaves_muted_rows_out_and_counts_them(job: Path) -> None:
    before = alert(job, dry_run=True).message
    key = top_key(job)
    give_feedback(job, [key], verdict="expected")

    after = alert(job, dry_run=True).message

    assert before is not None
    assert after is not None
    assert before.lines[0].alarm.keys["id"] == key
    assert key not in {line.alarm.keys["id"] for line in after.lines}
    assert (after.flagged, after.muted) == (before.flagged, 1)
    assert "1 rows are muted by feedback" in after.text
    give_feedback(job, flagged(job)["id"].cast(pa.string()).to_pylist(), verdict="expected")
    assert alert(job, dry_run=True).message is None


def test_verdicts_replace_labels(job: Path) -> None:
    rows = pq.read_table(job.parent / "rows" / DAYS[0] / "part-0.parquet", partitioning=None)
    ids = [str(value) for value in rows["id"].to_pylist()]
    give_feedback(job, [ids[0]], verdict="expected")  # the label says anomaly
    give_feedback(job, [ids[50]], verdict="anomaly")
    give_feedback(job, [ids[60]], verdict="unsure")

    rule = label_rule(read_job(job))
    assert rule is not None
    labels = rule.of(rows)

    assert labels.is_anomaly.nonzero()[0].tolist() == [*range(1, 10), 50]
    assert np.flatnonzero(~labels.known).tolist() == [60]
    found, words = labelled(job)
    assert (int(found.truth.sum()), found.unlabelled) == (30, 1)
    assert words == "bad = 1, corrected by feedback"


def test_verdicts_are_labels_where_the_job_has_none(job: Path) -> None:
    job.write_text(
        job.read_text()
        .replace('[evaluate]\nanomaly = "bad = 1"\n', "")
        .replace('labels = ["bad"]\n', "")
        .replace('[columns]\nbad = "label"\n', '[columns]\nbad = "ignore"\n')
    )
    keys = [str(value) for value in flagged(job)["id"].to_pylist()]
    give_feedback(job, keys[:3], verdict="anomaly")
    give_feedback(job, keys[3:5], verdict="expected")

    found, words = labelled(job)

    assert (len(found.truth), int(found.truth.sum()), words) == (5, 3, "feedback")


def test_a_night_records_the_digest_and_its_scores_stay_done(job: Path) -> None:
    outputs = Outputs(job.parent / "out" / "linear")
    before = outputs.manifest(SCORE, DAYS[0])
    assert before is not None
    assert before.details.feedback is None
    result = give_feedback(job, [top_key(job)], verdict="expected")
    write_partition(job.parent, "dt=2026-03-04", seed=40)

    nights = score(job).nights

    assert [night.status for night in nights] == ["already done"] * 3 + ["written"]
    after = outputs.manifest(SCORE, "dt=2026-03-04")
    assert after is not None
    assert after.details.feedback == result.digest


def test_training_depends_on_feedback_only_if_it_uses_labels(job: Path) -> None:
    read = read_job(job)
    plain = training_key(read, ())
    with_costs = job.parent / "costs.toml"
    with_costs.write_text(job.read_text() + "[calibration]\nfalse_alarm_cost = 1\nmiss_cost = 20\nbase_rate = 0.05\n")
    costly = training_key(read_job(with_costs), ())
    give_feedback(job, [top_key(job)], verdict="anomaly")

    assert training_key(read, ()) == plain
    assert training_key(read_job(with_costs), ()) != costly


def test_a_damaged_log_is_refused_and_half_a_line_is_skipped(job: Path) -> None:
    give_feedback(job, [top_key(job)], verdict="anomaly")
    path = job.parent / "out" / "linear" / ".aepipe" / "feedback.jsonl"
    path.write_text(path.read_text() + '{"key": "1", "verd')
    assert len(give_feedback(job).rows) == 1
    path.write_text(path.read_text() + '\n{"key": "1"}\n')
    with pytest.raises(DataUnreadable, match="line 3 is not a verdict"):
        give_feedback(job)


def test_damaged_lines_are_skipped_with_one_warning_each(job: Path, caplog: pytest.LogCaptureFixture) -> None:
    give_feedback(job, [top_key(job)], verdict="anomaly")
    path = job.parent / "out" / "linear" / ".aepipe" / "feedback.jsonl"
    path.write_bytes(b"\xff\x00half\n[1]\n" + path.read_bytes() + b'{"key": "1", "verd')

    for _ in range(2):
        assert len(give_feedback(job).rows) == 1
        alert(job)
        score(job)

    numbers = [record.getMessage().split(" line ")[1] for record in caplog.records if "line" in record.getMessage()]
    assert numbers == [f"{number} is incomplete; it is skipped" for number in (1, 2, 4)]
