"""Champion and challenger on the same rows: figures against independent computations, checks, and the alias log."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.registry import Registry
from aepipe.errors import ArgumentInvalid, BundleNotFound, DataUnreadable, OptionInvalid
from aepipe.inference.table_model import TableModel
from aepipe.jobs.models import alias_on
from aepipe.jobs.promotion.model_diff import diff_models
from aepipe.jobs.promotion.promote import promote, rollback
from aepipe.jobs.score import score
from aepipe.jobs.verify import verify
from tests.support.two_models import DAYS, add_version, write_job

COSTS = "[calibration]\nfalse_alarm_cost = 1\nmiss_cost = 20\nbase_rate = 0.05\n"
LENIENT = "[promotion]\nmax_cost_increase = 1.0\n"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    job = write_job(tmp_path, COSTS + LENIENT)
    add_version(tmp_path, "challenger", seed=5, alpha=0.1)
    return job


def registry(job: Path) -> Registry:
    return Registry(job.parent / "exported" / "linear")


def promoted(job: Path, limits: str) -> Path:
    job.write_text(job.read_text().replace(LENIENT, f"[promotion]\n{limits}\n"))
    return job


def test_figures_equal_those_of_an_independent_computation(job: Path) -> None:
    found = promote(job, dry_run=True).report
    assert found is not None
    compared = found.comparison

    tables = [pq.read_table(job.parent / "rows" / day / "part-0.parquet", partitioning=None) for day in DAYS]
    truth = np.concatenate([table["bad"].to_numpy() for table in tables]) == 1
    scores, flags = {}, {}
    for name in ("champion", "challenger"):
        model = TableModel(Bundle.open(job.parent / "exported" / f"linear@{name}"), device="cpu")
        answers = [model.score(table) for table in tables]
        scores[name] = np.concatenate([each["score"].to_numpy() for each in answers])
        flags[name] = np.concatenate([each["is_anomaly"].to_numpy() for each in answers])
    assert [night.partition for night in compared.partitions] == list(DAYS)
    assert (compared.rows, compared.labelled, compared.anomalies) == (600, 600, 30)
    for name in ("champion", "challenger"):
        figures = getattr(compared, name)
        assert figures.alarm_rate == flags[name].mean()
        assert figures.alarms_per_partition == flags[name].sum() / 3
        assert figures.labels.auroc.value == pytest.approx(roc_auc_score(truth, scores[name]))
        assert figures.labels.average_precision.value == pytest.approx(average_precision_score(truth, scores[name]))
        false_alarm_rate, recall = flags[name][~truth].mean(), flags[name][truth].mean()
        assert figures.cost == pytest.approx(200 * (0.95 * false_alarm_rate + 0.05 * (1 - recall) * 20))
        assert figures.rows_per_s > 0
    assert compared.champion.calibration_alarm_rate == pytest.approx(0.05, abs=0.003)
    assert compared.challenger.calibration_alarm_rate == pytest.approx(0.1, abs=0.003)
    either = flags["champion"] | flags["challenger"]
    assert compared.agreement == (flags["champion"] & flags["challenger"]).sum() / either.sum()
    assert compared.rank_correlation == pytest.approx(spearmanr(scores["champion"], scores["challenger"]).statistic)
    assert compared.cost_difference == pytest.approx(compared.challenger.cost - compared.champion.cost)


def test_a_dry_run_changes_nothing(job: Path) -> None:
    before = (registry(job).folder / "aliases.jsonl").read_bytes()

    result = promote(job, dry_run=True)

    assert not result.promoted
    assert (registry(job).folder / "aliases.jsonl").read_bytes() == before
    assert not (registry(job).folder / "promotions").exists()


def test_a_promotion_is_logged_with_the_digest_of_its_report(job: Path) -> None:
    challenger = registry(job).resolve("challenger").name

    result = promote(job, why="fewer misses")

    entry = registry(job).history()[-1]
    assert result.promoted
    assert (entry.alias, entry.version, entry.why, entry.evidence) == (
        "champion",
        challenger,
        "fewer misses",
        result.evidence,
    )
    report = json.loads(registry(job).evidence_path(result.evidence or "").read_bytes())
    assert report["comparison"]["challenger"]["version"] == challenger
    assert promote(job).sentence.startswith("nothing to do")


def test_verification_finds_a_changed_report(job: Path) -> None:
    result = promote(job)
    score(job)
    assert verify(job).faults == ()
    path = registry(job).evidence_path(result.evidence or "")
    path.write_bytes(path.read_bytes().replace(b"linear", b"LINEAR"))

    (fault,) = verify(job).faults

    assert fault == f"{path} was changed after it was written: its digest differs. Restore it from a copy."


def test_a_failed_check_keeps_the_champion_unless_forced(job: Path) -> None:
    promoted(job, "max_alarm_ratio = 0.01")
    champion = registry(job).resolve("champion")

    result = promote(job)

    assert result.failed
    assert registry(job).resolve("champion") == champion
    assert "alarm rate, as a multiple of the champion's or of alpha: limit 0.01, got" in result.sentence
    assert promote(job, force=True).promoted
    assert registry(job).resolve("champion") != champion


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ("min_rows = 1000", "rows"),
        ("min_agreement = 1.0", "agreement of alarms"),
        ("max_auroc_drop = 0.0\nmax_cost_increase = 0.0", "increase of the expected cost"),
        ("min_speed_ratio = 1000", "rows per second, as a multiple of the champion's"),
    ],
)
def test_each_limit_can_stop_a_promotion(job: Path, limits: str, name: str) -> None:
    report = promote(promoted(job, limits), dry_run=True).report

    assert report is not None
    assert name in [check.name for check in report.failed]


def test_labels_replace_the_rank_correlation(job: Path) -> None:
    def names() -> dict[str, bool | None]:
        report = promote(job, dry_run=True).report
        assert report is not None
        return {check.name: check.passed for check in report.checks}

    with_labels = names()
    job.write_text(job.read_text().replace('[evaluate]\nanomaly = "bad = 1"\n', "").replace(COSTS, ""))
    without = names()

    assert "rank correlation" not in with_labels
    assert "rank correlation" in without
    assert without["decrease of the AUROC"] is None


def test_partitions_of_the_training_are_compared_only_if_there_are_no_others(job: Path) -> None:
    report = promote(job, partitions=["2026-03-02"], dry_run=True).report
    assert report is not None
    assert [night.partition for night in report.comparison.partitions] == [DAYS[1]]

    report = promote(promoted(job, "nights = 2"), dry_run=True).report
    assert report is not None
    assert [night.partition for night in report.comparison.partitions] == [DAYS[1], DAYS[2]]


def test_a_damaged_partition_is_left_out(job: Path) -> None:
    (job.parent / "rows" / DAYS[0] / "part-0.parquet").write_bytes(b"PAR1 and nothing more")

    report = promote(job, dry_run=True).report

    assert report is not None
    assert list(report.comparison.left_out) == [DAYS[0]]
    assert report.comparison.rows == 400


def test_nothing_to_compare_is_an_error_unless_forced(job: Path) -> None:
    for day in DAYS:
        (job.parent / "rows" / day / "part-0.parquet").write_bytes(b"PAR1 and nothing more")

    with pytest.raises(DataUnreadable, match="no recent partition can be compared"):
        promote(job)
    result = promote(job, force=True)
    assert result.promoted
    assert result.evidence is None


def test_a_rollback_restores_the_previous_champion(job: Path) -> None:
    first = registry(job).resolve("champion").name
    with pytest.raises(OptionInvalid, match=f"{first} is the first champion of linear"):
        rollback(job)
    promote(job)

    result = rollback(job, why="too many alarms")

    assert result.version == first == registry(job).resolve("champion").name
    entry = registry(job).history()[-1]
    assert (entry.why, entry.is_rollback) == ("too many alarms", True)
    with pytest.raises(OptionInvalid):
        rollback(job)


def test_the_champion_of_a_day_is_the_one_at_its_end(job: Path) -> None:
    first = registry(job).resolve("champion").name
    log = registry(job).folder / "aliases.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[0]["when"], lines[1]["when"] = "2026-03-01T22:00:00Z", "2026-03-02T04:00:00Z"
    lines[1]["alias"] = "champion"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert alias_on(job, "2026-02-28").version is None
    assert alias_on(job, "2026-03-01").version == first
    assert alias_on(job, "dt=2026-03-02").version == lines[1]["version"]
    assert alias_on(job, "2026-03-02T03:59").version == first
    assert alias_on(job, "2026-03").version == lines[1]["version"]
    for wrong in ("yesterday", "2026-02-31"):
        with pytest.raises(ArgumentInvalid, match="Name a"):
            alias_on(job, wrong)


def test_the_difference_of_two_versions_names_what_changed(job: Path) -> None:
    found = diff_models(job, "champion", "challenger")

    model = {line.what: (line.first, line.second) for line in found.sections["model"]}
    assert model["alpha"] == (0.05, 0.1)
    assert "family" not in model
    assert diff_models(job, "champion", "champion").sections == {}
    with pytest.raises(BundleNotFound):
        diff_models(job, "champion", "absent")
