"""Pages that compare two nights or two versions: counts against independent joins, and refusals."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import ks_2samp
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.registry import Registry
from aepipe.cli.main import app
from aepipe.errors import ArgumentInvalid, EvaluationInvalid
from aepipe.inference.table_model import TableModel
from aepipe.jobs.forget import forget
from aepipe.jobs.report import compare
from aepipe.jobs.report.compare import compare_report
from aepipe.jobs.score import score
from aepipe.report.compare_page import ComparePage
from tests.support.two_models import DAYS, add_reference, add_version, write_job, write_partition

FIRST, SECOND = DAYS[:2]


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Score three nights; the second has the keys of the first, and 2.5 more in column `a`."""
    job = write_job(tmp_path)
    write_partition(tmp_path, SECOND, seed=10, shift=2.5)
    add_reference(tmp_path)
    score(job)
    return job


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[ComparePage]:
    """Return the list of pages that are rendered from here on."""
    pages: list[ComparePage] = []
    real = compare.render_comparison
    monkeypatch.setattr(compare, "render_comparison", lambda page: (pages.append(page), real(page))[1])
    return pages


def flags_by_key(job: Path, night: str) -> dict[str, bool]:
    table = pq.read_table(job.parent / "out" / "linear" / "scores" / night / "part-0.parquet", partitioning=None)
    return dict(zip(table["id"].to_pylist(), table["is_anomaly"].to_pylist(), strict=True))


def test_alarms_of_nights_are_joined_by_key(job: Path, shown: list[ComparePage]) -> None:
    result = compare_report(job, FIRST, "2026-03-02")  # the key of the partition may be left out

    before, after = (flags_by_key(job, night) for night in (FIRST, SECOND))
    both = [key for key in before if before[key] and after[key]]
    assert result.alarms == {
        "flagged in both": len(both),
        f"only in {FIRST}": sum(before[key] and not after[key] for key in before),
        f"only in {SECOND}": sum(after[key] and not before[key] for key in before),
        f"flagged in {FIRST}, key absent from {SECOND}": 0,
        f"flagged in {SECOND}, key absent from {FIRST}": 0,
    }
    assert len(both) > 0
    assert result.alarms[f"only in {SECOND}"] > result.alarms[f"only in {FIRST}"]
    (page,) = shown
    assert {row.row for row in page.alarms[0].rows} <= set(map(str, both))
    assert result.path.name == f"compare-{FIRST}-with-{SECOND}.html"


def test_figures_of_nights_equal_those_of_independent_computations(job: Path, shown: list[ComparePage]) -> None:
    compare_report(job, FIRST, SECOND)

    (page,) = shown
    sources = [pq.read_table(job.parent / "rows" / night / "part-0.parquet", partitioning=None) for night in DAYS[:2]]
    change = next(line for line in page.drift if line.name == "a")
    exact = ks_2samp(*(table["a"].to_numpy() for table in sources)).statistic
    assert change.between is not None
    assert exact - 0.05 <= change.between.distance <= exact + 1e-9  # in bins of the reference
    assert max(page.drift, key=lambda line: line.largest).name in ("a", "score", "z_000")
    for side, night, table in zip(page.sides, DAYS[:2], sources, strict=True):
        flags = flags_by_key(job, night)
        assert (side.rows, side.flagged) == (len(flags), sum(flags.values()))
        scores = pq.read_table(job.parent / "out" / "linear" / "scores" / night / "part-0.parquet", partitioning=None)
        auroc = roc_auc_score(table["bad"].to_numpy(), scores["score"].to_numpy())
        assert side.measures["AUROC"].value == pytest.approx(auroc)
    low, high = page.sides[0].expected
    assert low <= 200 * page.sides[0].alpha <= high
    assert page.sides[1].is_alarming
    assert not page.notices


def test_nights_without_a_common_key_are_listed_apart(job: Path, shown: list[ComparePage]) -> None:
    result = compare_report(job, FIRST, DAYS[2])

    nights = (FIRST, DAYS[2])
    assert result.alarms == {f"flagged in {night}": sum(flags_by_key(job, night).values()) for night in nights}
    assert "No key occurs in both nights" in shown[0].joined


def test_rows_without_keys_are_named_by_partition_and_position(job: Path, shown: list[ComparePage]) -> None:
    job.write_text(job.read_text().replace('keys = ["id"]\n', ""))

    compare_report(job, FIRST, SECOND)

    flags = list(flags_by_key(job, FIRST).values())
    names = {f"{FIRST}, row {at + 1}" for at, flagged in enumerate(flags) if flagged}
    assert {row.row for row in shown[0].alarms[0].rows} <= names
    assert "The rows have no keys" in shown[0].joined


