"""A page is rendered again if and only if one of its inputs has changed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from aepipe.bundles.registry import Registry
from aepipe.cli.main import app
from aepipe.config.job import read_job
from aepipe.jobs.calibrate import calibrate
from aepipe.jobs.drift.monitor import measure_drift
from aepipe.jobs.feedback.verdicts import Verdict, append_verdicts
from aepipe.jobs.forget import forget
from aepipe.jobs.nightly import night
from aepipe.jobs.report import page_state as module
from aepipe.jobs.report.current_page import report_if_changed
from aepipe.jobs.report.page_state import page_state
from aepipe.jobs.report.report import report
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.sample.traverse import traverse
from aepipe.jobs.score import score
from aepipe.storage import SCORE, Outputs
from aepipe.storage.paths import drift_folder, manifests_folder
from tests.support.two_models import DAYS, add_reference, add_version, write_job, write_partition

ROOT = Path(__file__).parents[3]
LATER = "dt=2026-03-04"
HEAVY = ("jinja2", "matplotlib", "onnxruntime", "pandas", "scipy", "sklearn", "torch")


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Score a job with a drift reference, without labels and samples."""
    job = write_job(tmp_path, "[samples]\nrows = 0\n")
    edit(job, '[evaluate]\nanomaly = "bad = 1"\n', "")
    add_reference(tmp_path)
    score(job)
    return job


def edit(job: Path, old: str, new: str) -> None:
    text = job.read_text()
    assert old in text
    job.write_text(text.replace(old, new))


def key(job: Path, model: str = "champion", today: date | None = None) -> str:
    state = page_state(read_job(job), model, today=today)
    assert state is not None
    return state.key


def outputs(job: Path) -> Outputs:
    return Outputs(read_job(job).out_path)


def touch(path: Path) -> None:
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def verdict(**fields: object) -> Verdict:
    return Verdict.model_validate(
        {"key": "11000", "verdict": "expected", "who": "ada", "when": datetime(2026, 3, 5, tzinfo=UTC), **fields}
    )


def write_quarantined_samples(job: Path) -> None:
    folder = outputs(job).root / ".aepipe" / "quarantine" / "_samples" / "dt=2026-03-05"
    folder.mkdir(parents=True)
    (folder / "reason.txt").write_text("the rows are too close")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a new partition": lambda job: (write_partition(job.parent, LATER, seed=9), score(job)),
    "a source": lambda job: touch(job.parent / "rows" / DAYS[0] / "part-0.parquet"),
    "a lost source": lambda job: (job.parent / "rows" / DAYS[0] / "part-0.parquet").unlink(),
    "scores": lambda job: touch(outputs(job).path("scores", DAYS[0])),
    "features": lambda job: touch(outputs(job).path("features", DAYS[1])),
    "lost scores": lambda job: outputs(job).path("scores", DAYS[0]).unlink(),
    "a commit": lambda job: score(job, partitions=[DAYS[0]], force=True),
    "an unreadable manifest": lambda job: (manifests_folder(outputs(job).root, SCORE) / f"{DAYS[0]}.json").write_text(
        "{"
    ),
    "a removed partition": lambda job: forget(job, [DAYS[0]], is_confirmed=True),
    "the job": lambda job: edit(job, "rows = 0", "rows = 0\n[calibration]\ncapacity = 3"),
    "the labels": lambda job: edit(job, "[columns]", '[evaluate]\nanomaly = "bad = 1"\n[columns]'),
    "the calibration": lambda job: (edit(job, "rows = 0", "rows = 0\n[calibration]\nalpha = 0.2"), calibrate(job)),
    "the champion": lambda job: (add_version(job.parent, "champion", seed=4), score(job)),
    "feedback": lambda job: append_verdicts(read_job(job), [verdict()]),
    "drift": measure_drift,
    "a drift record": lambda job: (measure_drift(job), touch_drift(job)),
    "a quarantined partition": lambda job: outputs(job).quarantine(LATER, "it is empty", []),
    "quarantined samples": write_quarantined_samples,
}
"""By input of the page, what changes it."""


