"""Versions of a job's model and their aliases."""

from datetime import UTC, datetime
from pathlib import Path

from aepipe.bundles.aliases import CHAMPION
from aepipe.bundles.bundle import Bundle
from aepipe.bundles.registry import Registry, current_user
from aepipe.config.job import read_job
from aepipe.errors import ArgumentInvalid, BundleNotFound
from aepipe.jobs.results import Result
from aepipe.tables.partition_dates import date_of_partition, end_of, parse_date


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


class Promotion(Result):
    """Change of an alias; `before` is the version that had it, None if none had."""

    alias: str
    version: str
    before: str | None
    sentence: str


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


class AliasOn(Result):
    """Version that an alias referred to at a time; `version` is None if the alias did not exist yet."""

    alias: str
    when: datetime
    version: str | None
    since: datetime | None = None
    who: str | None = None
    why: str | None = None
    evidence: str | None = None
    """digest of the promotion report behind the change"""

    @property
    def sentence(self) -> str:
        """Describe the answer, for a terminal."""
        moment = f"{self.when:%Y-%m-%d %H:%M} UTC"
        if self.version is None or self.since is None:
            return f"there was no {self.alias} at {moment}"
        return (
            f"{self.version} was {self.alias} at {moment}, since {self.since:%Y-%m-%d %H:%M} ({self.who}: {self.why})"
        )


def alias_on(job_path: str | Path, when: str, *, alias: str = CHAMPION) -> AliasOn:
    """Return the version that an alias referred to at the end of a day, month or year, or at a time.

    Args:
        job_path: job file, or the folder that holds job.toml.
        when: date such as 2026-03-01, name of a partition with a date, or ISO time; UTC without a zone.
        alias: the alias.

    Raises:
        ArgumentInvalid: `when` is not a date.
    """
    moment = parse_moment(when)
    registry = Registry(read_job(job_path).bundle_path)
    earlier = [naming for naming in registry.history() if naming.alias == alias and naming.when <= moment]
    if not earlier:
        return AliasOn(alias=alias, when=moment, version=None)
    last = earlier[-1]
    return AliasOn(
        alias=alias,
        when=moment,
        version=last.version,
        since=last.when,
        who=last.who,
        why=last.why,
        evidence=last.evidence,
    )


def parse_moment(text: str) -> datetime:
    """Return the last moment of a day, month or year, or the time that a text is.

    >>> parse_moment("2026-02").isoformat(), parse_moment("2026-02-03T04:00").isoformat()
    ('2026-02-28T23:59:59.999999+00:00', '2026-02-03T04:00:00+00:00')
    """
    if (day := parse_date(text)) is not None:
        return end_of(day)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        if (day := date_of_partition(text)) is not None:
            return end_of(day)
        raise ArgumentInvalid("on", [f"expected a date such as 2026-03-01, got {text!r}. Name a day."]) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def promote_model(job_path: str | Path, version: str, *, alias: str, why: str) -> Promotion:
    """Set an alias to a version and return the change.

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
    return Promotion(alias=alias, version=version, before=before, sentence=sentence)