def test_versions_are_compared_on_the_same_rows(job: Path, shown: list[ComparePage]) -> None:
    version = add_version(job.parent, "challenger", seed=5, alpha=0.1)

    result = compare_report(job, "champion", "challenger")

    flags = []
    tables = [pq.read_table(job.parent / "rows" / night / "part-0.parquet", partitioning=None) for night in DAYS]
    for name in ("champion", "challenger"):
        model = TableModel(Bundle.open(job.parent / "exported" / f"linear@{name}"), device="cpu")
        flags.append(np.concatenate([model.score(table)["is_anomaly"].to_numpy() for table in tables]))
    first, second = flags
    assert result.alarms == {
        "flagged by both": int((first & second).sum()),
        "only by champion": int((first & ~second).sum()),
        "only by challenger": int((second & ~first).sum()),
    }
    (page,) = shown
    assert (result.kind, result.second) == ("models", version)
    assert [side.flagged for side in page.sides] == [first.sum(), second.sum()]
    assert [len(side.scores.current) for side in page.sides] == [600, 600]
    assert [line.partition for line in page.partitions] == list(DAYS)
    keys = np.concatenate([table["id"].to_numpy() for table in tables])
    assert {row.row for row in page.alarms[2].rows} <= set(map(str, keys[second & ~first]))
    assert all(None not in row.p_values for row in page.alarms[0].rows)
    outputs = flags_by_key(job, FIRST)
    assert compare_report(job, FIRST, SECOND).kind == "nights"  # the champion wrote the outputs
    assert flags_by_key(job, FIRST) == outputs


REFUSED = {
    ("champion", FIRST): f"expected two nights or two versions, got the night {FIRST} and the version",
    (FIRST, "2026-03-01"): f"expected two different nights, got {FIRST} twice",
    ("champion", "champion"): "expected two different versions, got champion twice",
    ("champion", "same"): "got champion and same, which are",
    ("chmpion", FIRST): "expected a scored night, a version or an alias, got 'chmpion'; did you mean 'champion'",
    ("nothing", FIRST): f"Choose one such as champion, same, {', '.join(DAYS)}",
}


@pytest.mark.parametrize("names", REFUSED)
def test_what_cannot_be_compared_is_refused_in_one_sentence(job: Path, names: tuple[str, str]) -> None:
    registry = Registry(job.parent / "exported" / "linear")
    registry.set_alias("same", "champion", who="ada", why="a test")

    with pytest.raises(ArgumentInvalid) as caught:
        compare_report(job, *names)

    assert REFUSED[names] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nights_of_two_versions_are_refused(job: Path) -> None:
    add_version(job.parent, "champion", seed=5)
    score(job, partitions=[SECOND])

    with pytest.raises(EvaluationInvalid, match="whose scores have no common unit: expected one version"):
        compare_report(job, FIRST, SECOND)


def test_a_night_whose_outputs_were_removed_is_refused(job: Path) -> None:
    for path in (job.parent / "out" / "linear").rglob(f"{SECOND}/*.parquet"):
        path.unlink()

    with pytest.raises(EvaluationInvalid, match=f"the outputs of {SECOND} were removed"):
        compare_report(job, FIRST, SECOND)


def test_a_night_whose_source_changed_is_compared_without_drift_and_labels(job: Path, shown: list[ComparePage]) -> None:
    write_partition(job.parent, FIRST, seed=99)

    compare_report(job, FIRST, SECOND)

    assert shown[0].absent["drift"] == f"The source of {FIRST} is missing or has changed since it was scored."
    assert not shown[0].sides[0].measures
    assert shown[0].sides[1].measures


def test_the_command_names_the_page_and_the_alarms(job: Path) -> None:
    said = CliRunner().invoke(app, ["report", str(job), "--compare", FIRST, SECOND, "--json"])

    document = json.loads(said.stdout)
    assert (document["kind"], document["first"], document["second"]) == ("nights", FIRST, SECOND)
    assert Path(document["path"]).is_file()
    assert sum(document["alarms"].values()) > 0


def test_a_removed_night_takes_its_comparisons_with_it(job: Path) -> None:
    add_version(job.parent, "challenger", seed=5)
    pages = [
        compare_report(job, *names).path
        for names in ((FIRST, SECOND), (SECOND, FIRST), (SECOND, DAYS[2]), ("champion", "challenger"))
    ]

    forget(job, [FIRST], is_confirmed=True)

    assert [page.exists() for page in pages] == [False, False, True, False]
