"""Report pages built from files on disk."""

import json
import shutil
from pathlib import Path

import pytest

from aepipe.errors import DataUnreadable
from aepipe.jobs.evaluate.compare import compare
from aepipe.jobs.report.report import report
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.score import score


@pytest.mark.slow
def test_page_shows_the_partitions_and_needs_no_network(digits: Path) -> None:
    score(digits)
    sample(digits, rows=32, partition="dt=2026-02-01")

    result = report(digits)

    assert result.model_dump_json() == json.dumps({"path": str(result.path), "created": True}, separators=(",", ":"))
    assert result.compared == compare(digits)
    text = result.path.read_text()
    for shown in (
        "dt=2026-01-07",
        "flagged",
        "scan-",
        "isolation forest",
        "PCA reconstruction",
        "<svg",
        "data:image/png",
    ):
        assert shown in text, shown
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text
    assert text.count("<script") == 1


def test_quarantined_partition_is_on_the_page_with_its_reason(cells: Path) -> None:
    (cells.parent / "dt=2026-01-06" / "part-0.parquet").write_bytes(b"no parquet")
    text = cells.read_text()
    cells.write_text(text.replace("[evaluate]\nanomaly = \"diagnosis = 'malignant'\"\n", ""))
    score(cells)

    page = report(cells).path.read_text()

    assert "quarantined" in page
    assert "dt=2026-01-06" in page


def test_report_without_scores_is_rejected(cells: Path) -> None:
    with pytest.raises(DataUnreadable, match="Run: aepipe score"):
        report(cells)


def test_a_partition_whose_outputs_were_removed_is_one_notice_and_the_others_are_reported(scored_cells: Path) -> None:
    folder = scored_cells.parent
    for output in ("scores", "features"):
        shutil.rmtree(folder / "out" / output / "dt=2026-01-05")

    page = report(scored_cells).path.read_text()

    assert "the outputs of dt=2026-01-05 were removed" in page
    assert '<tr class="why">' in page
    assert "given the other columns" in page
    assert "dt=2026-01-06" in page


def test_a_page_is_not_made_as_of_an_earlier_night_if_the_manifest_of_the_latest_cannot_be_read(
    scored_cells: Path,
) -> None:
    manifests = scored_cells.parent / "out" / ".aepipe" / "manifests" / "score"
    latest = max(manifests.glob("*.json"))
    latest.write_bytes(b"{")

    with pytest.raises(DataUnreadable, match=f"{latest} cannot be read.*Run: aepipe score"):
        report(scored_cells)
    assert not (scored_cells.parent / "out" / "reports").exists()

    score(scored_cells)
    assert report(scored_cells).path.stem == latest.stem


def test_a_page_is_made_if_the_manifest_of_an_earlier_night_cannot_be_read(scored_cells: Path) -> None:
    manifests = scored_cells.parent / "out" / ".aepipe" / "manifests" / "score"
    min(manifests.glob("*.json")).write_bytes(b"{")

    assert report(scored_cells).path.stem == max(manifests.glob("*.json")).stem