def touch_drift(job: Path) -> None:
    version = Registry(read_job(job).bundle_path).resolve().name
    touch(drift_folder(outputs(job).root, version) / f"{DAYS[2]}.json")


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_what_a_page_shows_changes_its_key(job: Path, change: str) -> None:
    before = key(job)

    CHANGES[change](job)

    assert key(job) != before


def test_earlier_partitions_count_if_their_outputs_or_manifests_are_lost(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LATEST", 1)
    keys = [key(job)]
    touch(job.parent / "rows" / DAYS[0] / "part-0.parquet")
    assert key(job) == keys[0]

    outputs(job).path("scores", DAYS[0]).unlink()
    keys.append(key(job))
    manifest = manifests_folder(outputs(job).root, SCORE) / f"{DAYS[1]}.json"
    manifest.write_text("{")
    keys.append(key(job))
    manifest.unlink()
    keys.append(key(job))

    assert len({*keys[:3]}) == 3
    assert keys[3] == keys[1]


def test_a_changed_drift_record_changes_the_key(job: Path) -> None:
    measure_drift(job)
    before = key(job)

    touch_drift(job)

    assert key(job) != before


def test_the_key_follows_the_job_file_that_messages_name_and_the_alias(job: Path) -> None:
    moved = Path(job.replace(job.with_name("other.toml")))

    assert key(moved) != key(Path(moved.rename(job)))
    assert key(job) != key(job, Registry(read_job(job).bundle_path).resolve().name)


def test_a_verdict_that_expires_changes_the_key_on_the_day_after(job: Path) -> None:
    append_verdicts(read_job(job), [verdict(expires=date(2026, 3, 10))])
    first, last, after = (key(job, today=date(2026, 3, day)) for day in (5, 10, 11))

    assert first == last != after


def test_the_versions_of_aepipe_and_of_what_draws_change_the_key(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [key(job)]
    monkeypatch.setattr(module, "_PACKAGES", module._PACKAGES[1:])
    keys.append(key(job))
    monkeypatch.setattr(module, "_PACKAGES", ())
    keys.append(key(job))

    assert len(set(keys)) == 3


def test_known_digests_change_the_key(job: Path) -> None:
    sums = job.parent / "sums.parquet"
    pq.write_table(pa.table({"path": ["rows"], "sha256": ["0" * 64]}), sums)
    edit(job, 'keys = ["id"]', 'keys = ["id"]\ndigests = "sums.parquet"')
    before = key(job)

    touch(sums)

    assert key(job) != before


def test_what_a_page_does_not_show_leaves_the_key(job: Path) -> None:
    before = key(job)

    add_version(job.parent, "challenger", seed=5)
    (job.parent / "rows" / "dt=2026-04-01").mkdir()
    pq.write_table(pa.table({"id": [1]}), job.parent / "rows" / "dt=2026-04-01" / "part-0.parquet")

    assert key(job) == before


def test_no_key_is_known_without_scores_or_sources(job: Path, tmp_path: Path) -> None:
    assert page_state(read_job(job), "unknown") is None
    (job.parent / "rows").rename(job.parent / "gone")
    assert page_state(read_job(job), "champion") is None

    unscored = write_job(tmp_path / "unscored")
    assert page_state(read_job(unscored), "champion") is None


def first_key(job: Path) -> str:
    return str(pq.read_table(outputs(job).path("scores", "dt=2026-01-05"), partitioning=None)["case_id"][0])


TRAINED: dict[str, Callable[[Path], object]] = {
    "a training partition": lambda job: touch(job.parent / "dt=2026-01-02" / "part-0.parquet"),
    "a lost training partition": lambda job: (job.parent / "dt=2026-01-02" / "part-0.parquet").unlink(),
    "samples": lambda job: sample(job, rows=20, partition="dt=2026-02-01"),
    "rewritten samples": lambda job: touch(Outputs(read_job(job).out_path).path("samples", "dt=2026-01-31")),
    "a traversal": lambda job: traverse(job, first_key(job)),
}


@pytest.mark.parametrize("change", TRAINED)
def test_a_change_of_training_rows_samples_or_traversals_changes_the_key(scored_cells: Path, change: str) -> None:
    sample(scored_cells, rows=20, partition="dt=2026-01-31")
    before = key(scored_cells)

    TRAINED[change](scored_cells)

    assert key(scored_cells) != before


def test_a_series_follows_all_partitions_that_its_windows_reach_into(machines: Path) -> None:
    before = key(machines)
    last = max((machines.parent / "rows").iterdir())

    shutil.copytree(last, last.with_name("dt=2026-02-01"))

    assert key(machines) != before


@pytest.fixture
def paged(scored_cells: Path) -> Path:
    """Return a scored job without labels and samples, whose page takes a second."""
    edit(scored_cells, "[evaluate]\nanomaly = \"diagnosis = 'malignant'\"\n", "")
    edit(scored_cells, "rows = 500", "rows = 0")
    return scored_cells


def page_times(job: Path) -> dict[str, tuple[int, int]]:
    """Return inode and time of each page and of its record."""
    root = outputs(job).root
    files = [*(root / "reports").iterdir(), *(root / ".aepipe" / "reports").iterdir()]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


@pytest.mark.slow
def test_a_run_without_changes_renders_no_page_and_imports_nothing_heavy(paged: Path) -> None:
    first = night(paged)
    before = page_times(paged)
    code = f"""
import json, sys
from aepipe.jobs.nightly import night
done = night({str(paged)!r})
print(json.dumps([str(done.report.path), sorted(name for name in {HEAVY} if name in sys.modules)]))
"""

    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)

    assert again.returncode == 0, again.stderr
    path, imported = json.loads(again.stdout)
    assert first.report is not None
    assert path == str(first.report.path)
    assert imported == []
    assert page_times(paged) == before


@pytest.mark.slow
def test_the_command_leaves_a_current_page_unless_it_is_forced(paged: Path) -> None:
    def said(*more: str) -> str:
        return " ".join(CliRunner().invoke(app, ["report", str(paged), *more]).stdout.split())

    first = said()
    page, content = report_if_changed(paged).path, report_if_changed(paged).path.read_bytes()
    before = page_times(paged)

    again = said()

    assert first.startswith("wrote ")
    assert "has changed since it was written" in again
    assert page_times(paged) == before
    assert json.loads(said("--json"))["created"] is False
    assert said("--force").startswith("wrote ")
    assert page.read_bytes() == content
    assert json.loads(said("--force", "--json"))["created"] is True


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["deleted", "edited", "no record", "a broken record"])
def test_a_page_that_is_not_the_recorded_one_is_made_again(paged: Path, fault: str) -> None:
    page = report_if_changed(paged).path
    content = page.read_bytes()
    record = outputs(paged).root / ".aepipe" / "reports" / "champion.json"
    noted = record.read_bytes()
    {
        "deleted": page.unlink,
        "edited": lambda: page.write_bytes(content.replace(b"cells", b"flags")),
        "no record": record.unlink,
        "a broken record": lambda: record.write_bytes(b"{"),
    }[fault]()

    assert report_if_changed(paged).path == page

    assert page.read_bytes() == content
    assert record.read_bytes() == noted


@pytest.mark.slow
def test_a_changed_input_leads_to_a_new_page(paged: Path) -> None:
    page = report_if_changed(paged).path
    outputs(paged).quarantine("dt=2026-02-01", "it is empty", [])

    assert report_if_changed(paged).path == page

    assert "it is empty" in page.read_text()


@pytest.mark.slow
def test_a_page_with_an_unreadable_source_is_not_taken_for_current(paged: Path) -> None:
    report(paged)
    record = outputs(paged).root / ".aepipe" / "reports" / "champion.json"
    before = record.read_bytes()
    source = paged.parent / "dt=2026-01-05" / "part-0.parquet"
    rows = source.read_bytes()
    source.write_bytes(b"unreadable")

    page = report(paged).path

    assert "is missing or has changed" in page.read_text()
    assert record.read_bytes() == before
    source.unlink()
    report(paged)
    assert record.read_bytes() != before  # it will be missing until its folder changes
    source.write_bytes(rows)
    assert "is missing or has changed" not in report_if_changed(paged).path.read_text()


@pytest.mark.slow
def test_verify_takes_the_record_for_no_fault(paged: Path) -> None:
    report(paged)

    assert outputs(paged).verify() == []
