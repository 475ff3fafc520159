"""Jobs over Delta and Iceberg tables: the scores of plain files, and backfills that read a table as it was."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.jobs.backfill.backfill import backfill
from aepipe.jobs.init import init
from aepipe.jobs.promotion.promote import promote
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.storage import Outputs
from aepipe.tables.formats.source_table import Version
from tests.tables.formats.test_source_table import Delta, Iceberg

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

COLUMN = '[columns]\ndt = "ignore"\n'
NIGHTS = ("2026-01-01", "2026-01-02", "2026-01-03")


def night(day: str, *, seed: int, shift: float = 0.0) -> pa.Table:
    rng = np.random.default_rng(seed)
    columns = {"id": np.arange(150), "a": rng.normal(size=150) + shift, "b": rng.normal(size=150)}
    return pa.table({"dt": [day] * 150, **columns})


def write_job(
    folder: Path, name: str, path: str, catalog: dict[str, str] | None = None, *, has_dt: bool = False
) -> Path:
    pairs = ", ".join(f'{key} = "{value}"' for key, value in (catalog or {}).items())
    file = folder / f"{name}.toml"
    file.write_text(
        f'name = "{name}"\n[data]\npath = "{path}"\nkeys = ["id"]\n{f"catalog = {{ {pairs} }}" if catalog else ""}\n'
        f'{COLUMN if has_dt else ""}[model]\nfamily = "pca"\n[train]\nto = "dt=2026-01-01"\n'
        "[calibration]\nalpha = 0.05\n[run]\nworkers = 1\n"
    )
    return file


@pytest.mark.parametrize("kind", [Delta, Iceberg])
def test_scores_of_a_table_are_those_of_plain_files(tmp_path: Path, kind: type[Delta]) -> None:
    source = kind(tmp_path)
    for seed, day in enumerate(NIGHTS):
        table = night(day, seed=seed)
        source.append(table, by=["dt"])
        plain = tmp_path / "plain" / f"dt={day}" / "p.parquet"
        plain.parent.mkdir(parents=True)
        pq.write_table(table.drop(["dt"]) if kind is Delta else table, plain)
    catalog = source.properties if isinstance(source, Iceberg) else None
    has_dt = kind is Iceberg  # its files hold the partition column too

    found = []
    for name, path, properties in (("table", source.url, catalog), ("plain", "plain", None)):
        job = write_job(tmp_path, name, path, properties, has_dt=has_dt)
        train(job)
        assert [night.status for night in score(job).nights] == ["written"] * 3
        assert [night.status for night in score(job).nights] == ["already done"] * 3
        outputs = Outputs(tmp_path / "out" / job.stem)
        found.append([pq.read_table(outputs.path("scores", f"dt={day}"))["score"] for day in NIGHTS])

    assert found[0] == found[1]


def test_a_backfill_as_of_reads_the_table_of_each_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aepipe.bundles.registry import Registry
    from aepipe.tables.formats.delta import DeltaSource
    from aepipe.tables.partition_dates import end_of

    source = Delta(tmp_path)
    for seed, day in enumerate(NIGHTS):
        source.append(night(day, seed=seed), by=["dt"])
    source.replace(pa.concat_tables(night(day, seed=seed, shift=9.0) for seed, day in enumerate(NIGHTS)))
    # versions 0, 1, 2 were written on their nights, version 3 a year later
    days = [(2026, 1, 1), (2026, 1, 2), (2026, 1, 3), (2027, 1, 1)]
    versions = tuple(Version(number, end_of(day)) for number, day in enumerate(days))
    monkeypatch.setattr(DeltaSource, "versions", lambda self: versions)
    job = write_job(tmp_path, "table", "delta://rows")
    train(job)
    namings = Registry(tmp_path / "exported" / "table").history()
    early = tuple(naming.model_copy(update={"when": end_of((2025, 1, 1))}) for naming in namings)
    monkeypatch.setattr(Registry, "history", lambda self: early)

    plan = backfill(job, model="as-of", dry_run=True).plan
    done = backfill(job, model="as-of")
    again = backfill(job, model="as-of")

    assert [step.status for step in plan.steps] == ["due"] * 3
    assert [night.status for night in done.nights] == ["written"] * 3
    assert [step.status for step in again.plan.steps] == ["already done"] * 3
    inputs = [Path(next(iter(night.details.inputs))).name for night in done.nights]
    newest = [night.details.inputs for night in score(job, partitions=[f"dt={day}" for day in NIGHTS]).nights]
    assert not set(inputs) & {Path(path).name for paths in newest for path in paths}


def test_a_backfill_as_of_writes_the_scores_that_the_champion_wrote_on_its_night(tmp_path: Path) -> None:
    source, last = Delta(tmp_path), f"dt={NIGHTS[-1]}"
    for seed, day in enumerate(NIGHTS):
        source.append(night(day, seed=seed), by=["dt"])
    job = write_job(tmp_path, "table", "delta://rows")
    train(job)

    def scores() -> pa.Table:
        return pq.read_table(Outputs(tmp_path / "out" / "table").path("scores", last))

    score(job, partitions=[last])
    on_its_night = scores()
    source.append(night("2026-01-04", seed=7), by=["dt"])
    job.write_text(job.read_text().replace(NIGHTS[0], NIGHTS[1]))
    train(job)
    promote(job, force=True, why="a test")
    log = tmp_path / "exported" / "table" / "aliases.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[0]["when"] = "2026-01-01T03:00:00Z"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    score(job, partitions=[last])
    assert not scores()["score"].equals(on_its_night["score"])

    done = backfill(job, model="as-of", first=last, last=last)

    assert [each.status for each in done.nights] == ["written"]
    assert scores().equals(on_its_night)


def test_init_writes_a_job_over_a_table(tmp_path: Path) -> None:
    source = Delta(tmp_path)
    source.append(night("2026-01-01", seed=0), by=["dt"])

    written = init(f"delta://{tmp_path}/rows", name=None, job_path=tmp_path / "job.toml")

    assert f'path = "delta://{tmp_path}/rows"' in (tmp_path / "job.toml").read_text()
    assert 'name = "rows"' in (tmp_path / "job.toml").read_text()
    assert written.path == tmp_path / "job.toml"
