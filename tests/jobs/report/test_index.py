"""Index page of all nights of all jobs of a folder."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from aepipe.errors import JobInvalid
from aepipe.jobs.report.index import write_index
from aepipe.jobs.score import score
from aepipe.report.index_page import JobLine, Night, render_index


def test_page_has_a_bar_per_night_and_links_to_reports(cells: Path, tmp_path: Path) -> None:
    score(cells, partitions=["dt=2026-01-06", "dt=2026-01-07"])
    reports = cells.parent / "out" / "reports"
    reports.mkdir(parents=True)
    (reports / "dt=2026-01-07.html").write_text("a report")
    page = tmp_path / "site" / "jobs.html"
    page.parent.mkdir()

    result = write_index([cells.parent], page)

    text = page.read_text()
    assert result.jobs == 1
    assert text.count("<rect") == 2 * 2  # alarms and rows; drift was not measured
    (link,) = [part.split('"')[0] for part in text.split('href="')[1:]]
    assert (page.parent / link.replace("%3D", "=")).read_text() == "a report"


def test_job_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "job.toml").write_text("name = ")

    write_index([tmp_path], tmp_path / "jobs.html")

    assert "job.toml" in (tmp_path / "jobs.html").read_text()


def test_folder_without_jobs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobInvalid, match=r"has no job\.toml"):
        write_index([tmp_path], tmp_path / "jobs.html")


def test_names_are_escaped_and_drift_has_a_sparkline() -> None:
    nights = (Night("dt=<1>", 10, 1, 0.1, ""), Night("dt=2", 20, 2, 0.3, "out/a.html"))

    page = render_index(
        [JobLine(name="<b>", champion="v", nights=nights, quarantined=1)], written_at=datetime(2026, 1, 1, tzinfo=UTC)
    )

    assert "<b>" not in page.replace("<b>1</b>", "").replace('<b class="mono">', "").split("<h2>")[1].split("</h2>")[0]
    assert "for model" not in page
    assert page.count("<rect") == 3 * 2
    assert "dt=&lt;1&gt;: 0.1" in page
