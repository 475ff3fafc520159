"""Past partitions, each scored by the right model, and only once."""

import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.registry import Registry
from aepipe.errors import ArgumentInvalid, BundleNotFound, DataUnreadable
from aepipe.inference.table_model import TableModel
from aepipe.jobs.backfill.backfill import backfill
from aepipe.jobs.backfill.plan import plan_backfill
from aepipe.jobs.score import score
from tests.support.two_models import DAYS, add_version, write_job, write_partition


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Write a job whose first version was champion until the evening of 2 March, and the second since then."""
    job = write_job(tmp_path)
    add_version(tmp_path, "champion", seed=5)
    log = tmp_path / "exported" / "linear" / "aliases.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line, when in zip(lines, ("2026-03-01T03:00:00Z", "2026-03-03T04:00:00Z"), strict=True):
        line["when"] = when
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return job


def versions(job: Path) -> tuple[str, str]:
    first, second = (n.version for n in Registry(job.parent / "exported" / "linear").history())
    return first, second


def model_of(job: Path, partition: str) -> str:
    table = pq.read_table(job.parent / "out" / "linear" / "scores" / partition / "part-0.parquet", partitioning=None)
    (version,) = set(table["model_version"].to_pylist())
    return str(version).removeprefix("linear/")


def test_each_partition_gets_the_champion_of_its_day(job: Path) -> None:
    first, second = versions(job)

    result = backfill(job, model="as-of")

    assert [night.status for night in result.nights] == ["written"] * 3
    assert [model_of(job, day) for day in DAYS] == [first, first, second]
    assert not result.faults


def test_a_day_before_the_first_champion_has_no_model(job: Path) -> None:
    write_partition(job.parent, "dt=2026-02-28", seed=1)

    result = backfill(job, model="as-of", last="2026-03-01")

    assert result.faults == {"dt=2026-02-28": "there was no champion on its day. Name a version to score it with"}
    assert [night.partition for night in result.nights] == [DAYS[0]]


def test_a_plan_writes_nothing_and_says_what_is_due(job: Path) -> None:
    score(job, partitions=[DAYS[1]])

    result = backfill(job, first="2026-03-02", dry_run=True)

    assert [(step.partition, step.status, step.rows) for step in result.plan.steps] == [
        (DAYS[1], "already done", 200),
        (DAYS[2], "due", 200),
    ]
    assert result.nights == ()
    assert result.plan.seconds is not None
    assert "1 of 2 partitions are due, 200 rows, about " in result.plan.sentence
    assert not (job.parent / "out" / "linear" / "scores" / DAYS[2]).exists()


def test_a_plan_states_why_its_duration_is_unknown(job: Path) -> None:
    plan = backfill(job, dry_run=True).plan
    assert plan.seconds is None
    assert plan.sentence == "3 of 3 partitions are due, 600 rows; the duration is unknown until one partition is scored"

    backfill(job, last=DAYS[0])
    sentence = backfill(job, dry_run=True).plan.sentence
    assert re.fullmatch(r"2 of .*, 400 rows, about \d+\.\d s by the speed of earlier runs", sentence)
    backfill(job)
    assert backfill(job, dry_run=True).plan.sentence.startswith("0 of 3 partitions are due, 0 rows, about 0.0 s")


def test_a_night_scored_by_a_later_champion_gets_the_values_of_its_own_champion_again(job: Path) -> None:
    first, second = versions(job)

    def scores() -> pa.Table:
        return pq.read_table(job.parent / "out" / "linear" / "scores" / DAYS[0] / "part-0.parquet", partitioning=None)

    expected = {
        version: TableModel(Bundle.open(job.parent / "exported" / "linear" / version), device="cpu").score(
            pq.read_table(job.parent / "rows" / DAYS[0], partitioning=None)
        )
        for version in (first, second)
    }
    compared = ["score", "p_value", "is_anomaly"]
    score(job, partitions=[DAYS[0]])
    assert scores().select(compared) == expected[second].select(compared)
    assert expected[first].select(compared) != expected[second].select(compared)

    backfill(job, model="as-of", last=DAYS[0])

    assert scores().select(compared) == expected[first].select(compared)
    assert set(scores()["model_version"].to_pylist()) == {f"linear/{first}"}


def test_an_interrupted_backfill_does_only_the_rest(job: Path) -> None:
    backfill(job, last="2026-03-01", model="as-of")
    kept = job.parent / "out" / "linear" / "scores" / DAYS[0] / "part-0.parquet"
    before = kept.stat().st_mtime_ns

    result = backfill(job, model="as-of")

    assert [night.partition for night in result.nights] == list(DAYS[1:])
    assert kept.stat().st_mtime_ns == before
    assert backfill(job, model="as-of").nights == ()


def test_a_named_version_scores_every_partition(job: Path) -> None:
    first, _ = versions(job)

    backfill(job, model=first, workers=1)

    assert {model_of(job, day) for day in DAYS} == {first}


def test_the_key_of_a_step_follows_model_and_data(job: Path) -> None:
    first, _ = versions(job)

    def keys(model: str) -> list[str]:
        return [step.key for step in plan_backfill(job, model=model).steps]

    before = keys("champion")
    assert before == keys("champion")
    assert len({*before, *keys(first)}) == 6
    write_partition(job.parent, DAYS[0], seed=99)
    assert [old == new for old, new in zip(before, keys("champion"), strict=True)] == [False, True, True]


def test_a_damaged_partition_does_not_stop_the_others(job: Path) -> None:
    (job.parent / "rows" / DAYS[1] / "part-0.parquet").write_bytes(b"PAR1 and nothing more")

    result = backfill(job)

    assert [night.partition for night in result.nights] == [DAYS[0], DAYS[2]]
    assert list(result.faults) == [DAYS[1]]


def test_a_version_that_was_removed_is_named(job: Path) -> None:
    first, _ = versions(job)
    folder = job.parent / "exported" / "linear"
    (folder / first).rename(folder / "moved")

    result = backfill(job, model="as-of")

    assert [night.partition for night in result.nights] == [DAYS[2]]
    assert list(result.faults) == [DAYS[0], DAYS[1]]


def test_wrong_requests_are_refused(job: Path) -> None:
    with pytest.raises(DataUnreadable, match="no partition lies"):
        backfill(job, first="2027-01-01")
    with pytest.raises(BundleNotFound):
        backfill(job, model="absent")
    for day in DAYS:
        (job.parent / "rows" / day).rename(job.parent / "rows" / f"hour={day[-1]}")
    with pytest.raises(ArgumentInvalid, match="as-of needs the date of each partition"):
        backfill(job, model="as-of")


def test_without_rescoring_earlier_scores_stay_until_their_files_change(job: Path) -> None:
    first, second = versions(job)
    job.write_text(job.read_text() + "[score]\nrescore = false\n")
    backfill(job, model=first, last="2026-03-02")

    result = score(job)

    assert [night.status for night in result.nights] == ["already done", "already done", "written"]
    assert [model_of(job, day) for day in DAYS] == [first, first, second]
    write_partition(job.parent, DAYS[0], seed=99)
    score(job)
    assert [model_of(job, day) for day in DAYS] == [second, first, second]
    score(job, partitions=[DAYS[1]])
    assert model_of(job, DAYS[1]) == second


def test_keys_of_steps_differ_between_jobs_that_share_data_and_model(job: Path, tmp_path: Path) -> None:
    other = tmp_path.with_name(f"{tmp_path.name}-copy") / job.name
    shutil.copytree(job.parent, other.parent)

    keys = [[step.key for step in plan_backfill(each).steps] for each in (job, job, other)]

    assert keys[0] == keys[1]
    assert not set(keys[0]) & set(keys[2])
