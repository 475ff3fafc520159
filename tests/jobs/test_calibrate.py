"""Recalibration without retraining: its rows, its effect on thresholds and scores, and an unchanged bundle."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import aepipe
from aepipe.bundles.bundle import Bundle
from aepipe.bundles.registry import Registry
from aepipe.calibration.conformal import Calibration
from aepipe.cli.main import app
from aepipe.errors import AepipeError, ArgumentInvalid, CalibrationInvalid, JobInvalid, OptionInvalid
from aepipe.heads import scores as heads
from aepipe.jobs.calibrate import CalibrateResult, calibrate
from aepipe.jobs.feedback.feedback import give_feedback
from aepipe.jobs.report.report import report
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.jobs.verify import verify
from aepipe.storage import HIDDEN, SCORE, Outputs, lock
from tests.conftest import fitted_baselines

JOB = """name = "mill"

[data]
path = "."
keys = ["id"]
labels = ["fault"]

[model]
family = "pca"
latent = 2

[train]
to = "2026-01-02"
where = "fault = false"

[calibration]
alpha = 0.05

[score]
from = "2026-01-03"

[evaluate]
anomaly = "fault = true"

[samples]
rows = 0

[output]
path = "out"
"""
COSTS = "false_alarm_cost = 1\nmiss_cost = 20\nbase_rate = 0.05\n"
NIGHTS = tuple(f"dt=2026-01-{day:02d}" for day in range(1, 6))
ROWS = 400


def night(day: int, *, shift: float = 0.0, labelled: bool = True) -> pa.Table:
    """Generate rows of three columns, two of them correlated; every twentieth row is an outlying fault."""
    generator = np.random.default_rng(day)
    fault = np.arange(ROWS) % 20 == 0
    a = generator.normal(size=ROWS) + shift
    b = a + 0.3 * generator.normal(size=ROWS) + 3 * fault
    values = {"id": np.arange(ROWS) + 1_000 * day, "a": a, "b": b, "c": generator.normal(size=ROWS)}
    return pa.table({**values, "fault": pa.array(fault if labelled else [None] * ROWS, pa.bool_())})


def write(folder: Path, name: str, table: pa.Table) -> None:
    path = folder / name / "part-0.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path)


@pytest.fixture(scope="session")
def trained(shared_folder: Path) -> Path:
    folder = shared_folder / "mill"
    with lock(shared_folder / "mill.lock", wait_s=300):
        if not (folder / "done").exists():
            folder.mkdir(exist_ok=True)
            for day, name in enumerate(NIGHTS, 1):
                write(folder, name, night(day))
            (folder / "job.toml").write_text(JOB)
            train(folder / "job.toml")
            (folder / "done").touch()
    return folder


@pytest.fixture(scope="session")
def mill_baselines(shared_folder: Path, trained: Path) -> Path:
    """Fit the baselines of the reports of the job `mill`, once per test run; read only."""
    return fitted_baselines(trained, shared_folder / "mill_baselines")


@pytest.fixture
def mill(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "mill")) / "job.toml"


@pytest.fixture
def mill_with_baselines(mill: Path, mill_baselines: Path) -> Path:
    """Copy the trained job with its fitted baselines, so that reports train nothing; return its path."""
    shutil.copytree(mill_baselines, mill.parent / "out" / HIDDEN / "yardsticks")
    return mill


def edit(job: Path, old: str, new: str) -> Path:
    text = job.read_text()
    assert old in text
    job.write_text(text.replace(old, new))
    return job


def own(job: Path) -> Bundle:
    return Bundle.open(job.parent / "exported" / "mill")


def statuses(job: Path) -> list[str]:
    return [result.status for result in score(job).nights]


def state(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*") if path.is_file()}


def test_another_alpha_moves_the_threshold_without_an_export_and_nights_are_scored_again(mill: Path) -> None:
    first, bundle = statuses(mill), state(mill.parent / "exported")
    flagged = Outputs(mill.parent / "out").manifests(SCORE)[0].details.flagged
    edit(mill, "alpha = 0.05", "alpha = 0.2")

    result = calibrate(mill)

    assert first == ["written"] * 3
    assert (result.created, result.alpha_before, result.alpha) == (True, 0.05, 0.2)
    assert result.threshold < result.threshold_before
    assert state(mill.parent / "exported") == bundle
    assert statuses(mill) == ["written"] * 3
    assert statuses(mill) == ["already done"] * 3
    manifest = Outputs(mill.parent / "out").manifests(SCORE)[0]
    assert manifest.details.alpha == 0.2
    assert manifest.details.calibration == result.digest
    assert manifest.details.flagged > flagged


def test_the_same_again_writes_nothing(mill: Path) -> None:
    assert not calibrate(mill).created
    edit(mill, "alpha = 0.05", "alpha = 0.1")
    calibrate(mill)
    before = state(mill.parent / "out")

    assert not calibrate(mill).created
    assert state(mill.parent / "out") == before


def test_rows_of_given_partitions_are_calibrated_on_as_the_job_chooses_them(mill: Path) -> None:
    result = calibrate(mill, partitions=["2026-01-03", "dt=2026-01-04"])

    normal = pa.concat_tables([night(3), night(4)]).filter(~np.tile(np.arange(ROWS) % 20 == 0, 2))
    scores = aepipe.load(mill.parent / "exported" / "mill").score(normal.drop_columns("id"))["score"].to_numpy()
    expected = Calibration.fit(scores, alpha=0.05)
    assert result.path is not None
    found = Calibration.model_validate_json(result.path.read_bytes())
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
    assert found.alpha == 0.05
    assert result.rows == 2 * ROWS * 19 // 20
    model = aepipe.load(mill.parent / "exported" / "mill", outputs=mill.parent / "out")
    assert model.bundle.calibration == found


def fitted_on(mill: Path, rows: pa.Table) -> Calibration:
    columns = rows.drop_columns(["id", "fault"])
    scores = aepipe.load(mill.parent / "exported" / "mill").score(columns)["score"].to_numpy()
    return Calibration.fit(scores, alpha=0.05)


@pytest.mark.parametrize("label", [None, "fault"])
def test_rows_whose_label_marks_an_anomaly_do_not_calibrate(mill: Path, label: str | None) -> None:
    edit(mill, 'where = "fault = false"\n', "")
    if label is not None:
        edit(mill, 'anomaly = "fault = true"\n', "")
    table = night(3)
    fault = table["fault"].to_numpy().copy()
    known = np.arange(ROWS) >= ROWS // 2
    table = table.set_column(4, "fault", pa.array(fault, mask=~known))
    write(mill.parent, NIGHTS[2], table)

    result = calibrate(mill, partitions=[NIGHTS[2]], label=label)

    assert result.path is not None
    found = Calibration.model_validate_json(result.path.read_bytes())
    np.testing.assert_allclose(found.scores, fitted_on(mill, table.filter(~(known & fault))).scores, rtol=1e-5)
    assert (result.rows, result.left_out) == (ROWS - ROWS // 40, ROWS // 40)


def test_rows_with_the_verdict_anomaly_do_not_calibrate(mill: Path) -> None:
    edit(mill, 'where = "fault = false"\n', "")
    edit(mill, 'anomaly = "fault = true"\n', "")
    table = night(3)
    keys = table["id"].to_pylist()
    give_feedback(mill, [str(keys[0])], verdict="anomaly")
    give_feedback(mill, [str(keys[20])], verdict="unsure")
    give_feedback(mill, [str(keys[40])], verdict="expected")

    printed = CliRunner().invoke(app, ["calibrate", str(mill), "--partition", NIGHTS[2]])

    assert "rows left out because their labels mark anomalies: 1" in printed.output
    found = aepipe.load(mill.parent / "exported" / "mill", outputs=mill.parent / "out").bundle.calibration
    np.testing.assert_allclose(found.scores, fitted_on(mill, table.slice(1)).scores, rtol=1e-5)


def test_partitions_without_the_label_calibrate_with_all_rows(mill: Path) -> None:
    edit(mill, 'where = "fault = false"\n', "")
    table = night(3).drop_columns("fault")
    write(mill.parent, NIGHTS[2], table)

    result = calibrate(mill, partitions=[NIGHTS[2]])

    assert (result.rows, result.left_out) == (ROWS, 0)


def test_a_shift_that_calibration_has_seen_is_flagged_no_more(mill: Path) -> None:
    write(mill.parent, NIGHTS[3], night(14, shift=6.0))
    write(mill.parent, NIGHTS[4], night(15, shift=6.0))
    before = score(mill).nights[-1].flagged
    calibrate(mill, partitions=[NIGHTS[3]])

    after = score(mill).nights[-1].flagged

    assert after < before


def test_the_command_says_what_moved_and_prints_json(mill: Path) -> None:
    edit(mill, "alpha = 0.05", "alpha = 0.1")

    first = CliRunner().invoke(app, ["calibrate", str(mill)])
    second = CliRunner().invoke(app, ["calibrate", str(mill)])
    third = CliRunner().invoke(app, ["calibrate", str(mill), "--json"])

    assert "alpha 0.05 -> 0.1, threshold" in first.output
    assert "already has this calibration" in second.output
    assert json.loads(third.stdout)["created"] is False


@pytest.mark.slow
def test_flags_adapt_along_the_nights_where_the_job_says_so(mill_with_baselines: Path) -> None:
    for day, name in enumerate(NIGHTS[2:], 3):
        write(mill_with_baselines.parent, name, night(day, shift=6.0))
    fixed = score(mill_with_baselines)
    edit(mill_with_baselines, "alpha = 0.05", "alpha = 0.05\nadaptive = true")

    adapted = score(mill_with_baselines, partitions=NIGHTS[:1:-1])

    manifests = [Outputs(mill_with_baselines.parent / "out").manifest(SCORE, name) for name in NIGHTS[2:]]
    assert [found and found.details.stream and found.details.stream.after for found in manifests] == [
        None,
        *NIGHTS[2:4],
    ]
    assert [found.partition for found in adapted.nights] == list(NIGHTS[2:])
    assert sum(found.flagged for found in adapted.nights) < sum(found.flagged for found in fixed.nights) / 2
    assert "an adaptive alpha" in report(mill_with_baselines).path.read_text()


def test_going_back_to_the_bundles_own_calibration_is_a_calibration_too(mill: Path) -> None:
    calibrate(mill, partitions=[NIGHTS[2]])

    result = calibrate(mill)

    assert result.created
    assert result.digest == own(mill).calibration.digest
    lines = (mill.parent / "out" / ".aepipe" / "calibration" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["why"] for line in lines] == [
        f"calibrated on {NIGHTS[2]}",
        "calibrated on the bundle's own rows",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("partitions", [[NIGHTS[2]], None])
def test_costs_choose_by_labels_of_the_partitions_or_of_scored_nights(
    mill_with_baselines: Path, partitions: list[str] | None
) -> None:
    score(mill_with_baselines)
    edit(mill_with_baselines, "[calibration]\n", f"[calibration]\n{COSTS}")

    result = calibrate(mill_with_baselines, partitions=partitions)

    what = "labelled rows of the latest nights" if partitions is None else "labelled rows of the partitions"
    assert what in result.sentence
    page = report(mill_with_baselines).path.read_text()
    assert "has the least expected cost" in page
    assert "expected cost per night" in page
    assert "F4.47" in page
    assert f"{NIGHTS[2]} was scored under another calibration" in page


def test_without_labels_alpha_rests_on_scored_nights_and_else_on_an_assumption(mill: Path) -> None:
    for day, name in enumerate(NIGHTS[2:], 3):
        write(mill.parent, name, night(day, labelled=False))
    edit(mill, "[calibration]\n", f"[calibration]\n{COSTS}capacity = 30\n")

    assumed = calibrate(mill)
    score(mill)
    informed = calibrate(mill)

    assert assumed.sentence.startswith(
        "alpha = 0.05 is an assumption, the job's alpha, cut to 30 alarms in a night of 400"
    )
    assert "1,200 scores of the latest nights without labels" in informed.sentence
    assert informed.alpha != assumed.alpha


@pytest.mark.slow
def test_training_with_costs_chooses_alpha_by_labelled_rows_kept_from_training(mill: Path) -> None:
    edit(mill, "[calibration]\n", f"[calibration]\n{COSTS}")

    bundle = Bundle.open(train(mill).bundle)

    choice = bundle.calibration.choice
    assert choice is not None
    assert choice.by == "labels"
    assert choice.chosen is not None
    assert bundle.calibration.alpha == choice.chosen.alpha
    assert set(choice.measures) == {"precision", "recall", "F1", "F4.47"}
    assert f"{2 * ROWS // 20} of them anomalies" in choice.sentence


@pytest.mark.slow
def test_training_with_labels_of_one_class_leaves_no_bundle(mill: Path) -> None:
    edit(mill, "[calibration]\n", f"[calibration]\n{COSTS}")
    edit(mill, 'anomaly = "fault = true"', 'anomaly = "id < 0"')

    with pytest.raises(
        CalibrationInvalid, match=r"^labelled rows are of one class: expected both, got \d+ rows, all normal"
    ):
        train(mill)
    assert len(Registry(mill.parent / "exported" / "mill").versions()) == 1


@pytest.mark.slow
def test_labels_choose_the_head_on_rows_kept_from_training(mill: Path) -> None:
    edit(mill, "[score]\n", '[score]\nhead = "labelled"\n')

    manifest = Bundle.open(train(mill).bundle).manifest

    choice = manifest.details["head"]
    assert set(choice["average_precision"]) == set(heads.names())
    assert manifest.head == choice["name"]
    assert f"{2 * ROWS // 20} anomalies among" in choice["sentence"]


@pytest.mark.parametrize(
    ("anomaly", "error", "sentence"),
    [
        (
            'anomaly = "id < 0"',
            OptionInvalid,
            r"head = 'labelled': 0 anomalies and \d+ normal rows with labels",
        ),
        ("", JobInvalid, r"head = 'labelled' needs \[evaluate\] anomaly"),
    ],
)
def test_a_head_cannot_be_chosen_without_labels(
    mill: Path, anomaly: str, error: type[AepipeError], sentence: str
) -> None:
    edit(mill, "[score]\n", '[score]\nhead = "labelled"\n')
    edit(mill, 'anomaly = "fault = true"', anomaly)

    with pytest.raises(error, match=sentence):
        train(mill)
    assert len(Registry(mill.parent / "exported" / "mill").versions()) == 1


def null_scores(mill: Path) -> None:
    score(mill)
    outputs = Outputs(mill.parent / "out")
    for manifest in outputs.manifests(SCORE):
        path = outputs.root / manifest.files["scores"].path
        table = pq.ParquetFile(path).read()
        at = table.schema.get_field_index("score")
        pq.write_table(table.set_column(at, "score", pa.nulls(table.num_rows, pa.float32())), path)
        record = mill.parent / "out" / ".aepipe" / "manifests" / "score" / f"{manifest.partition}.json"
        content = json.loads(record.read_bytes())
        content["files"]["scores"]["bytes"] = path.stat().st_size
        record.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("prepare", "alpha", "partitions", "sentence"),
    [
        (
            None,
            "alpha = 0.05",
            [NIGHTS[0]],
            r"^mill/\S+ was trained on dt=2026-01-01: expected partitions without training rows",
        ),
        (
            None,
            "alpha = 0.0001",
            [NIGHTS[2]],
            r"^alpha 0\.0001 has too few calibration rows: expected at least 9999, got 380",
        ),
        ("infinite", "alpha = 0.05", [NIGHTS[2]], r"^no row of dt=2026-01-03 has a score: "),
        (
            "one class",
            f"{COSTS}",
            [NIGHTS[2]],
            r"^labelled rows are of one class: expected both, got 400 rows, all normal",
        ),
        ("null", f"{COSTS}", None, r"^the score column of dt=2026-01-03 to dt=2026-01-05 is null in every row\. "),
    ],
)
def test_what_cannot_be_calibrated_on_is_one_sentence_and_nothing_is_written(
    mill: Path, prepare: str | None, alpha: str, partitions: list[str] | None, sentence: str
) -> None:
    edit(mill, "alpha = 0.05\n", f"{alpha}\n")
    table = night(3)
    if prepare == "infinite":
        table = table.set_column(1, "a", pa.array(np.full(ROWS, np.inf)))
    elif prepare == "one class":
        table = table.set_column(4, "fault", pa.array([False] * ROWS))
    elif prepare == "null":
        null_scores(mill)
    write(mill.parent, NIGHTS[2], table.select(["id", "a", "b", "c", "fault"]))

    with pytest.raises(CalibrationInvalid, match=sentence):
        calibrate(mill, partitions=partitions)
    assert not (mill.parent / "out" / ".aepipe" / "calibration").exists()


def test_equal_rows_calibrate_and_are_not_flagged(mill: Path) -> None:
    table = night(3)
    table = pa.table({**{n: table[n] for n in ("id", "fault")}, **{n: np.ones(ROWS) for n in "abc"}})
    write(mill.parent, NIGHTS[2], table.select(["id", "a", "b", "c", "fault"]))

    calibrate(mill, partitions=[NIGHTS[2]])

    assert score(mill, partitions=[NIGHTS[2]]).nights[0].flagged == 0


def test_a_calibration_file_that_was_edited_is_refused(mill: Path) -> None:
    path = calibrate(mill, partitions=[NIGHTS[2]]).path
    assert path is not None
    path.write_bytes(path.read_bytes().replace(b'"alpha": 0.05', b'"alpha": 0.06'))

    with pytest.raises(
        CalibrationInvalid, match=r"was changed after it was written: its digest differs\. Run aepipe cal"
    ):
        score(mill)
    assert [str(path) in fault for fault in verify(mill).faults] == [True]
    path.unlink()
    with pytest.raises(CalibrationInvalid, match="cannot be read"):
        score(mill)


@pytest.mark.parametrize("partitions", [None, ["dt=2026-01-03"]])
def test_a_label_that_is_named_says_what_evaluate_anomaly_does(mill: Path, partitions: list[str] | None) -> None:
    score(mill)
    edit(mill, "alpha = 0.05\n", COSTS)
    stated = calibrate(mill, partitions=partitions)
    edit(mill, 'anomaly = "fault = true"', "")

    named = calibrate(mill, partitions=partitions, label="fault")

    assert "labelled rows" in stated.sentence
    assert named == stated.model_copy(update={"created": False, "path": None} | dict(_before(stated)))


def _before(result: CalibrateResult) -> Iterator[tuple[str, float]]:
    yield "alpha_before", result.alpha
    yield "threshold_before", result.threshold


def test_a_label_without_costs_is_refused(mill: Path) -> None:
    with pytest.raises(ArgumentInvalid, match="Add false_alarm_cost, miss_cost and base_rate under"):
        calibrate(mill, label="fault")
