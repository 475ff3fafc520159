"""Source files with known digests: a changed byte quarantines its partition, and files without checksums are named."""

import hashlib
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest

from aepipe.config.job import read_job
from aepipe.errors import DataUnreadable, JobInvalid
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train, training_key
from aepipe.storage import SCORE, Outputs
from aepipe.storage.known_digests import read_known_digests
from aepipe.tables.partitions import discover, select

NIGHT = "dt=2026-01-06"


def files(job: Path) -> list[Path]:
    return sorted(job.parent.glob("dt=*/part-0.parquet"))


def sums(job: Path) -> dict[str, str]:
    return {str(path.relative_to(job.parent)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files(job)}


def name_digests(job: Path, name: str) -> None:
    job.write_text(job.read_text().replace("[data]\n", f'[data]\ndigests = "{name}"\n'))


def write(job: Path, name: str) -> None:
    known, path = sums(job), job.parent / name
    if path.suffix == ".sha256":
        listing = subprocess.run(["sha256sum", *known], cwd=job.parent, capture_output=True, check=True)
        path.write_bytes(listing.stdout)
    else:
        table = pa.table({"path": list(known), "sha256": list(known.values())})
        arrow_csv.write_csv(table, path) if path.suffix == ".csv" else pq.write_table(table, path)
    name_digests(job, name)


def spoil(path: Path) -> None:
    """Change one byte of a page without a checksum."""
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["known.sha256", "known.csv", "../known.parquet"])
def test_a_changed_byte_quarantines_its_partition_alone(cells: Path, name: str) -> None:
    write(cells, name)
    spoil(cells.parent / NIGHT / "part-0.parquet")

    result = score(cells)

    assert [(night.partition, night.status) for night in result.nights if night.reason] == [(NIGHT, "quarantined")]
    (reason,) = [night.reason for night in result.nights if night.reason]
    assert "differs from its known digest" in reason
    assert "Restore the file, or update its line." in reason
    assert {night.details.checksums for night in result.nights if not night.reason} == {"files"}


def test_scores_that_are_there_do_not_hide_a_difference(cells: Path) -> None:
    score(cells)
    write(cells, "known.sha256")
    path = cells.parent / "known.sha256"
    path.write_text(path.read_text().replace(sums(cells)[f"{NIGHT}/part-0.parquet"], "0" * 64))

    result = score(cells)

    assert [night.status for night in result.nights] == ["already done", "quarantined", "already done"]


def test_a_file_that_is_not_listed_is_quarantined(cells: Path) -> None:
    write(cells, "known.sha256")
    path = cells.parent / "known.sha256"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if NIGHT not in line))

    (night,) = score(cells, partitions=[NIGHT]).nights

    assert night.status == "quarantined"
    assert "has no known digest" in night.reason


def test_training_refuses_a_file_that_differs_and_its_key_ignores_the_digests(cells: Path) -> None:
    job = read_job(cells)
    before = training_key(job, select(discover(job), job.train.first, job.train.last))
    write(cells, "known.sha256")
    job = read_job(cells)

    assert training_key(job, select(discover(job), job.train.first, job.train.last)) == before
    assert not train(cells).created
    spoil(files(cells)[0])
    with pytest.raises(DataUnreadable, match="differs from its known digest"):
        train(cells)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("nonsense\n", "line 1 is not a digest: expected 64 hex digits and a path"),
        (f"{'0' * 64}  a\n{'1' * 64}  a\n", "line 2 names another digest of a"),
        (f"{'0' * 63}  a\n", "line 1 is not a digest"),
    ],
)
def test_faults_of_the_list_are_named_by_line(tmp_path: Path, content: str, fault: str) -> None:
    path = tmp_path / "known.sha256"
    path.write_text(content)

    with pytest.raises(JobInvalid, match=fault):
        read_known_digests(path, data=tmp_path)


def test_a_list_that_is_absent_is_a_mistake_in_the_job(cells: Path) -> None:
    name_digests(cells, "absent.sha256")

    with pytest.raises(JobInvalid, match=r"known digests cannot be read: No such file"):
        score(cells)


def test_names_are_read_as_sha256sum_writes_them(tmp_path: Path) -> None:
    names = ["a b.parquet", "c\\d.parquet", "e\nf.parquet", "*g.parquet"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    done = subprocess.run(["sha256sum", *names], cwd=tmp_path, capture_output=True, check=True)
    tagged = subprocess.run(["sha256sum", "--tag", "a b.parquet"], cwd=tmp_path, capture_output=True, check=True)
    (tmp_path / "known").write_bytes(done.stdout + b"# comment\n\n" + tagged.stdout)

    known = read_known_digests(tmp_path / "known", data=tmp_path)

    known.refuse_different([tmp_path / name for name in names])
    assert len(known.digests) == len(names)


@pytest.mark.parametrize(("has_checksums", "expected"), [(True, "pages"), (False, "none")])
def test_the_manifest_says_whether_pages_have_checksums(cells: Path, has_checksums: bool, expected: str) -> None:
    path = cells.parent / NIGHT / "part-0.parquet"
    pq.write_table(pq.ParquetFile(path).read(), path, write_page_checksum=has_checksums)

    score(cells, partitions=[NIGHT])

    manifest = Outputs(cells.parent / "out").manifest(SCORE, NIGHT)
    assert manifest is not None
    assert manifest.details.checksums == expected
