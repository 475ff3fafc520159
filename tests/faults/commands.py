"""Commands that write, each with the state before it, and the files that a job's folder may hold at any time."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.registry import Registry
from aepipe.jobs.report.report import report
from aepipe.jobs.sample.impute import impute
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.score import score
from aepipe.jobs.verify import verify

FIXTURE = Path(__file__).parents[1] / "fixtures" / "first_version"
NIGHT = "dt=2026-01-05"
_VERSION = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
_LEFTOVER = re.compile(r"\.tmp$|/staging/|\.staging|\.removed")


def make_job(root: Path) -> Path:
    """Write the job of the first version with its bundle, without outputs, and return its path."""
    root.mkdir()
    for name in ("shop", "exported"):
        shutil.copytree(FIXTURE / name, root / name)
    shutil.rmtree(root / "exported" / "vae")
    shutil.copy(FIXTURE / "tabular.toml", root / "job.toml")
    return root / "job.toml"


def edit(job: Path, old: str, new: str) -> None:
    """Replace text of the job file, which must hold it."""
    text = job.read_text()
    assert old in text
    job.write_text(text.replace(old, new))


def shorten(root: Path, night: str = NIGHT) -> None:
    """Write the source of a night again with three rows less."""
    path = root / "shop" / night / "part-0.parquet"
    table = pq.ParquetFile(path).read()
    fresh = path.with_suffix(".fresh")
    pq.write_table(table.slice(3), fresh)
    fresh.replace(path)


def scored(root: Path) -> None:
    """Score, then change the source of both nights."""
    score(make_job(root))
    for night in (NIGHT, "dt=2026-01-04"):
        shorten(root, night)


def use_one_worker(root: Path) -> None:
    """Let one worker score all nights, which publishes them together."""
    with (root / "job.toml").open("a") as file:
        file.write("\n[run]\nworkers = 1\n")


def scored_by_one_worker(root: Path) -> None:
    scored(root)
    use_one_worker(root)


def recalibrated(root: Path) -> None:
    score(make_job(root))
    edit(root / "job.toml", "alpha = 0.05", "alpha = 0.2")


def sampled(root: Path) -> None:
    sample(make_job(root), partition=NIGHT, seed=1)


def imputed(root: Path) -> None:
    impute(make_job(root), NIGHT, seed=1)


def reported(root: Path) -> None:
    job = make_job(root)
    score(job)
    report(job)
    shorten(root)


def complete(root: Path) -> None:
    job = make_job(root)
    score(job)
    report(job)
    sample(job, partition=NIGHT)


def retrainable(root: Path) -> None:
    """Change the family of a job that has a champion."""
    edit(make_job(root), 'family = "tabular_vae"\nlatent = 3\nunits = 16', 'family = "pca"\nlatent = 2')


class Command(NamedTuple):
    """A command line, and the state before it."""

    prepare: Callable[[Path], None]
    arguments: tuple[str, ...]

    def words(self, root: Path) -> list[str]:
        """Return the command line of the job in `root`."""
        name, *options = self.arguments
        return [name, str(root / "job.toml"), *options]


COMMANDS: Mapping[str, Command] = {
    "score": Command(scored, ("score",)),
    "score by one worker": Command(scored_by_one_worker, ("score",)),
    "calibrate": Command(recalibrated, ("calibrate",)),
    "sample": Command(sampled, ("sample", "--partition", NIGHT, "--seed", "2")),
    "impute": Command(imputed, ("impute", NIGHT, "--seed", "2")),
    "report": Command(reported, ("report",)),
    "forget": Command(complete, ("forget", NIGHT, "--yes")),
    "backfill": Command(scored, ("backfill", "--from", "2026-01-02")),
    "run": Command(scored, ("run",)),
    "train": Command(retrainable, ("train",)),
}


def published(root: Path) -> dict[str, str]:
    """Return the digest of every file that readers open: outputs, pages, and files of bundles.

    Fails if a Parquet file or a page is incomplete, or a JSON file cannot be parsed.
    """
    found = {}
    for folder in (root / "out", root / "exported"):
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_dir() or _LEFTOVER.search(name) or path.suffix == ".lock":
                continue
            data = path.read_bytes()
            if path.suffix == ".json":
                json.loads(data)
            if path.suffix == ".parquet":
                pq.ParquetFile(path, page_checksum_verification=True).read()
            if path.suffix == ".html":
                assert data.rstrip().endswith(b"</html>"), name
                found[name] = "a complete page"  # it holds the time of the last commit
            elif ".aepipe" not in path.parts and path.suffix in {".parquet", ".onnx"}:
                found[name] = hashlib.sha256(data).hexdigest()
    return found


def leftovers(root: Path) -> list[str]:
    """Return the files that only a run in progress needs."""
    names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    return [name for name in names if _LEFTOVER.search(name)]


def faults(root: Path) -> list[str]:
    """Return what `verify` finds."""
    return list(verify(root / "job.toml").faults)


def versions(root: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Return the training key and the aliases of each intact version, oldest first."""
    (folder,) = [path for path in (root / "exported").iterdir() if path.is_dir()]
    registry = Registry(folder)
    names = registry.aliases()
    return [
        (Bundle.open(folder / version).manifest.training_key, tuple(a for a, v in names.items() if v == version))
        for version in registry.versions()
    ]
