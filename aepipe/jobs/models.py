"""Versions of a job's model and their aliases."""

from pathlib import Path

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.registry import Registry, current_user
from aepipe.config.job import read_job
from aepipe.errors import BundleNotFound
from aepipe.jobs.results import Result


class Version(Result):
    """One bundle."""

    version: str
    aliases: tuple[str, ...]
    family: str
    trained_on: tuple[str, ...]
    rows: int
    created_at: str

    def row(self) -> tuple[object, ...]:
        """Return the cells of a table row: version, aliases, family, training partitions, rows, time."""
        span = " to ".join(dict.fromkeys((self.trained_on[0], self.trained_on[-1]))) if self.trained_on else ""
        return self.version, ", ".join(self.aliases), self.family, span, self.rows, self.created_at


class Versions(Result):
    """All versions of one model, newest last."""

    name: str
    versions: tuple[Version, ...]


def list_models(job_path: str | Path) -> Versions:
    """List the versions of a job's model; raise BundleNotFound if there is none."""
    job = read_job(job_path)
    registry = Registry(job.bundle_path)
    names: dict[str, list[str]] = {}
    for alias, version in registry.aliases().items():
        names.setdefault(version, []).append(alias)
    found = registry.versions()
    if not found:
        raise BundleNotFound(f"{job.bundle_path} has no bundle. Run: aepipe train {job.source}")
    versions = []
    for version in found:
        manifest = Bundle.open(job.bundle_path / version).manifest
        versions.append(
            Version(
                version=version,
                aliases=tuple(sorted(names.get(version, []))),
                family=manifest.family,
                trained_on=manifest.train_partitions,
                rows=manifest.rows["train"],
                created_at=manifest.created_at,
            )
        )
    return Versions(name=job.name, versions=tuple(versions))


def promote_model(job_path: str | Path, version: str, *, alias: str, why: str) -> str:
    """Set an alias to a version and return a sentence about the change.

    Args:
        job_path: job file, or the folder that holds job.toml.
        version: version or alias.
        alias: the alias to set.
        why: reason for the log; empty: "by hand".
    """
    job = read_job(job_path)
    registry = Registry(job.bundle_path)
    before = registry.aliases().get(alias)
    registry.set_alias(alias, version, who=current_user(), why=why or "by hand")
    sentence = f"{version} is now {alias} of {job.name}"
    if before and before != version:
        sentence += f" in place of {before}. Its features span another space: retrain downstream models"
    return sentence
