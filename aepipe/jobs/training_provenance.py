"""The job that a bundle was made by, on the data of today, and the partitions that it learned from."""

from typing import Any, NamedTuple

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Job, parse_job
from aepipe.errors import BundleCorrupt
from aepipe.tables.partitions import Partition, discover


class Trained(NamedTuple):
    """Job and training partitions of a bundle."""

    job: Job
    partitions: tuple[Partition, ...]
    """in training order"""
    gone: tuple[str, ...]
    """names of training partitions that no longer exist"""


def as_trained(bundle: Bundle, job: Job) -> Trained:
    """Return the bundle's own job and partitions, with the data and output folders of `job`. Raises as `discover`.

    Raises BundleCorrupt if the manifest holds no job.
    """
    raw: dict[str, Any] = dict(bundle.manifest.job)
    if not isinstance(raw.get("data"), dict):
        raise BundleCorrupt(f"{bundle.path} does not say which data trained it. Train again: aepipe train {job.source}")
    raw["data"] = {**raw["data"], "path": str(job.data.path)}
    raw["output"] = job.output.model_dump(mode="json")
    found, names = {partition.name: partition for partition in discover(job)}, bundle.manifest.train_partitions
    return Trained(
        job=parse_job(raw, source=job.source),
        partitions=tuple(found[name] for name in names if name in found),
        gone=tuple(name for name in names if name not in found),
    )
